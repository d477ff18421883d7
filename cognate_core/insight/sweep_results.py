"""A sweep's results: its runs by lowest held-out loss, a sentence that claims only what was measured, and a chart.
Pure functions of runs as in the progress log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Protocol

from cognate_core.config import TrainingConfig, as_text, form_fields
from cognate_core.contracts import RunStatus
from cognate_core.contracts.heldout import HeldoutCheck, lowest_loss
from cognate_core.insight.charts import CHART_HEIGHT, View
from cognate_core.insight.comparison import config_difference
from cognate_core.insight.drawing import FONT_SIZE, Figure, Trace
from cognate_core.insight.palette import GREY, neutral, run_colour, run_dash
from cognate_core.labels import escape_html

LOSS = "lowest held-out loss"
LOG_FROM = 10  # the axis is logarithmic if the largest number is at least this many times the smallest
MOST_MARKS = 6  # up to this many values are labelled on an axis; of more, only the ends and the middle


class SweptRun(Protocol):
    """What is needed of a run, as in the progress log."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def colour(self) -> int: ...
    @property
    def status(self) -> RunStatus: ...
    @property
    def config(self) -> TrainingConfig: ...
    @property
    def data_report(self) -> dict[str, Any] | None: ...
    @property
    def worked_seconds(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class SweepResult:
    """One run of a sweep. Losses are mean held-out losses over the datasets, in nats per token. None: not measured."""

    run_id: str
    name: str
    colour: int
    status: RunStatus
    values: dict[str, Any]  # of the varied settings
    best_loss: float | None
    best_step: int | None
    bits_per_byte: float | None  # at that step
    last_loss: float | None
    seconds: float | None  # working time

    @property
    def counts(self) -> bool:
        """Whether it can be compared: it completed and was measured."""
        return self.status is RunStatus.COMPLETED and self.best_loss is not None


@dataclass(frozen=True, slots=True)
class SweepResults:
    """The runs of a sweep, the lowest loss first, incomparable ones last; and a sentence about them."""

    fields: list[str]
    rows: list[SweepResult]
    sentence: str


def sweep_results(runs: Sequence[SweptRun], checks: Mapping[str, Sequence[HeldoutCheck]]) -> SweepResults:
    """The results of the runs of one group.

    Args:
        checks: the checks of each checked run, in order.
    """
    different = config_difference([run.config for run in runs])
    rows = []
    for number, run in enumerate(runs):
        measured = checks.get(run.id, ())
        best = lowest_loss(measured)
        values = {name: each[number] for name, each in different.items()}
        rows.append(
            SweepResult(
                run.id,
                run.name,
                run.colour,
                run.status,
                values,
                best.means.loss if best else None,
                best.step if best else None,
                best.means.bits_per_byte if best else None,
                measured[-1].means.loss if measured else None,
                run.worked_seconds,
            )
        )
    rows.sort(key=lambda row: (not row.counts, math.inf if row.best_loss is None else row.best_loss))
    hashes = {run.data_report["content_hash"] for run in runs if run.data_report}
    return SweepResults(list(different), rows, _sentence(rows, other_data=len(hashes) > 1))


def values_text(values: Mapping[str, Any]) -> str:
    """Settings by title, such as "Learning rate 0.001, Layers 4"."""
    fields = form_fields()
    return ", ".join(f"{fields[name].title} {as_text(value)}" for name, value in values.items())


def _sentence(rows: Sequence[SweepResult], *, other_data: bool) -> str:
    settings: dict[str, list[SweepResult]] = {}
    for row in rows:
        if row.counts:
            settings.setdefault(repr(_but_seed(row.values)), []).append(row)
    ranked = sorted(settings.values(), key=_mean)
    if not ranked:
        said = ["No run has completed with a measured held-out loss yet."]
    elif len(ranked) == 1:
        said = [_of_one_setting(ranked[0])]
    else:
        said = _of_two_settings(*ranked[:2])
        if other_data:
            said.append(
                "The runs read different data or use different tokens: do not compare their losses. Compare bits per "
                "byte if the held-out text is the same."
            )
    going = sum(not row.status.is_terminal for row in rows)
    broken = sum(row.status.is_terminal and not row.counts for row in rows)
    if going:
        said.append(f"{going} of {len(rows)} {_have(going)} not ended yet.")
    if broken:
        said.append(f"{broken} of {len(rows)} ended without a comparable result: see their status.")
    return " ".join(said)


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _of_one_setting(seeds: Sequence[SweepResult]) -> str:
    if len(seeds) == 1:
        return f"One run has completed, with a held-out loss of {_of_seeds(seeds)}. There is nothing to compare yet."
    lowest, highest = _ends(seeds)
    return (
        f"The same settings with {len(seeds)} seeds gave held-out losses from {lowest:.3f} to {highest:.3f}: this "
        "difference is chance alone."
    )


def _of_two_settings(first: Sequence[SweepResult], second: Sequence[SweepResult]) -> list[str]:
    """The lowest loss and the next one, and whether chance may explain the difference."""
    said = [
        f"Lowest held-out loss: {values_text(_but_seed(first[0].values))} with {_of_seeds(first)}, against "
        f"{_of_seeds(second)} for the next ({values_text(_but_seed(second[0].values))})."
    ]
    if len(first) == len(second) == 1:
        said.append(
            "Only one seed of each has ended: the difference may be chance."
            if "seed" in first[0].values
            else "There is only one seed of each: the difference may be chance. Vary the seed as well to find out."
        )
    elif _ends(first)[1] < _ends(second)[0]:
        said.append("Every run of the first is lower than every run of the next.")
    else:
        said.append("Their runs overlap: the difference may be chance.")
    return said


def _of_seeds(seeds: Sequence[SweepResult]) -> str:
    if len(seeds) == 1:
        return f"{_mean(seeds):.3f}"
    lowest, highest = _ends(seeds)
    return f"{_mean(seeds):.3f} on average over {len(seeds)} seeds ({lowest:.3f} to {highest:.3f})"


def _losses(rows: Sequence[SweepResult]) -> list[float]:
    return [row.best_loss for row in rows if row.best_loss is not None]


def _mean(seeds: Sequence[SweepResult]) -> float:
    return mean(_losses(seeds))


def _ends(seeds: Sequence[SweepResult]) -> tuple[float, float]:
    return min(_losses(seeds)), max(_losses(seeds))


def _but_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "seed"}


# The chart


def sweep_chart(results: SweepResults, view: View) -> Figure:
    """The lowest held-out loss over the one varied setting; for several settings, parallel coordinates: a line for each
    run through its value of each setting (Inselberg 1985). Runs without a measured loss are not drawn.
    """
    rows = [row for row in results.rows if row.best_loss is not None]
    fields = [name for name in results.fields if name != "seed"] or results.fields
    if len(fields) == 1:
        return _over_one_setting(fields[0], rows, view)
    return _parallel(results.fields, rows, view)


def _over_one_setting(field: str, rows: Sequence[SweepResult], view: View) -> Figure:
    """A dot for each run; for numbers, also a faint line through the mean at each value."""
    scale = _Scale([row.values[field] for row in rows])
    traces: list[Trace] = []
    losses: dict[float, list[float]] = {}
    for row in rows:
        losses.setdefault(scale.place(row.values[field]), []).extend(_losses([row]))
    places = sorted(losses)
    if scale.is_number and len(places) > 1:
        means = [mean(losses[place]) for place in places]
        line = {"color": neutral(2, dark=view.dark), "width": 1.5, "dash": "dot"}
        traces.append({"type": "scatter", "mode": "lines", "x": places, "y": means, "line": line, "hoverinfo": "skip"})
    for row in rows:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [scale.place(row.values[field])],
                "y": [row.best_loss],
                "name": escape_html(row.name),
                "marker": {"color": run_colour(row.colour, dark=view.dark), "size": 12},
                "hovertemplate": f"{_hover(row)}<extra></extra>",
            }
        )
    layout = _layout()
    layout["xaxis"] |= {
        "title": {"text": escape_html(str(form_fields()[field].title)), "font": {"size": FONT_SIZE}},
        "range": [-0.06, 1.06],
        **scale.ticks(),
    }
    layout["yaxis"] |= {"title": {"text": "held-out loss (nats per token)", "font": {"size": FONT_SIZE}}}
    return {"data": traces, "layout": layout}


def _parallel(fields: Sequence[str], rows: Sequence[SweepResult], view: View) -> Figure:
    titles = [*(str(form_fields()[name].title) for name in fields), LOSS]
    scales = [_Scale([row.values[name] for row in rows]) for name in fields]
    scales.append(_Scale([row.best_loss for row in rows], logarithmic=False))
    traces: list[Trace] = []
    for number, row in reversed(list(enumerate(rows))):  # the best one on top
        line = {"color": run_colour(row.colour, dark=view.dark), "width": 4 if number == 0 else 2}
        values = [*(row.values[name] for name in fields), row.best_loss]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(len(titles))),
                "y": [scale.place(value) for scale, value in zip(scales, values, strict=True)],
                "name": escape_html(row.name),
                "line": line | {"dash": run_dash(row.colour)},
                "marker": {"size": 7},
                "opacity": 1 if number == 0 else 0.7,
                "hovertemplate": f"{_hover(row)}<extra></extra>",
            }
        )
    marks = [(place, mark) for place, scale in enumerate(scales) for mark in scale.marks()]
    traces.append(
        {
            "type": "scatter",
            "mode": "text",
            "x": [place for place, _ in marks],
            "y": [height for _, (height, _) in marks],
            "text": [escape_html(text) for _, (_, text) in marks],
            # Above each mark, or below the lowest: not on a line.
            "textposition": ["top center" if height else "bottom center" for _, (height, _) in marks],
            "textfont": {"size": FONT_SIZE, "color": neutral(0, dark=view.dark)},
            "hoverinfo": "skip",
            "cliponaxis": False,
        }
    )
    layout = _layout()
    layout["margin"] |= {"l": 24, "r": 24, "b": 64}
    layout["xaxis"] |= {
        "range": [-0.25, len(titles) - 0.75],
        "tickvals": list(range(len(titles))),
        "ticktext": [escape_html(title).replace(" ", "<br>") for title in titles],
        "tickangle": 0,
    }
    layout["yaxis"] |= {"range": [-0.12, 1.12], "visible": False}
    axis = {"type": "line", "y0": 0, "y1": 1, "line": {"color": GREY, "width": 1}, "layer": "below"}
    layout["shapes"] = [{**axis, "x0": place, "x1": place} for place in range(len(titles))]
    return {"data": traces, "layout": layout}


class _Scale:
    """Places of values on an axis from 0 to 1: numbers by size or its logarithm, others one after another."""

    def __init__(self, values: Sequence[Any], *, logarithmic: bool | None = None) -> None:
        self.is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        self._values: list[Any] = sorted(set(values)) if self.is_number else sorted(values, key=as_text)
        if self.is_number and logarithmic is None:
            logarithmic = bool(values) and min(values) > 0 and max(values) >= LOG_FROM * min(values)
        self._logarithmic = bool(logarithmic)

    def place(self, value: Any) -> float:
        """0 to 1; the middle if there is only one value."""
        if not self.is_number:
            texts = list(dict.fromkeys(map(as_text, self._values)))
            low, here, high = 0.0, float(texts.index(as_text(value))), float(len(texts) - 1)
        else:
            low, here, high = (self._measure(each) for each in (self._values[0], value, self._values[-1]))
        return 0.5 if low == high else (here - low) / (high - low)

    def marks(self) -> list[tuple[float, str]]:
        """Places, and the values there as text."""
        values = self._values
        if self.is_number and len(values) > MOST_MARKS:
            values = [values[0], values[len(values) // 2], values[-1]]
        return list(dict.fromkeys((self.place(value), _short(value)) for value in values))

    def ticks(self) -> dict[str, Any]:
        """The same for a Plotly axis."""
        return {
            "tickvals": [place for place, _ in self.marks()],
            "ticktext": [escape_html(text) for _, text in self.marks()],
        }

    def _measure(self, value: float) -> float:
        return math.log(value) if self._logarithmic else float(value)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and value >= 0.001 else as_text(value)


def _hover(row: SweepResult) -> str:
    values = "<br>".join(escape_html(values_text({name: value})) for name, value in row.values.items())
    status = "" if row.status is RunStatus.COMPLETED else f"<br>{row.status}"
    return f"{values}<br>{LOSS} {row.best_loss:.3f}{status}"


def _layout() -> dict[str, Any]:
    axis = {"gridcolor": "rgba(128,128,128,0.18)", "zeroline": False, "tickfont": {"size": FONT_SIZE}}
    return {
        "height": CHART_HEIGHT,
        "margin": {"l": 64, "r": 24, "t": 12, "b": 48},
        "showlegend": False,  # the table and the hover text identify dots and lines
        "hovermode": "closest",
        "uirevision": "keep",
        "xaxis": {**axis, "showgrid": False},
        "yaxis": dict(axis),
        "template": "none",
    }

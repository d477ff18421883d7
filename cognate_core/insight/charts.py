"""Charts of runs: measurements in, a Plotly figure out. Pure functions; nothing is drawn or read here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly

from cognate_core.contracts import GROKKED_ACCURACY
from cognate_core.insight.axis import Axis
from cognate_core.insight.drawing import (
    AROUND,
    FONT_SIZE,
    MAX_POINTS,
    Curve,
    Figure,
    Floats,
    Label,
    Row,
    Trace,
    fit,
    layout_of,
    line_of,
    missing_of,
    names_beside,
    smoothed,
    told_apart,
)
from cognate_core.insight.finding import Finding
from cognate_core.insight.palette import ALARM, GREY, faint, neutral, run_colour, run_dash, run_word_colour
from cognate_core.labels import escape_html

PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""The library that draws the figures in a browser."""

CHART_HEIGHT, SMALL_CHART_HEIGHT = 380, 260
FEW_POINTS = 60  # up to this many, each point has a marker
LOG_AXIS_BEGINS = 10  # steps; no checks come earlier
MAX_STEP_TICKS = 8  # on the axis of ponder steps
DATASET_LOOKS = (("circle", "solid"), ("square", "dash"), ("diamond", "dot"), ("triangle-up", "dashdot"))


@dataclass(frozen=True, slots=True)
class View:
    """Options of a chart. `smoothing`: the share of the shown steps that the smoothed line averages over, 0 for none;
    `log_scale`: of the loss."""

    smoothing: float = 0.02
    log_scale: bool = False
    dark: bool = False


@dataclass(frozen=True, slots=True)
class Losses:
    """Training losses of one model.

    Attributes:
        raw: the loss of each step.
        means, counts: the same without gaps, each mean over that many steps; smoothing uses these.
        missing: steps whose loss is not a number; they are marked, not skipped.
    """

    raw: Curve
    means: Curve
    counts: Floats
    missing: Floats

    def smoothed(self, share: float) -> Curve:
        """The smoothed line."""
        return self.means[0], smoothed(self.means[1], self.counts, share)


@dataclass(frozen=True, slots=True)
class Line:
    """One run's line in a comparison. `colour`: the run's number; `missing`: steps without a number."""

    name: str
    colour: int
    axis: Axis
    curve: Curve
    missing: Floats = field(default_factory=lambda: np.empty(0))


def loss_chart(
    losses: Losses,
    evaluations: Sequence[Row],
    uniform_loss: float,
    axis: Axis,
    view: View,
    colour: int = 0,
    findings: Sequence[Finding] = (),
) -> Figure:
    """Training loss (faint, with a smoothed line) and the held-out loss of each dataset.

    Args:
        evaluations: rows with step, dataset and loss.
        uniform_loss: the loss of guessing evenly over the vocabulary, drawn as a dotted line.
        colour: the run's number.
        findings: drawn as bands with their titles.
    """
    dark = view.dark
    hue, words = run_colour(colour, dark=dark), run_word_colour(colour, dark=dark)
    traces: list[Trace] = []
    labels = [Label(uniform_loss, "pure guessing", neutral(1, dark=dark))]
    if len(losses.raw[0]):
        opacity = 0.3 if view.smoothing else 1
        gaps = losses.missing
        traces.append(line_of(axis, losses.raw, "training, each step", hue, 1, gaps=gaps, opacity=opacity))
        if view.smoothing:
            smooth = losses.smoothed(view.smoothing)
            traces.append(line_of(axis, smooth, "training", hue, 2, gaps=gaps))
        labels.append(Label(traces[-1]["y"][-1], "training", words))
    if len(losses.missing):
        traces.append(missing_of(axis, losses.missing, losses.raw, uniform_loss))
    for number, dataset in enumerate(dict.fromkeys(row["dataset"] for row in evaluations)):
        points = [(row["step"], row["loss"]) for row in evaluations if row["dataset"] == dataset]
        steps, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
        finite = np.isfinite(values)
        curve, missing = (steps[finite], values[finite]), steps[~finite]
        name = f"unseen {escape_html(dataset)}"
        symbol, dash = DATASET_LOOKS[number % len(DATASET_LOOKS)]
        tone = neutral(0, dark=dark)
        marks: Trace = {}
        if len(curve[0]) <= FEW_POINTS:
            marks = {"mode": "lines+markers", "marker": {"size": 6, "symbol": symbol}}
        trace = line_of(axis, curve, name, tone, 1.5, dash=dash, gaps=missing) | marks
        traces.append(trace)
        if len(missing):
            traces.append(missing_of(axis, missing, curve, uniform_loss, name))
        if trace["y"]:
            labels.append(Label(trace["y"][-1], name, tone))
    layout = layout_of("loss (nats per token)", axis, CHART_HEIGHT, log_scale=view.log_scale)
    fit(layout, traces, labels, log_scale=view.log_scale)
    guessing = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": uniform_loss, "y1": uniform_loss}
    layout["shapes"] = [{**guessing, "line": {"color": GREY, "width": 1, "dash": "dot"}}]
    layout["shapes"] += [_band(axis, finding) for finding in findings]
    layout["annotations"] += [_caption(axis, finding, dark=dark) for finding in findings]
    if findings:
        layout["margin"]["t"] = 34  # room for titles
    return {"data": traces, "layout": layout}


def line_chart(
    lines: Mapping[str, Curve],
    unit: str,
    axis: Axis,
    view: View,
    colour: int = 0,
    *,
    noisy: bool = False,
    height: int = SMALL_CHART_HEIGHT,
    gaps: Mapping[str, Floats] | None = None,
) -> Figure:
    """One line for each of `lines` (label -> curve): the last in the run's colour, the others in grey.

    `noisy`: each step is drawn faintly behind the smoothed line. `gaps`: steps at which a line is broken.
    """
    traces: list[Trace] = []
    labels = []
    for number, (label, curve) in enumerate(lines.items()):
        if not len(curve[0]):
            continue
        behind = len(lines) - 1 - number
        hue = neutral(behind, dark=view.dark) if behind else run_colour(colour, dark=view.dark)
        words = neutral(behind, dark=view.dark) if behind else run_word_colour(colour, dark=view.dark)
        look: Trace = {"dash": DATASET_LOOKS[behind % len(DATASET_LOOKS)][1], "gaps": (gaps or {}).get(label)}
        if noisy and view.smoothing:
            traces.append(line_of(axis, curve, f"{label}, each step", hue, 1, opacity=0.25, gaps=look["gaps"]))
            curve = curve[0], smoothed(curve[1], np.ones(len(curve[1])), view.smoothing)
        trace = line_of(axis, curve, label, hue, 1.5, **look)
        traces.append(trace)
        labels.append(Label(trace["y"][-1], label, words))
    layout = layout_of(unit, axis, height)
    fit(layout, traces, labels if len(lines) > 1 else [])
    if len(lines) < 2:
        layout["margin"]["r"] = 16
    return {"data": traces, "layout": layout}


def share_chart(lines: Mapping[str, Curve], unit: str, axis: Axis, view: View, colour: int = 0) -> Figure:
    """Shares between 0 and 1, in percent, with a marker at each point; lines as in `line_chart`."""
    figure = line_chart(lines, unit, axis, view, colour, height=CHART_HEIGHT)
    for trace in figure["data"]:
        trace |= {"mode": "lines+markers", "marker": {"size": 6}}
    figure["layout"]["yaxis"] |= {"range": [-0.02, 1.04], "tickformat": ".0%"}
    return figure


def comparison_chart(
    lines: Sequence[Line], unit: str, view: View, *, shade: bool = False, wide: bool = False, marked: bool = False
) -> Figure:
    """One figure of several runs, each in its own colour.

    Args:
        shade: fill the gap between the first two.
        marked: mark steps without a number.
    """
    traces: list[Trace] = []
    labels = []
    names = told_apart([line.name for line in lines])
    for number, line in enumerate(lines):
        hue = run_colour(line.colour, dark=view.dark)
        filled = shade and number == 1 and traces[0]["y"]
        gap = {"fill": "tonexty", "fillcolor": faint(hue, 0.15)} if filled else {}
        trace = line_of(line.axis, line.curve, names[number], hue, 2, dash=run_dash(line.colour), gaps=line.missing)
        trace |= gap
        traces.append(trace)  # also without points: a click identifies the run by its trace's number
        if trace["y"]:
            labels.append(Label(trace["y"][-1], names[number], run_word_colour(line.colour, dark=view.dark)))
    # A run without a known time has an axis of steps.
    axis = max((line.axis for line in lines), key=lambda axis: (not axis.is_steps, axis.end), default=Axis())
    height = CHART_HEIGHT if wide else SMALL_CHART_HEIGHT
    layout = layout_of(unit, axis, height, log_scale=view.log_scale)
    if marked:  # after all lines, without hover: a click identifies the run by its line's number
        peak = max((float(line.curve[1].max()) for line in lines if len(line.curve[1])), default=1.0)
        for line, name in zip(lines, names, strict=True):
            if len(line.missing):
                mark = missing_of(line.axis, line.missing, line.curve, peak, name)
                mark["marker"] |= {"color": run_colour(line.colour, dark=view.dark)}
                traces.append(mark | {"hoverinfo": "skip", "hovertemplate": ""})
    fit(layout, traces, labels, log_scale=view.log_scale)
    layout["margin"]["r"] = 200
    return {"data": traces, "layout": layout}


@dataclass(frozen=True, slots=True)
class RunAccuracy:
    """One run's answers. `colour`: the run's number; heldout, learned: shares of right answers."""

    name: str
    colour: int
    axis: Axis
    heldout: Curve
    learned: Curve


def accuracy_chart(runs: Sequence[RunAccuracy], marks: Mapping[str, int], view: View) -> Figure:
    """Right answers to held-out problems, and faintly to training problems, on a logarithmic axis.

    Args:
        marks: steps of others to compare with, by name; drawn if the axis shows steps and reaches that far.
    """
    axis = max((run.axis for run in runs), key=lambda axis: (not axis.is_steps, axis.end), default=Axis())
    traces: list[Trace] = []
    labels = [Label(GROKKED_ACCURACY, f"{GROKKED_ACCURACY:.0%}", neutral(1, dark=view.dark))]
    names = told_apart([run.name for run in runs])
    for run, short in zip(runs, names, strict=True):
        hue, name = run_colour(run.colour, dark=view.dark), escape_html(run.name)
        dash = run_dash(run.colour)
        heldout = _from_first(run.axis, run.heldout)
        traces.append(line_of(run.axis, heldout, f"{name}, unseen", hue, 2.5, dash=dash))
        if len(heldout[0]):
            words = run_word_colour(run.colour, dark=view.dark)
            labels.append(Label(float(heldout[1][-1]), short if len(runs) > 1 else "unseen", words))
    # Faint, and after the others: a click identifies the run by its line's number.
    for run in runs:
        learned = _from_first(run.axis, run.learned)
        look: Trace = {"opacity": 0.35, "hoverinfo": "skip" if len(runs) > 1 else "all"}
        name = f"{escape_html(run.name)}, learned from"
        traces.append(line_of(run.axis, learned, name, run_colour(run.colour, dark=view.dark), 1, **look))
    layout = layout_of("right answers", axis, CHART_HEIGHT)
    shown = {name: step for name, step in marks.items() if axis.is_steps and step <= axis.end}
    begin, end = LOG_AXIS_BEGINS if axis.is_steps and axis.end > 20 * LOG_AXIS_BEGINS else 1, max(axis.end, 10.0)
    layout["xaxis"] |= {"type": "log", "range": [math.log10(begin), math.log10(end)], "dtick": 1, "tickformat": ",~r"}
    layout["yaxis"] |= {"range": [-0.02, 1.04], "tickformat": ".0%"}
    line = {"color": GREY, "width": 1, "dash": "dot"}
    level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": GROKKED_ACCURACY, "y1": GROKKED_ACCURACY}
    layout["shapes"] = [{**level, "line": line}]
    layout["annotations"] = names_beside(labels, 1.0 / (CHART_HEIGHT - AROUND))
    for step in shown.values():
        layout["shapes"].append(
            {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": step, "x1": step, "line": line}
        )
    if shown:  # all names left of the first mark, where no curve has risen yet
        layout["annotations"].append(
            {
                "x": math.log10(min(shown.values()) / 2),  # Plotly places text by the logarithm, but not lines
                "yref": "paper",
                "y": 0.6,
                "xanchor": "right",
                "align": "right",
                "xshift": -6,
                "text": "<br>".join(f"{name}: {step:,}" for name, step in shown.items()),
                "showarrow": False,
                "font": {"size": FONT_SIZE - 2, "color": neutral(0, dark=view.dark)},
            }
        )
    layout["margin"]["r"] = 200 if len(runs) > 1 else 130
    return {"data": traces, "layout": layout}


def _from_first(axis: Axis, curve: Curve) -> Curve:
    """The curve without points that a logarithmic axis cannot show."""
    kept = axis.at(curve[0]) > 0
    return curve[0][kept], curve[1][kept]


def table_chart(right: npt.NDArray[np.bool_], learned_from: npt.NDArray[np.bool_], first: int, view: View) -> Figure:
    """Every problem of a calculation table as a small square, in one of four colours.

    Args:
        right, learned_from: by (x, y): whether the answer is right, and whether the model learned from the problem.
        first: the y of the first column.
    """
    dark = view.dark
    words = ("unseen, wrong", "learned, wrong", "learned, right", "unseen, right")
    hues = (ALARM, run_colour(1, dark=dark), neutral(2, dark=dark), run_colour(2, dark=dark))
    kinds = np.where(right, np.where(learned_from, 2, 3), np.where(learned_from, 1, 0))
    columns = [first + number for number in range(right.shape[1])]
    trace: Trace = {
        "type": "heatmap",
        "x": columns,
        "y": list(range(right.shape[0])),
        "z": kinds.tolist(),
        "text": [[words[kind] for kind in row] for row in kinds.tolist()],
        "hovertemplate": "x %{y}, y %{x}: %{text}<extra></extra>",
        "colorscale": [[(kind + end) / 4, hues[kind]] for kind in range(4) for end in (0, 1)],
        "zmin": -0.5,
        "zmax": 3.5,
        "colorbar": {
            "orientation": "h",
            "tickvals": [0, 1, 2, 3],
            "ticktext": [word.replace(", ", ",<br>") for word in words],
            "tickangle": 0,
            "thickness": 14,
            "outlinewidth": 0,
            "y": 1,
            "yanchor": "bottom",
        },
    }
    layout = layout_of("x", Axis(), 640)
    layout["margin"] |= {"r": 16, "t": 30, "b": 60}
    layout["xaxis"] = {"title": {"text": "y", "standoff": 10}, "showgrid": False, "zeroline": False}
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "scaleanchor": "x", "constrain": "domain"}
    layout["hovermode"] = "closest"
    return {"data": [trace], "layout": layout}


def ponder_chart(histograms: Sequence[Row], axis: Axis, view: View, colour: int = 0) -> Figure:
    """Share of tokens by ponder steps over time: one column for each check, darker for more tokens.

    Args:
        histograms: rows with step and counts: counts[n] tokens took n ponder steps.
    """
    traces: list[Trace] = []
    longest = max((len(row["counts"]) for row in histograms), default=0)
    if histograms:
        together = -(-len(histograms) // MAX_POINTS)  # checks in one column
        counts = np.zeros((longest, -(-len(histograms) // together)))  # (ponder steps, columns)
        for number, row in enumerate(histograms):
            counts[: len(row["counts"]), number // together] += row["counts"]
        shares = counts / np.maximum(counts.sum(0), 1.0)
        ends = [int(row["step"]) for row in histograms]  # a check covers the steps before it
        edges = [0, *(ends[min(n + together, len(ends)) - 1] for n in range(0, len(ends), together))]
        hue = run_colour(colour, dark=view.dark)
        traces.append(
            {
                "type": "heatmap",
                "x": axis.at(np.array(edges, dtype=np.float64)).tolist(),
                "y": [n - 0.5 for n in range(1, longest + 1)],
                "z": shares[1:].tolist(),
                "colorscale": [[0, faint(hue, 0)], [1, hue]],
                "zmin": 0,
                "zmax": 1,
                "showscale": False,
                "hovertemplate": "%{y:.0f} ponder steps: %{z:.0%} of the tokens<extra></extra>",
            }
        )
    layout = layout_of("ponder steps", axis, SMALL_CHART_HEIGHT)
    layout["hovermode"] = "closest"
    layout["margin"]["r"] = 16
    layout["yaxis"]["dtick"] = max(1, -(-longest // MAX_STEP_TICKS))
    return {"data": traces, "layout": layout}


def _band(axis: Axis, finding: Finding) -> dict[str, Any]:
    """A band over the steps of a finding."""
    ends = axis.at(np.array([finding.first_step, max(finding.last_step, finding.first_step + 1)], dtype=np.float64))
    colour = faint(_finding_colour(finding), 0.14)
    edge = {"color": faint(_finding_colour(finding), 0.5), "width": 1}
    x0, x1 = ends.tolist()
    return {
        "type": "rect",
        "yref": "paper",
        "x0": x0,
        "x1": x1,
        "y0": 0,
        "y1": 1,
        "fillcolor": colour,
        "line": edge,
        "layer": "below",
    }


def _caption(axis: Axis, finding: Finding, *, dark: bool) -> dict[str, Any]:
    middle = (finding.first_step + finding.last_step) / 2
    return {
        "yref": "paper",
        "x": float(axis.at(np.array([middle]))[0]),
        "y": 1,
        "yanchor": "bottom",
        "text": finding.title,
        "showarrow": False,
        "font": {"size": FONT_SIZE, "color": neutral(0, dark=dark)},
    }


def _finding_colour(finding: Finding) -> str:
    return run_colour(2, dark=False) if finding.kind == "grokking" else ALARM

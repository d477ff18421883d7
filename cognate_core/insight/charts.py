"""Charts of runs: what was measured in, a Plotly figure out. Pure functions; nothing is drawn or read here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly
from tsdownsample import MinMaxLTTBDownsampler

from cognate_core.contracts import GROKKED_ACCURACY
from cognate_core.insight.axis import Axis
from cognate_core.insight.finding import Finding
from cognate_core.insight.palette import ALARM, GREY, faint, neutral, run_colour, run_dash, run_word_colour
from cognate_core.labels import escape_html

PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""The library that draws the figures in a browser."""

MAX_POINTS = 600  # of one line; enough for each pixel column of a wide chart's width at rest
CHART_HEIGHT, SMALL_CHART_HEIGHT = 380, 260
FONT_SIZE = 14  # readable from the last row
LABEL_HEIGHT = 19  # least distance of two labels, in pixels
AROUND = 60  # of a chart's height, what its axis and margins take
LABEL_LENGTH = 26  # letters of a name that the margin has room for
FLAT = 1e-6  # a line that moves by less than this share of its height: rounding, which no axis should magnify
LOG_DECADES = 8  # below the highest loss: what lies deeper is rounding of 32-bit numbers, or 0, which has no place
FEW_POINTS = 60  # each has a mark
LOG_AXIS_BEGINS = 10  # steps; before, nothing was checked
MAX_STEP_TICKS = 8  # numbers on the axis of ponder steps
DATASET_LOOKS = (("circle", "solid"), ("square", "dash"), ("diamond", "dot"), ("triangle-up", "dashdot"))

Row = Mapping[str, Any]
Trace = dict[str, Any]
Figure = dict[str, Any]
"""Data and layout, made of what JSON has: plotly's own classes check each value, six times as long as all the rest."""
Floats = npt.NDArray[np.float64]
Curve = tuple[Floats, Floats]
"""Steps in their order, and the value at each: finite numbers."""


@dataclass(frozen=True, slots=True)
class View:
    """How a person wants to look: `smoothing` is the share of the shown steps that the smoothed line averages over, 0
    for none; `log_scale` is of the loss."""

    smoothing: float = 0.02
    log_scale: bool = False
    dark: bool = False


@dataclass(frozen=True, slots=True)
class Losses:
    """Training losses of one model.

    Attributes:
        raw: the loss of each step.
        means, counts: the same without gaps, each the mean over so many steps: what is smoothed.
        missing: steps whose loss is no number; they are marked, not skipped.
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
    """One run's line in a comparison. `colour` is the run's number; missing: steps at which there is no number."""

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
    """Training loss (faint, with its smoothed line) and held-out loss of each dataset.

    Args:
        evaluations: rows with step, dataset and loss.
        uniform_loss: what guessing evenly over the vocabulary gives, drawn as a dotted line.
        colour: the run's number.
        findings: drawn as bands with their titles.
    """
    dark = view.dark
    hue, words = run_colour(colour, dark=dark), run_word_colour(colour, dark=dark)
    traces: list[Trace] = []
    labels = [_Label(uniform_loss, "pure guessing", neutral(1, dark=dark))]
    if len(losses.raw[0]):
        opacity = 0.3 if view.smoothing else 1
        gaps = losses.missing
        traces.append(_line(axis, losses.raw, "training, each step", hue, 1, gaps=gaps, opacity=opacity))
        if view.smoothing:
            smooth = losses.smoothed(view.smoothing)
            traces.append(_line(axis, smooth, "training", hue, 2, gaps=gaps))
        labels.append(_Label(traces[-1]["y"][-1], "training", words))
    if len(losses.missing):
        traces.append(_missing(axis, losses.missing, losses.raw, uniform_loss))
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
        trace = _line(axis, curve, name, tone, 1.5, dash=dash, gaps=missing) | marks
        traces.append(trace)
        if len(missing):
            traces.append(_missing(axis, missing, curve, uniform_loss, name))
        if trace["y"]:
            labels.append(_Label(trace["y"][-1], name, tone))
    layout = _layout("loss (nats a token)", axis, CHART_HEIGHT, log_scale=view.log_scale)
    _fit(layout, traces, labels, log_scale=view.log_scale)
    guessing = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": uniform_loss, "y1": uniform_loss}
    layout["shapes"] = [{**guessing, "line": {"color": GREY, "width": 1, "dash": "dot"}}]
    layout["shapes"] += [_band(axis, finding) for finding in findings]
    layout["annotations"] += [_caption(axis, finding, dark=dark) for finding in findings]
    if findings:
        layout["margin"]["t"] = 34  # room for their titles
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
    """One line for each of `lines` (label -> curve): the last in the run's colour, those before it in grey.

    `noisy`: each step stands faintly behind the smoothed line. `gaps`: steps at which a line is broken.
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
            traces.append(_line(axis, curve, f"{label}, each step", hue, 1, opacity=0.25, gaps=look["gaps"]))
            curve = curve[0], smoothed(curve[1], np.ones(len(curve[1])), view.smoothing)
        trace = _line(axis, curve, label, hue, 1.5, **look)
        traces.append(trace)
        labels.append(_Label(trace["y"][-1], label, words))
    layout = _layout(unit, axis, height)
    _fit(layout, traces, labels if len(lines) > 1 else [])
    if len(lines) < 2:
        layout["margin"]["r"] = 16
    return {"data": traces, "layout": layout}


def share_chart(lines: Mapping[str, Curve], unit: str, axis: Axis, view: View, colour: int = 0) -> Figure:
    """Shares between 0 and 1, in percent, each point marked; lines as in `line_chart`."""
    figure = line_chart(lines, unit, axis, view, colour, height=CHART_HEIGHT)
    for trace in figure["data"]:
        trace |= {"mode": "lines+markers", "marker": {"size": 6}}
    figure["layout"]["yaxis"] |= {"range": [-0.02, 1.04], "tickformat": ".0%"}
    return figure


def comparison_chart(
    lines: Sequence[Line], unit: str, view: View, *, shade: bool = False, wide: bool = False, marked: bool = False
) -> Figure:
    """The same figure of several runs, each in its own colour.

    Args:
        shade: fill the gap between the first two.
        marked: mark the steps at which there is no number.
    """
    traces: list[Trace] = []
    labels = []
    names = _told_apart([line.name for line in lines])
    for number, line in enumerate(lines):
        hue = run_colour(line.colour, dark=view.dark)
        filled = shade and number == 1 and traces[0]["y"]
        gap = {"fill": "tonexty", "fillcolor": faint(hue, 0.15)} if filled else {}
        trace = _line(line.axis, line.curve, names[number], hue, 2, dash=run_dash(line.colour), gaps=line.missing)
        trace |= gap
        traces.append(trace)  # of a run without points, too: a click tells the run by its trace's number
        if trace["y"]:
            labels.append(_Label(trace["y"][-1], names[number], run_word_colour(line.colour, dark=view.dark)))
    # A run of which no time is known yet has an axis of steps.
    axis = max((line.axis for line in lines), key=lambda axis: (not axis.is_steps, axis.end), default=Axis())
    height = CHART_HEIGHT if wide else SMALL_CHART_HEIGHT
    layout = _layout(unit, axis, height, log_scale=view.log_scale)
    if marked:  # after all lines, and without a hover: a click tells the run by its line's number
        peak = max((float(line.curve[1].max()) for line in lines if len(line.curve[1])), default=1.0)
        for line, name in zip(lines, names, strict=True):
            if len(line.missing):
                mark = _missing(line.axis, line.missing, line.curve, peak, name)
                mark["marker"] |= {"color": run_colour(line.colour, dark=view.dark)}
                traces.append(mark | {"hoverinfo": "skip", "hovertemplate": ""})
    _fit(layout, traces, labels, log_scale=view.log_scale)
    layout["margin"]["r"] = 200
    return {"data": traces, "layout": layout}


@dataclass(frozen=True, slots=True)
class Lane:
    """One run's answers. `colour` is the run's number; heldout, learned: share of the answers that were right."""

    name: str
    colour: int
    axis: Axis
    heldout: Curve
    learned: Curve


def accuracy_chart(lanes: Sequence[Lane], marks: Mapping[str, int], view: View) -> Figure:
    """Right answers to problems that were held out, and faintly to those that are learned from, on a logarithmic axis.

    Args:
        marks: steps of others to compare with, by name; drawn where the axis is of steps and comes so far.
    """
    axis = max((lane.axis for lane in lanes), key=lambda axis: (not axis.is_steps, axis.end), default=Axis())
    traces: list[Trace] = []
    labels = [_Label(GROKKED_ACCURACY, f"{GROKKED_ACCURACY:.0%}", neutral(1, dark=view.dark))]
    names = _told_apart([lane.name for lane in lanes])
    for lane, short in zip(lanes, names, strict=True):
        hue, name = run_colour(lane.colour, dark=view.dark), escape_html(lane.name)
        dash = run_dash(lane.colour)
        heldout = _from_first(lane.axis, lane.heldout)
        traces.append(_line(lane.axis, heldout, f"{name}, unseen", hue, 2.5, dash=dash))
        if len(heldout[0]):
            words = run_word_colour(lane.colour, dark=view.dark)
            labels.append(_Label(float(heldout[1][-1]), short if len(lanes) > 1 else "unseen", words))
    # Behind the others, and after them: a click tells the run by its line's number.
    for lane in lanes:
        learned = _from_first(lane.axis, lane.learned)
        look: Trace = {"opacity": 0.35, "hoverinfo": "skip" if len(lanes) > 1 else "all"}
        name = f"{escape_html(lane.name)}, learned from"
        traces.append(_line(lane.axis, learned, name, run_colour(lane.colour, dark=view.dark), 1, **look))
    layout = _layout("right answers", axis, CHART_HEIGHT)
    shown = {name: step for name, step in marks.items() if axis.is_steps and step <= axis.end}
    begin, end = LOG_AXIS_BEGINS if axis.is_steps and axis.end > 20 * LOG_AXIS_BEGINS else 1, max(axis.end, 10.0)
    layout["xaxis"] |= {"type": "log", "range": [math.log10(begin), math.log10(end)], "dtick": 1, "tickformat": ",~r"}
    layout["yaxis"] |= {"range": [-0.02, 1.04], "tickformat": ".0%"}
    line = {"color": GREY, "width": 1, "dash": "dot"}
    level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": GROKKED_ACCURACY, "y1": GROKKED_ACCURACY}
    layout["shapes"] = [{**level, "line": line}]
    layout["annotations"] = _annotations(labels, 1.0 / (CHART_HEIGHT - AROUND))
    for step in shown.values():
        layout["shapes"].append(
            {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": step, "x1": step, "line": line}
        )
    if shown:  # all of their names left of the first, where no curve has risen yet
        layout["annotations"].append(
            {
                "x": math.log10(min(shown.values()) / 2),  # words stand by the logarithm, lines do not
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
    layout["margin"]["r"] = 200 if len(lanes) > 1 else 130
    return {"data": traces, "layout": layout}


def _from_first(axis: Axis, curve: Curve) -> Curve:
    """Without what a logarithmic axis has no place for."""
    kept = axis.at(curve[0]) > 0
    return curve[0][kept], curve[1][kept]


def table_chart(right: npt.NDArray[np.bool_], learned_from: npt.NDArray[np.bool_], first: int, view: View) -> Figure:
    """Every problem of a calculation table as a small square, in one of four colours.

    Args:
        right, learned_from: (x, y), whether the model has it right, and whether it learned from it.
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
    layout = _layout("x", Axis(), 640)
    layout["margin"] |= {"r": 16, "t": 30, "b": 60}
    layout["xaxis"] = {"title": {"text": "y", "standoff": 10}, "showgrid": False, "zeroline": False}
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "scaleanchor": "x", "constrain": "domain"}
    layout |= {"hovermode": "closest", "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    return {"data": [trace], "layout": layout}


def ponder_chart(histograms: Sequence[Row], axis: Axis, view: View, colour: int = 0) -> Figure:
    """Share of the tokens by ponder steps, as it changed: one column a check, darker where more tokens are.

    Args:
        histograms: rows with step and counts, counts[n] tokens having taken n ponder steps.
    """
    traces: list[Trace] = []
    longest = max((len(row["counts"]) for row in histograms), default=0)
    if histograms:
        together = -(-len(histograms) // MAX_POINTS)  # checks in one column
        counts = np.zeros((longest, -(-len(histograms) // together)))  # (ponder steps, columns)
        for number, row in enumerate(histograms):
            counts[: len(row["counts"]), number // together] += row["counts"]
        shares = counts / np.maximum(counts.sum(0), 1.0)
        ends = [int(row["step"]) for row in histograms]  # a check tells of the steps that led to it
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
    layout = _layout("ponder steps", axis, SMALL_CHART_HEIGHT)
    layout["hovermode"] = "closest"
    layout["margin"]["r"] = 16
    layout["yaxis"]["dtick"] = max(1, -(-longest // MAX_STEP_TICKS))
    return {"data": traces, "layout": layout}


def downsample(x: Floats, y: Floats, limit: int = MAX_POINTS) -> tuple[Floats, Floats]:
    """At most `limit` of the points, chosen so that peaks and dips stay (MinMaxLTTB, arXiv 2305.00332)."""
    if len(x) <= limit:
        return x, y
    shape = MinMaxLTTBDownsampler().downsample(
        np.ascontiguousarray(x), np.ascontiguousarray(y), n_out=limit - 2, parallel=False
    )
    # It keeps the peaks of most curves; the highest and the lowest point must stay in all.
    chosen = np.union1d(shape.astype(np.intp), (y.argmin(), y.argmax()))
    return x[chosen], y[chosen]


def smoothed(means: Floats, counts: Floats, share: float) -> Floats:
    """An exponential moving average over about `share` of the values, unbiased at its start.

    Args:
        means, counts: the values, each standing for so many: counts of 1 give the plain average.
    """
    span = max(1.0, share * float(counts.sum()))
    keeps = (1 - 1 / span) ** counts
    result = np.empty_like(means)
    average = weight = 0.0
    for index, (mean, keep) in enumerate(zip(means.tolist(), keeps.tolist(), strict=True)):
        average = keep * average + (1 - keep) * mean
        weight = keep * weight + (1 - keep)
        result[index] = average / weight
    return result


def _layout(unit: str, axis: Axis, height: int, *, log_scale: bool = False) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 56, "r": 130, "t": 12, "b": 44},
        "showlegend": False,  # each line carries its name beside it
        "hovermode": "x unified",
        "hoverdistance": -1,  # however far apart the points are, one is always meant
        "uirevision": f"{axis.title} {log_scale}",  # zoom stays as the person left it when new points come
        "xaxis": {
            "title": {"text": axis.title, "font": {"size": FONT_SIZE}},
            "range": [0, axis.end],
            "showgrid": False,
            "tickformat": ",d" if axis.whole else "",
            "unifiedhovertitle": {"text": f"{axis.title} %{{x:{',d' if axis.whole else '.4~g'}}}"},
            "tickfont": {"size": FONT_SIZE},
        },
        "yaxis": {
            "title": {"text": unit, "font": {"size": FONT_SIZE}},
            "gridcolor": "rgba(128,128,128,0.18)",
            "zeroline": False,
            "tickfont": {"size": FONT_SIZE},
            "exponentformat": "power",  # not 300μ for 0.0003
            "minexponent": 6,
        },
        "hoverlabel": {"namelength": -1},  # whole names
        "template": "none",
    }
    if log_scale:
        layout["yaxis"]["type"] = "log"
    return layout


def _line(
    axis: Axis,
    curve: Curve,
    name: str,
    colour: str,
    width: float,
    *,
    dash: str = "solid",
    gaps: Floats | None = None,
    **more: Any,
) -> Trace:
    """A line that is broken at the steps of `gaps`. A point that stands alone is a dot: no line would show it."""
    steps, y = downsample(*curve)
    if gaps is not None and len(gaps):
        gaps = np.sort(gaps)
        before = np.searchsorted(gaps, steps)  # how many gaps lie before each point
        broken = np.flatnonzero(np.diff(before)) + 1
        steps, y = np.insert(steps, broken, gaps[before[broken] - 1]), np.insert(y, broken, np.nan)
    finite = np.r_[False, np.isfinite(y), False]
    alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    line = {"color": colour, "width": width, **({"dash": dash} if dash != "solid" else {})}
    looks: Trace = {"mode": "lines", "line": line}
    if alone.any():
        dots = {"size": np.where(alone, 6, 0).tolist(), "opacity": 1, "line": {"width": 0}}
        looks = {"mode": "lines+markers", "line": line, "marker": dots}
    return {**_trace(axis, steps, [None if math.isnan(each) else each for each in y.tolist()], name, **looks), **more}


def _trace(axis: Axis, steps: Floats, y: list[float | None], name: str, **looks: Any) -> Trace:
    """`steps` are told beside the pointer: those of lines beside one another need not be the same."""
    largest = max((abs(each) for each in y if each is not None), default=0.0)
    number = ",.0f" if 1e4 <= largest < 1e12 else ".4~g"
    trace = {"type": "scatter", "x": axis.at(steps).tolist(), "y": y, "name": name, **looks}
    place = "x"
    if not axis.is_steps:  # what is clicked is a step
        place = "customdata"
        trace["customdata"] = steps.tolist()
    return {"hovertemplate": f"%{{y:{number}}} (step %{{{place}:,d}})", **trace}


@dataclass(frozen=True, slots=True)
class _Label:
    """A line's name, to stand beside the chart at height `y` of its data."""

    y: float
    text: str
    colour: str


def _fit(layout: Figure, traces: Sequence[Trace], labels: Sequence[_Label], *, log_scale: bool = False) -> None:
    """Lay the vertical axis around what is drawn where Plotly's own choice would mislead, and the names beside it."""
    shown = [y for trace in traces for y in trace["y"] if y is not None] + [label.y for label in labels]
    if log_scale:
        shown = [y for y in shown if y > 0]
    layout["annotations"] = []
    if not shown:
        return
    axis, low, high = layout["yaxis"], min(shown), max(shown)
    if log_scale:
        low = math.log10(max(low, high / 10**LOG_DECADES))
        high = math.log10(high)
        # A number at each digit while there is room: one run falls by a few nats.
        axis["dtick"] = "D1" if high - low < 1.5 else "D2" if high - low < 3 else 1
        # Plotly wants the place of words on a logarithmic axis as the logarithm.
        labels = [replace(label, y=max(low, math.log10(label.y) if label.y > 0 else low)) for label in labels]
        around = 0.05 * (high - low) or 0.1
        axis["range"] = [low - around, high + around]
    elif high - low <= FLAT * max(abs(low), abs(high)):
        axis["range"] = sorted((0.0, 2 * high)) if high else [-0.05, 1.0]
    low, high = axis.get("range", (low, high))
    top = high if "range" in axis else math.inf  # else Plotly makes room for them
    layout["annotations"] = _annotations(labels, (high - low) / (layout["height"] - AROUND), top)


def _annotations(labels: Sequence[_Label], pixel: float, top: float = math.inf) -> list[dict[str, Any]]:
    """The names in the right margin, each at its line's last value, pushed apart where they would overlap.

    Args:
        pixel: how much of the axis it takes.
        top: words above it would not be shown.
    """
    labels, apart = sorted(labels, key=lambda label: label.y), pixel * LABEL_HEIGHT
    heights = list(accumulate((label.y for label in labels), lambda below, y: max(y, below + apart)))
    heights = list(accumulate(reversed(heights), lambda above, y: min(y, above - apart), initial=top + apart))[:0:-1]
    return [
        {
            "xref": "paper",
            "x": 1,
            "y": y,
            "text": label.text,
            "showarrow": False,
            "xanchor": "left",
            "xshift": 8,
            "font": {"color": label.colour, "size": FONT_SIZE},
        }
        for label, y in zip(labels, heights, strict=True)
    ]


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names for the margin and beside the pointer: of long ones, what tells them apart is kept.

    The parts after a comma that all have in common are left out.
    """
    parts = [name.split(", ") for name in names]
    while len(names) > 1 and min(map(len, parts)) > 1 and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    whole = [", ".join(each) for each in parts]
    short = [_shortened(each, len(each)) for each in whole]
    if len(set(short)) < len(set(whole)):  # neither their beginnings nor their ends tell all of them apart
        short = [_shortened(each, _alone_from(each, whole) + LABEL_LENGTH // 4) for each in whole]
    return [escape_html(each) for each in short]


def _alone_from(name: str, names: Sequence[str]) -> int:
    """The first letter at which `name` is like none of the others."""
    apart = (next(n for n, (a, b) in enumerate(zip_longest(name, other)) if a != b) for other in names if other != name)
    return max(apart)


def _shortened(name: str, end: int) -> str:
    """A name that fits the margin: its beginning, and what stands before its letter `end`."""
    half = LABEL_LENGTH // 2
    if len(name) <= LABEL_LENGTH:
        return name
    end = min(end, len(name))
    return f"{name[: half - 1].rstrip()}…{name[end - half : end].lstrip()}"


def _missing(axis: Axis, steps: Floats, beside: Curve, height: float, name: str = "") -> Trace:
    """Crosses where `beside` is no number, at its highest, or at `height` where it has none."""
    looks = {"mode": "markers", "marker": {"color": ALARM, "symbol": "x", "size": 10}}
    words = f"{name}, no number (NaN)" if name else "no number (NaN)"
    shown = steps[:: -(-len(steps) // MAX_POINTS)]
    height = float(beside[1].max(initial=0.0)) or height
    place = "x" if axis.is_steps else "customdata"
    return _trace(axis, shown, [height] * len(shown), words, hovertemplate=f"step %{{{place}:,d}}", **looks)


def _band(axis: Axis, finding: Finding) -> dict[str, Any]:
    """The steps that a finding is about."""
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

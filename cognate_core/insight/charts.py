"""Charts of a run: what was measured in, a Plotly figure out. Pure functions; nothing is drawn or read here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly
from tsdownsample import MinMaxLTTBDownsampler

from cognate_core.labels import escape_html

PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""The library that draws the figures in a browser."""

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colour-blind-safe, always in this order."""

HELDOUT_COLOURS = (*OKABE_ITO[1:4], "#F0E442")  # the palette's yellow
BRIGHT_BLUE = OKABE_ITO[4]  # stands in for the first blue on a dark ground, where that one is hard to read

MAX_POINTS = 600  # of one line; enough for each pixel column of a wide chart's width at rest
SMOOTHING_SPAN = 0.02  # the smoothed line averages over this share of the shown steps
CHART_HEIGHT, SMALL_CHART_HEIGHT = 360, 260
FONT_SIZE = 14  # readable from the last row
LABEL_GAP = 0.08  # least distance of two labels, as a share of the shown values
MAX_STEP_TICKS = 8  # numbers on the axis of ponder steps
GREY = "#808080"

Row = Mapping[str, Any]
Trace = dict[str, Any]
Figure = dict[str, Any]
"""Data and layout, made of what JSON has: plotly's own classes check each value, six times as long as all the rest."""
Floats = npt.NDArray[np.float64]
Curve = tuple[Floats, Floats]
"""Steps in their order, and the value at each: finite numbers."""


def loss_chart(
    losses: Curve,
    means: Curve,
    counts: Floats,
    missing: Floats,
    evaluations: Sequence[Row],
    uniform_loss: float,
    total_steps: int,
    *,
    dark: bool = False,
) -> Figure:
    """Training loss (faint, with its smoothed line) and held-out loss of each dataset, by step.

    Args:
        losses: training loss of one model.
        means, counts: the same without gaps, each the mean over so many steps: what is smoothed.
        missing: steps whose loss is no number; they are marked, not skipped.
        evaluations: rows with step, dataset and loss.
        uniform_loss: what guessing evenly over the vocabulary gives, drawn as a dotted line.
        total_steps: where the step axis ends.
        dark: whether it will stand on a dark ground.
    """
    blue = first_colour(dark)
    traces: list[Trace] = []
    labels = [_Label(uniform_loss, "pure guessing", GREY)]
    if len(losses[0]):
        x, y = downsample(*losses)
        traces.append(_line(x, y, "training, each step", blue, 1, opacity=0.3))
        x, y = downsample(means[0], smoothed(means[1], counts))
        traces.append(_line(x, y, "training", blue, 2))
        labels.append(_Label(y[-1], "training", blue))
    if len(missing):
        height = float(losses[1].max()) if len(losses[1]) else uniform_loss
        traces.append(_missing(missing[:: -(-len(missing) // MAX_POINTS)], height))
    for number, dataset in enumerate(dict.fromkeys(row["dataset"] for row in evaluations)):
        colour = HELDOUT_COLOURS[number % len(HELDOUT_COLOURS)]
        points = [(row["step"], row["loss"]) for row in evaluations if row["dataset"] == dataset]
        known = np.array([point for point in points if point[1] is not None], dtype=np.float64).reshape(-1, 2)
        name = f"unseen {escape_html(dataset)}"
        x, y = downsample(*known.T)
        mode = {"mode": "lines+markers", "marker": {"size": 6}} if len(x) == len(known) else {}
        traces.append(_line(x, y, name, colour, 2, **mode))
        if y:
            labels.append(_Label(y[-1], name, colour))
    guessing = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": uniform_loss, "y1": uniform_loss}
    layout = _layout("loss (nats a token)", total_steps, CHART_HEIGHT)
    layout["shapes"] = [{**guessing, "line": {"color": GREY, "width": 1, "dash": "dot"}}]
    layout["annotations"] = _annotations(traces, labels)
    return {"data": traces, "layout": layout}


def line_chart(lines: Mapping[str, Curve], unit: str, total_steps: int, *, dark: bool = False) -> Figure:
    """One line for each of `lines` (label -> curve), by step."""
    traces: list[Trace] = []
    labels = []
    for number, (label, curve) in enumerate(lines.items()):
        if not len(curve[0]):
            continue
        colour = OKABE_ITO[number] if number else first_colour(dark)
        x, y = downsample(*curve)
        traces.append(_line(x, y, label, colour, 1.5))
        labels.append(_Label(y[-1], label, colour))
    layout = _layout(unit, total_steps, SMALL_CHART_HEIGHT)
    if len(lines) > 1:
        layout["annotations"] = _annotations(traces, labels)
    else:
        layout["margin"]["r"] = 16
    return {"data": traces, "layout": layout}


def ponder_chart(histograms: Sequence[Row], total_steps: int, *, dark: bool = False) -> Figure:
    """Share of the tokens by ponder steps, as it changed: one column a check, darker where more tokens are.

    Args:
        histograms: rows with step and counts, counts[n] tokens having taken n ponder steps.
        total_steps: where the step axis ends.
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
        ground, blue = ("rgba(86,180,233,0)", BRIGHT_BLUE) if dark else ("rgba(0,114,178,0)", OKABE_ITO[0])
        traces.append(
            {
                "type": "heatmap",
                "x": edges,
                "y": [n - 0.5 for n in range(1, longest + 1)],
                "z": shares[1:].tolist(),
                "colorscale": [[0, ground], [1, blue]],
                "zmin": 0,
                "zmax": 1,
                "showscale": False,
                "hovertemplate": "%{y:.0f} ponder steps: %{z:.0%} of the tokens<extra></extra>",
            }
        )
    layout = _layout("ponder steps", total_steps, SMALL_CHART_HEIGHT)
    layout["hovermode"] = "closest"
    layout["margin"]["r"] = 16
    layout["yaxis"]["dtick"] = max(1, -(-longest // MAX_STEP_TICKS))
    return {"data": traces, "layout": layout}


def first_colour(dark: bool) -> str:
    """The colour of the most important line."""
    return BRIGHT_BLUE if dark else OKABE_ITO[0]


def downsample(x: Floats, y: Floats, limit: int = MAX_POINTS) -> tuple[list[float], list[float]]:
    """At most `limit` of the points, chosen so that peaks and dips stay (MinMaxLTTB, arXiv 2305.00332)."""
    if len(x) <= limit:
        return x.tolist(), y.tolist()
    shape = MinMaxLTTBDownsampler().downsample(
        np.ascontiguousarray(x), np.ascontiguousarray(y), n_out=limit - 2, parallel=False
    )
    # It keeps the peaks of most curves; the highest and the lowest point must stay in all.
    chosen = np.union1d(shape.astype(np.intp), (y.argmin(), y.argmax()))
    return x[chosen].tolist(), y[chosen].tolist()


def smoothed(means: Floats, counts: Floats) -> Floats:
    """An exponential moving average over about SMOOTHING_SPAN of the values, unbiased at its start.

    Args:
        means, counts: the values, each standing for so many: counts of 1 give the plain average.
    """
    span = max(1.0, SMOOTHING_SPAN * float(counts.sum()))
    keeps = (1 - 1 / span) ** counts
    result = np.empty_like(means)
    average = weight = 0.0
    for index, (mean, keep) in enumerate(zip(means.tolist(), keeps.tolist(), strict=True)):
        average = keep * average + (1 - keep) * mean
        weight = keep * weight + (1 - keep)
        result[index] = average / weight
    return result


def _layout(unit: str, total_steps: int, height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 56, "r": 130, "t": 12, "b": 44},
        "showlegend": False,  # each line carries its name beside it
        "hovermode": "x unified",
        "uirevision": "keep",  # zoom stays as the person left it when new points come
        "xaxis": {
            "title": {"text": "step", "font": {"size": FONT_SIZE}},
            "range": [0, total_steps],
            "showgrid": False,
            "tickformat": ",d",
            "tickfont": {"size": FONT_SIZE},
        },
        "yaxis": {
            "title": {"text": unit, "font": {"size": FONT_SIZE}},
            "gridcolor": "rgba(128,128,128,0.18)",
            "zeroline": False,
            "tickfont": {"size": FONT_SIZE},
        },
        "template": "none",
    }


def _line(x: list[Any], y: list[Any], name: str, colour: str, width: float, **more: Any) -> Trace:
    line = {"color": colour, "width": width}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": line, **more}


@dataclass(frozen=True, slots=True)
class _Label:
    """A line's name, to stand beside the chart at height `y` of its data."""

    y: float
    text: str
    colour: str


def _annotations(traces: Sequence[Trace], labels: Sequence[_Label]) -> list[dict[str, Any]]:
    """The names in the right margin, each at its line's last value, pushed apart where they would overlap."""
    values = [y for trace in traces for y in trace["y"]] + [label.y for label in labels]
    gap = (max(values) - min(values) or 1.0) * LABEL_GAP if values else 1.0
    annotations = []
    lowest = -math.inf
    for label in sorted(labels, key=lambda label: label.y):
        lowest = max(label.y, lowest + gap)
        annotations.append(
            {
                "xref": "paper",
                "x": 1,
                "y": lowest,
                "text": label.text,
                "showarrow": False,
                "xanchor": "left",
                "xshift": 8,
                "font": {"color": label.colour, "size": FONT_SIZE},
            }
        )
    return annotations


def _missing(steps: Floats, height: float) -> Trace:
    return {
        "type": "scatter",
        "x": steps.tolist(),
        "y": [height] * len(steps),
        "name": "no number (NaN)",
        "mode": "markers",
        "marker": {"color": OKABE_ITO[5], "symbol": "x", "size": 10},
    }

"""The building blocks of all charts: lines, axes, and names beside the lines, in Plotly's format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from tsdownsample import MinMaxLTTBDownsampler

from cognate_core.insight.axis import Axis
from cognate_core.insight.palette import ALARM
from cognate_core.labels import escape_html

MAX_POINTS = 600  # of one line; enough for each pixel column of a wide chart without zoom
FONT_SIZE = 14  # readable from the last row
LABEL_HEIGHT = 19  # minimum distance between two labels, in pixels
AROUND = 60  # pixels of a chart's height that its axis and margins take
LETTER = 7.0  # pixels of a letter of a name, on average
LABEL_LENGTH = 26  # characters of a name that fit the margin
FLAT = 1e-6  # smaller changes, relative to the line's height, are rounding: no axis should magnify them
LOG_DECADES = 8  # below the highest loss: lower values are rounding of 32-bit numbers, or 0, which has no place

Row = Mapping[str, Any]
Trace = dict[str, Any]
Figure = dict[str, Any]
"""Data and layout in JSON types: plotly's own classes check each value, which takes six times as long as the rest."""
Floats = npt.NDArray[np.float64]
Curve = tuple[Floats, Floats]
"""Steps in order, and the value at each: finite numbers."""


def downsample(x: Floats, y: Floats, limit: int = MAX_POINTS) -> tuple[Floats, Floats]:
    """At most `limit` of the points, chosen to keep peaks and dips (MinMaxLTTB, arXiv 2305.00332)."""
    if len(x) <= limit:
        return x, y
    shape = MinMaxLTTBDownsampler().downsample(
        np.ascontiguousarray(x), np.ascontiguousarray(y), n_out=limit - 2, parallel=False
    )
    # It keeps the peaks of most curves; this keeps the highest and the lowest point of every curve.
    chosen = np.union1d(shape.astype(np.intp), (y.argmin(), y.argmax()))
    return x[chosen], y[chosen]


def smoothed(means: Floats, counts: Floats, share: float) -> Floats:
    """An exponential moving average over about `share` of the values, unbiased at its start.

    Args:
        means, counts: the values, and how many each stands for: counts of 1 give the plain average.
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


def sparkline(x: Floats, y: Floats, colour: str) -> str:
    """A curve without axes as an SVG picture."""
    width, height = 240.0, 48.0
    across, up = x - x.min(), y.max() - y
    across, up = across / max(float(across.max()), 1e-12) * width, up / max(float(up.max()), 1e-12) * height
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {width + 4:g} {height + 4:g}">'
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/></svg>'
    )


def layout_of(unit: str, axis: Axis, height: int, *, log_scale: bool = False) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 56, "r": 130, "t": 12, "b": 44},
        "showlegend": False,  # each line has its name beside it
        "hovermode": "x unified",
        "hoverdistance": -1,  # the pointer always selects a point, however far away
        "uirevision": f"{axis.title} {log_scale}",  # keeps the zoom when new points arrive
        "xaxis": {
            "title": {"text": axis.title + axis.planned, "font": {"size": FONT_SIZE}},
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


def line_of(
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
    """A line that is broken at the steps of `gaps`. An isolated point becomes a dot: no line would show it."""
    steps, y = downsample(*curve)
    if gaps is not None and len(gaps):
        gaps = np.sort(gaps)
        before = np.searchsorted(gaps, steps)  # number of gaps before each point
        broken = np.flatnonzero(np.diff(before)) + 1
        steps, y = np.insert(steps, broken, gaps[before[broken] - 1]), np.insert(y, broken, np.nan)
    finite = np.r_[False, np.isfinite(y), False]
    alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    line = {"color": colour, "width": width, **({"dash": dash} if dash != "solid" else {})}
    looks: Trace = {"mode": "lines", "line": line}
    if alone.any():
        dots = {"size": np.where(alone, 6, 0).tolist(), "opacity": 1, "line": {"width": 0}}
        looks = {"mode": "lines+markers", "line": line, "marker": dots}
    return {**trace_of(axis, steps, [None if math.isnan(each) else each for each in y.tolist()], name, **looks), **more}


def trace_of(axis: Axis, steps: Floats, y: list[float | None], name: str, **looks: Any) -> Trace:
    """A line whose hover text shows the step, because the lines of a chart may have different steps."""
    largest = max((abs(each) for each in y if each is not None), default=0.0)
    number = ",.0f" if 1e4 <= largest < 1e12 else ".4~g"
    trace = {"type": "scatter", "x": axis.at(steps).tolist(), "y": y, "name": name, **looks}
    place = "x"
    if not axis.is_steps:  # a click needs the step
        place = "customdata"
        trace["customdata"] = steps.tolist()
    return {"hovertemplate": f"%{{y:{number}}} (step %{{{place}:,d}})", **trace}


@dataclass(frozen=True, slots=True)
class Label:
    """A line's name beside the chart, at height `y` of its data."""

    y: float
    text: str
    colour: str


def fit(layout: Figure, traces: Sequence[Trace], labels: Sequence[Label], *, log_scale: bool = False) -> None:
    """Fit the vertical axis to the data if Plotly's own choice would mislead, and place the names beside it."""
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
        # A tick at each digit if there is room: one run falls by only a few nats.
        axis["dtick"] = "D1" if high - low < 1.5 else "D2" if high - low < 3 else 1
        # Plotly places text on a logarithmic axis by the logarithm.
        labels = [replace(label, y=max(low, math.log10(label.y) if label.y > 0 else low)) for label in labels]
        around = 0.05 * (high - low) or 0.1
        axis["range"] = [low - around, high + around]
    elif high - low <= FLAT * max(abs(low), abs(high)):
        axis["range"] = sorted((0.0, 2 * high)) if high else [-0.05, 1.0]
    low, high = axis.get("range", (low, high))
    top = high if "range" in axis else math.inf  # otherwise Plotly makes room for them
    longest = max((len(label.text) for label in labels), default=0)
    layout["margin"]["r"] = max(layout["margin"]["r"], round(LETTER * longest) + 12)
    layout["annotations"] = names_beside(labels, (high - low) / (layout["height"] - AROUND), top)


def names_beside(labels: Sequence[Label], pixel: float, top: float = math.inf) -> list[dict[str, Any]]:
    """The names in the right margin, each at its line's last value, moved apart if they would overlap.

    Args:
        pixel: its height in units of the axis.
        top: text above it would not be shown.
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


def told_apart(names: Sequence[str]) -> list[str]:
    """Names for the margin and hover text: long ones are shortened to what tells them apart.

    Trailing parts (after a comma) that all names share are left out.
    """
    parts = [name.split(", ") for name in names]
    while len(names) > 1 and min(map(len, parts)) > 1 and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    whole = [", ".join(each) for each in parts]
    short = [_shortened(each, len(each)) for each in whole]
    if len(set(short)) < len(set(whole)):  # neither beginnings nor ends tell all of them apart
        short = [_shortened(each, _alone_from(each, whole) + LABEL_LENGTH // 4) for each in whole]
    return [escape_html(each) for each in short]


def _alone_from(name: str, names: Sequence[str]) -> int:
    """The first character by which `name` differs from all others."""
    apart = (next(n for n, (a, b) in enumerate(zip_longest(name, other)) if a != b) for other in names if other != name)
    return max(apart)


def _shortened(name: str, end: int) -> str:
    """A name that fits the margin: its beginning, and the part that ends at character `end`."""
    half = LABEL_LENGTH // 2
    if len(name) <= LABEL_LENGTH:
        return name
    end = min(end, len(name))
    return f"{name[: half - 1].rstrip()}…{name[end - half : end].lstrip()}"


def missing_of(axis: Axis, steps: Floats, beside: Curve, height: float, name: str = "") -> Trace:
    """Crosses at the steps where a curve is not a number, at the height of its maximum, or `height` if it has none."""
    looks = {"mode": "markers", "marker": {"color": ALARM, "symbol": "x", "size": 10}}
    words = f"{name}, not a number (NaN)" if name else "not a number (NaN)"
    shown = steps[:: -(-len(steps) // MAX_POINTS)]
    height = float(beside[1].max(initial=0.0)) or height
    place = "x" if axis.is_steps else "customdata"
    return trace_of(axis, shown, [height] * len(shown), words, hovertemplate=f"step %{{{place}:,d}}", **looks)

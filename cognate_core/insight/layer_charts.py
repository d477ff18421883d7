"""Heat maps of the inside of a model over the steps: what was measured in each layer, and the sizes of all weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cognate_core.contracts.records import MAGNITUDES, SMALLEST_MAGNITUDE
from cognate_core.insight.axis import Axis
from cognate_core.insight.drawing import FONT_SIZE, LETTER, MAX_POINTS, Figure, Row, layout_of
from cognate_core.insight.layer_detectors import same_layers
from cognate_core.insight.words import layer_words
from cognate_core.labels import escape_html

COLOURS = "Viridis"  # colour-blind-safe; its lightness grows evenly
ROW_HEIGHT, AROUND_ROWS = 24, 110  # pixels
UPDATES = (-5, -1)  # powers of 10, the same for all runs: healthy layers are in between
LEAST_SHARE = 0.001  # of the weights: rarer magnitudes at both ends are not shown
LEAST_DECADES = 2  # a narrower scale would show noise as large differences


def layer_chart(rows: Sequence[Row], figure: Literal["updates", "gradients"], axis: Axis) -> Figure:
    """One figure of each layer at each measured step, on a logarithmic scale of colours.

    Args:
        rows: as `ProgressReader.layer_figures`, of one model.
    """
    shown = _thinned(rows)
    names = [layer_words(layer) for layer in shown[-1]["layers"]]
    values = [[_rounded(row[figure][number]) for row in shown] for number in range(len(names))]
    logarithms = [math.log10(each) for row in values for each in row if each]
    low, high = UPDATES
    if figure == "gradients" and logarithms:
        high = math.ceil(max(logarithms))
        low = min(high - LEAST_DECADES, math.floor(min(logarithms)))
    trace = _heat(shown, axis, low, high) | {
        "y": [escape_html(name) for name in names],
        "z": [[None if each is None else _power(each, low) for each in row] for row in values],
        "customdata": values,
        "hovertemplate": "%{y}: %{customdata:.2~g}<extra></extra>",
    }
    ticks = list(range(low, high + 1, -(-(high - low) // 2)))  # a phone has room for three
    trace["colorbar"] |= {"tickvals": ticks, "ticktext": [_decimal(power) for power in ticks], "tickangle": 0}
    layout = _layout("", axis, AROUND_ROWS + ROW_HEIGHT * len(names))
    layout["margin"]["l"] = round(LETTER * max(map(len, names))) + 12
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "showgrid": False}
    return {"data": [trace], "layout": layout}


def magnitudes_chart(rows: Sequence[Row], axis: Axis) -> Figure:
    """The share of all weights of each order of magnitude, at each measured step."""
    shown = _thinned(rows)
    counts = np.array([np.sum(row["magnitudes"], axis=0) for row in shown], dtype=np.float64).T  # (magnitudes, steps)
    shares = counts / np.maximum(counts.sum(0), 1.0)
    used = np.flatnonzero((shares >= LEAST_SHARE).any(1))
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, MAGNITUDES - 1)
    edges = [2.0 ** (SMALLEST_MAGNITUDE + n) for n in range(first, last + 2)]
    trace = _heat(shown, axis, 0, float(shares.max(initial=0.0)) or 1.0) | {
        "y": edges,
        "z": [[round(each, 4) or None for each in row] for row in shares[first : last + 1].tolist()],
        "hovertemplate": "about %{y:.1~g}: %{z:.1%} of the weights<extra></extra>",
    }
    trace["colorbar"] |= {"tickformat": ".0%", "nticks": 4}
    layout = _layout("size of a weight", axis, AROUND_ROWS + ROW_HEIGHT * 9)
    powers = range(math.ceil(math.log10(edges[0])), math.floor(math.log10(edges[-1])) + 1)
    layout["yaxis"] |= {
        "type": "log",
        "range": [math.log10(edges[0]), math.log10(edges[-1])],
        "tickvals": [10.0**power for power in powers],
        "ticktext": [_decimal(power) for power in powers],
    }
    layout["yaxis"]["title"]["standoff"] = 10
    layout["margin"]["l"] = 84
    return {"data": [trace], "layout": layout}


def _thinned(rows: Sequence[Row]) -> list[Row]:
    """The rows of one model, or if there are too many columns for a chart, some of them and the newest."""
    known = same_layers(rows)
    return known[:: -(len(known) // MAX_POINTS + 1)][::-1]


def _heat(rows: Sequence[Row], axis: Axis, low: float, high: float) -> dict[str, Any]:
    """A heat map without its values: one column up to each step."""
    edges = np.array([0, *(row["step"] for row in rows)], dtype=np.float64)
    bar = {"orientation": "h", "y": 1, "yanchor": "bottom", "thickness": 12, "outlinewidth": 0}
    return {
        "type": "heatmap",
        "x": axis.at(edges).tolist(),
        "colorscale": COLOURS,
        "zmin": low,
        "zmax": high,
        "hoverongaps": False,
        "colorbar": {**bar, "tickfont": {"size": FONT_SIZE}},
    }


def _layout(unit: str, axis: Axis, height: int) -> dict[str, Any]:
    layout = layout_of(unit, axis, height)
    layout["hovermode"] = "closest"
    layout["margin"] |= {"r": 16, "t": 52}
    return layout


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _power(value: float, low: float) -> float:
    """The logarithm, for the colour; 0 has the colour of the smallest."""
    return round(math.log10(value), 2) if value > 0 else low


def _decimal(power: int) -> str:
    return (
        f"10<sup>{power}</sup>".replace("-", "\N{MINUS SIGN}")
        if not -5 <= power <= 4
        else f"{10.0**power:,.{max(0, -power)}f}"
    )

"""Charts of what is inside a model: its loss by position in the text, how far its weights moved, the lab's circle.

Pure functions: measurements in, a Plotly figure out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cognate_core.insight.axis import Axis
from cognate_core.insight.charts import DATASET_LOOKS, SMALL_CHART_HEIGHT
from cognate_core.insight.drawing import FONT_SIZE, Figure, Floats, Label, Row, Trace, fit, layout_of, line_of
from cognate_core.insight.palette import faint, run_colour, run_word_colour
from cognate_core.labels import escape_html

BAR_HEIGHT = 26  # of one part of a model
CIRCLE_HEIGHT = 440


def position_chart(losses: Mapping[str, Sequence[Row]], *, dark: bool = False) -> Figure:
    """A line for each dataset over the buckets of positions, which are equally wide.

    Args:
        losses: rows with first, last (positions), loss and tokens, by dataset.
    """
    ends = sorted({(int(row["first"]), int(row["last"])) for rows in losses.values() for row in rows})
    place = {first: float(number) for number, (first, _) in enumerate(ends)}
    axis = Axis("position in the text (tokens)", end=len(ends) - 0.7)
    traces: list[Trace] = []
    labels = []
    for number, (dataset, rows) in enumerate(losses.items()):
        curve = np.array([place[row["first"]] for row in rows]), np.array([float(row["loss"]) for row in rows])
        name, (symbol, dash) = escape_html(dataset), DATASET_LOOKS[number % len(DATASET_LOOKS)]
        trace = line_of(axis, curve, name, run_colour(number, dark=dark), 2, dash=dash)
        traces.append(
            trace
            | {
                "mode": "lines+markers",
                "marker": {"size": 8, "symbol": symbol},
                "customdata": [f"{row['tokens']:,}" for row in rows],
                "hovertemplate": "%{y:.3f}, the mean of %{customdata} tokens",
            }
        )
        labels.append(Label(float(curve[1][-1]), name, run_word_colour(number, dark=dark)))
    layout = layout_of("loss (nats per token)", axis, SMALL_CHART_HEIGHT)
    fit(layout, traces, labels)
    names = [f"{first:,} to {last:,}" for first, last in ends]
    layout["xaxis"] |= {"range": [-0.3, axis.end], "tickvals": list(place.values()), "ticktext": names}
    layout["xaxis"]["zeroline"] = False
    layout["xaxis"]["unifiedhovertitle"] = {"text": "positions %{x}"}
    layout["margin"]["b"] = 60
    return {"data": traces, "layout": layout}


def circle_chart(points: Floats, turns: Floats, numbers: Sequence[int], *, dark: bool = False) -> Figure:
    """The numbers as points, joined in the order in which they go round: a tangle, or a circle.

    Args:
        points, turns: (n, 2) and (n,), as in `arithmetic.circle.Circle`.
    """
    order = np.argsort(turns, kind="stable")
    around = points[np.r_[order, order[:1]]]
    colour = run_colour(0, dark=dark)
    lines: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": around[:, 0].tolist(),
        "y": around[:, 1].tolist(),
        "line": {"color": faint(colour, 0.35), "width": 1},
        "hoverinfo": "skip",
    }
    dots: Trace = {
        "type": "scatter",
        "mode": "markers+text",
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "text": [str(number) if number % 10 == 0 else "" for number in numbers],
        "customdata": list(numbers),
        "textposition": "top center",
        "textfont": {"size": FONT_SIZE},
        "marker": {"color": colour, "size": 7},
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    layout = layout_of("", Axis(), CIRCLE_HEIGHT)
    half = 1.15 * float(np.abs(points).max())
    axis = {"range": [-half, half], "visible": False}
    layout |= {"hovermode": "closest", "margin": {"l": 8, "r": 8, "t": 8, "b": 8}}
    layout |= {"xaxis": axis, "yaxis": {**axis, "scaleanchor": "x"}}
    return {"data": [lines, dots], "layout": layout}


def change_chart(changes: Mapping[str, float | None], *, dark: bool = False) -> Figure:
    """A bar for each part of a model: its relative change, None if unknown."""
    colour = run_colour(0, dark=dark)
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": list(changes.values()),
        "y": [escape_html(part) for part in changes],
        "marker": {"color": colour},
        "hovertemplate": "%{y}: %{x:.2%}<extra></extra>",
    }
    layout = layout_of("", Axis(), 78 + BAR_HEIGHT * len(changes))
    layout["hovermode"] = "closest"
    layout["margin"] = {"l": 16, "r": 24, "t": 12, "b": 48}
    layout["xaxis"] = {
        "title": {"text": "change relative to the weights' size", "font": {"size": FONT_SIZE}},
        "rangemode": "tozero",
        "tickformat": ".2~p",
        "gridcolor": layout["yaxis"]["gridcolor"],
        "zeroline": False,
        "tickfont": {"size": FONT_SIZE},
    }
    layout["yaxis"] = {
        "type": "category",
        "autorange": "reversed",
        "automargin": True,
        "showgrid": False,
        "ticksuffix": " ",
        "tickfont": {"size": FONT_SIZE},
    }
    return {"data": [bars], "layout": layout}

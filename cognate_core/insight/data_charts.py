"""Charts of a dataset: lengths in, a Plotly figure out. Pure functions; nothing is drawn or read here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cognate_core.insight.charts import CHART_HEIGHT
from cognate_core.insight.drawing import FONT_SIZE, Figure
from cognate_core.insight.palette import GREY, neutral, run_colour, run_word_colour
from cognate_core.labels import escape_html

COLUMNS = 40  # of a histogram, at most
LONG_TAIL = 2.0  # the axis ends at the 99th percentile if the longest row exceeds this many times that length


def length_chart(lengths: Mapping[str, npt.NDArray[np.int64]], training_length: int, *, dark: bool = False) -> Figure:
    """The percentage of rows of each length: the first of `lengths` as columns, others as lines over them.

    Args:
        lengths: label -> tokens of each row; at least one row.
        training_length: drawn as a dotted line if the axis reaches that far.
        dark: whether the background is dark.
    """
    longest = max(int(tokens.max()) for tokens in lengths.values() if len(tokens))
    usual = max(float(np.percentile(tokens, 99)) for tokens in lengths.values() if len(tokens))
    end = longest if longest <= LONG_TAIL * usual else int(np.ceil(usual))
    width = max(1, -(-(end + 1) // COLUMNS))
    edges = np.arange(0, end + 1 + width, width)  # columns [a, b); longer rows go into the last
    more = longest >= edges[-1]
    words = [f"{start:,} to {start + width - 1:,}" if width > 1 else f"{start:,}" for start in edges[:-1].tolist()]
    if more:
        words[-1] = f"{edges[-2]:,} or more"
    traces: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (label, tokens) in enumerate(lengths.items()):
        if not len(tokens):
            continue
        counts, _ = np.histogram(np.minimum(tokens, edges[-1] - 1), edges)
        colour = run_colour(number, dark=dark)
        percent = (100 * counts / len(tokens)).tolist()
        trace = {
            "x": (edges[:-1] + width / 2).tolist(),
            "y": percent,
            "name": escape_html(label),
            "customdata": list(zip(words, counts.tolist(), strict=True)),
            "hovertemplate": "%{customdata[0]} tokens: %{y:.1f} %, %{customdata[1]:,} rows"
            "<extra>%{fullData.name}</extra>",
        }
        if number:
            trace |= {"type": "scatter", "mode": "lines", "line": {"color": colour, "width": 2, "shape": "hvh"}}
        else:
            trace |= {"type": "bar", "width": width, "marker": {"color": colour, "opacity": 0.75, "line": {"width": 0}}}
        traces.append(trace)
        annotations.append(_corner(escape_html(label), run_word_colour(number, dark=dark), number))
    shapes = []
    if training_length <= edges[-1]:
        line = {"color": GREY, "width": 2, "dash": "dot"}
        place = {"x0": training_length, "x1": training_length, "yref": "paper", "y0": 0, "y1": 1}
        shapes.append({"type": "line", **place, "line": line})
        annotations.append(_beside_line(training_length, left=training_length > edges[-1] / 2, dark=dark))
    layout = {
        "height": CHART_HEIGHT,
        "margin": {"l": 56, "r": 16, "t": 12 + 22 * len(traces), "b": 48},
        "showlegend": False,
        "bargap": 0,
        "template": "none",
        "hoverlabel": {"font": {"size": FONT_SIZE}},
        "uirevision": "keep",
        "xaxis": _axis(f"length (tokens{', the last column has all longer rows' if more else ''})")
        | {"range": [0, int(edges[-1])], "showgrid": False, "tickformat": ",d"},
        "yaxis": _axis("share of the rows (%)") | {"rangemode": "tozero"},
        "shapes": shapes,
        "annotations": annotations,
    }
    return {"data": traces, "layout": layout}


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": FONT_SIZE}},
        "tickfont": {"size": FONT_SIZE},
        "gridcolor": "rgba(128,128,128,0.18)",
        "zeroline": False,
    }


def _corner(text: str, colour: str, number: int) -> dict[str, Any]:
    """A name above the chart at its right end, stacked by `number`."""
    return {
        "xref": "paper",
        "yref": "paper",
        "x": 1,
        "y": 1,
        "xanchor": "right",
        "yanchor": "bottom",
        "yshift": 22 * number,
        "text": text,
        "showarrow": False,
        "font": {"color": colour, "size": FONT_SIZE},
    }


def _beside_line(training_length: int, *, left: bool, dark: bool) -> dict[str, Any]:
    return {
        "x": training_length,
        "yref": "paper",
        "y": 1,
        "yanchor": "top",
        "xanchor": "right" if left else "left",
        "xshift": -6 if left else 6,
        "text": f"training length {training_length:,}",
        "showarrow": False,
        "font": {"color": neutral(1, dark=dark), "size": FONT_SIZE},
    }

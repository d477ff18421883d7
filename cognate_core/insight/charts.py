"""Charts of a run: rows of the progress log in, a Plotly figure out. Pure functions; nothing is drawn or read here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from tsdownsample import MinMaxLTTBDownsampler

from cognate_core.labels import escape_html

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colour-blind-safe, always in this order."""

MAX_POINTS = 600  # of one line; enough for each pixel column of a wide chart's width at rest
SMOOTHING_SPAN = 0.02  # the smoothed line averages over this share of the shown steps
CHART_HEIGHT = 340

Row = Mapping[str, Any]
Floats = npt.NDArray[np.float64]


def loss_chart(metrics: Sequence[Row], evaluations: Sequence[Row], uniform_loss: float) -> go.Figure:
    """Training loss (faint, with its smoothed line) and held-out loss of each dataset, by step.

    Args:
        metrics: rows with step and loss of one model, in order of step; a loss of None is marked, not skipped.
        evaluations: rows with step, dataset and loss.
        uniform_loss: what guessing evenly over the vocabulary gives, drawn as a dotted line.
    """
    figure = _figure("loss (nats a token)")
    steps, losses = _column(metrics, "step"), _column(metrics, "loss")
    finite = np.isfinite(losses)
    if finite.any():
        x, y = downsample(steps[finite], losses[finite])
        figure.add_scatter(x=x, y=y, name="training, each step", line={"color": OKABE_ITO[0], "width": 1}, opacity=0.3)
        smooth = smoothed(losses[finite])
        x, y = downsample(steps[finite], smooth)
        figure.add_scatter(x=x, y=y, name="training", line={"color": OKABE_ITO[0], "width": 2})
        _label(figure, x[-1], y[-1], "training", OKABE_ITO[0])
    if not finite.all():
        _mark_missing(figure, steps[~finite], float(losses[finite].max()) if finite.any() else uniform_loss)
    for number, dataset in enumerate(dict.fromkeys(row["dataset"] for row in evaluations)):
        colour = OKABE_ITO[1 + number % (len(OKABE_ITO) - 1)]
        rows = [row for row in evaluations if row["dataset"] == dataset and row["loss"] is not None]
        x, y = [row["step"] for row in rows], [row["loss"] for row in rows]
        name = f"held-out {escape_html(dataset)}"
        figure.add_scatter(
            x=x, y=y, name=name, mode="lines+markers", line={"color": colour, "width": 2}, marker={"size": 6}
        )
        if x:
            _label(figure, x[-1], y[-1], name, colour)
    figure.add_hline(y=uniform_loss, line={"color": "#888888", "width": 1, "dash": "dot"})
    figure.add_annotation(
        x=0, xref="paper", y=uniform_loss, yshift=10, text="pure guessing", showarrow=False, font={"color": "#888888"}
    )
    return figure


def line_chart(metrics: Sequence[Row], lines: Mapping[str, str], unit: str) -> go.Figure:
    """One line for each column of `lines` (column -> label), by step."""
    figure = _figure(unit)
    steps = _column(metrics, "step")
    for number, (column, label) in enumerate(lines.items()):
        values = _column(metrics, column)
        finite = np.isfinite(values)
        if not finite.any():
            continue
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        x, y = downsample(steps[finite], values[finite])
        figure.add_scatter(x=x, y=y, name=label, line={"color": colour, "width": 1.5})
        if len(lines) > 1:
            _label(figure, x[-1], y[-1], label, colour)
    figure.update_layout(height=240)
    return figure


def downsample(x: Floats, y: Floats, limit: int = MAX_POINTS) -> tuple[list[float], list[float]]:
    """At most `limit` of the points, chosen so that peaks and dips stay (MinMaxLTTB, arXiv 2305.00332)."""
    if len(x) <= limit:
        return x.tolist(), y.tolist()
    chosen = MinMaxLTTBDownsampler().downsample(
        np.ascontiguousarray(x), np.ascontiguousarray(y), n_out=limit, parallel=False
    )
    return x[chosen].tolist(), y[chosen].tolist()


def smoothed(values: Floats) -> Floats:
    """An exponential moving average over about SMOOTHING_SPAN of the values, unbiased at its start."""
    span = max(1.0, SMOOTHING_SPAN * len(values))
    keep = 1 - 1 / span
    result = np.empty_like(values)
    average = weight = 0.0
    for index, value in enumerate(values.tolist()):
        average = keep * average + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        result[index] = average / weight
    return result


def _figure(unit: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=CHART_HEIGHT,
        margin={"l": 56, "r": 130, "t": 16, "b": 44},
        font={"size": 14},
        showlegend=False,  # each line carries its name at its end
        hovermode="x unified",
        uirevision="keep",  # zoom stays as the person left it when new points come
        xaxis={"title": {"text": "step"}, "rangemode": "tozero", "showgrid": False, "tickformat": ",d"},
        yaxis={"title": {"text": unit}, "gridcolor": "rgba(128,128,128,0.18)", "zeroline": False},
    )
    return figure


def _label(figure: go.Figure, x: float, y: float, text: str, colour: str) -> None:
    figure.add_annotation(
        x=x, y=y, text=text, showarrow=False, xanchor="left", xshift=8, font={"color": colour, "size": 14}
    )


def _mark_missing(figure: go.Figure, steps: Floats, height: float) -> None:
    figure.add_scatter(
        x=steps.tolist(),
        y=[height] * len(steps),
        name="no number (NaN)",
        mode="markers",
        marker={"color": OKABE_ITO[5], "symbol": "x", "size": 10},
    )


def _column(rows: Sequence[Row], name: str) -> Floats:
    return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

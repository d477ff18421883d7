"""Charts, held against plotly's own schema by its Figure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from cognate_core.insight import charts, drawing
from cognate_core.insight.axis import Axis, By, axis_by
from cognate_core.insight.charts import Line, Losses, View
from cognate_core.insight.drawing import Curve
from cognate_core.insight.finding import Finding

GUESSING = math.log(400)


PLAIN, DARK, LOG = View(), View(dark=True), View(log_scale=True)


def metrics(losses: list[float | None]) -> list[dict[str, Any]]:
    return [
        {"step": step, "loss": loss, "learning_rate": 1e-3, "grad_norm": None, "filtered_grad_norm": 1.0}
        for step, loss in enumerate(losses, start=1)
    ]


def column(rows: list[dict[str, Any]], name: str) -> npt.NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)


def curve(rows: list[dict[str, Any]], name: str) -> Curve:
    known = np.isfinite(column(rows, name))
    return column(rows, "step")[known], column(rows, name)[known]


def losses_of(rows: list[dict[str, Any]]) -> Losses:
    losses = curve(rows, "loss")
    missing = column(rows, "step")[np.isnan(column(rows, "loss"))]
    return Losses(losses, losses, np.ones(len(losses[0])), missing)


def loss_chart(
    rows: list[dict[str, Any]],
    evaluations: list[dict[str, Any]],
    uniform_loss: float,
    total: int,
    view: View = PLAIN,
    **more: Any,
) -> go.Figure:
    axis = more.pop("axis", Axis(end=total))
    return go.Figure(charts.loss_chart(losses_of(rows), evaluations, uniform_loss, axis, view, **more))


def line_chart(
    rows: list[dict[str, Any]], lines: dict[str, str], unit: str, total: int, view: View = PLAIN, colour: int = 0
) -> go.Figure:
    named = {label: curve(rows, name) for name, label in lines.items()}
    return go.Figure(charts.line_chart(named, unit, Axis(end=total), view, colour))


def comparison_chart(lines: list[Line], view: View = PLAIN, **more: Any) -> go.Figure:
    return go.Figure(charts.comparison_chart(lines, "loss", view, **more))


def ponder_chart(histograms: list[dict[str, Any]], total: int) -> go.Figure:
    return go.Figure(charts.ponder_chart(histograms, Axis(end=total), View()))


def evaluation(dataset: str, loss: float | None, step: int = 5) -> dict[str, Any]:
    return {"step": step, "dataset": dataset, "loss": loss}


def trace(figure: go.Figure, words: str) -> Any:
    """The trace of this name, or else the one whose name has the words."""
    found = [each for each in figure.data if words in each.name]
    found = [each for each in found if each.name == words] or found
    assert len(found) == 1, [each.name for each in figure.data]
    return found[0]


def points(trace: Any) -> list[tuple[float, float | None]]:
    return list(zip(trace.x, trace.y, strict=True))


def texts(figure: go.Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def noise(seed: int, count: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=count)


def steps_of(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.arange(len(values), dtype=np.float64)


HOSTILE = '<b onclick="x">bold</b> & <a href="javascript:alert(1)">'


def label_share(figure: Any) -> float:
    """The height of a line of words, as a share of where curves are drawn."""
    margin = figure.layout.margin
    return drawing.FONT_SIZE * 1.2 / (figure.layout.height - margin.t - margin.b)


BY: tuple[By, ...] = ("step", "time", "tokens")


SPIKE = Finding("spike", 20, 40, "A jump", "Why.", "What to do.", {"learning_rate": 1e-4})


def square_axis(by: By) -> Axis:
    """Step n took n seconds and read 2 n tokens: n (n + 1) / 2 seconds and n (n + 1) tokens up to it."""
    steps = np.arange(1.0, 101.0)
    return axis_by(by, 100, (steps, steps * (steps + 1) / 2), (steps, steps * (steps + 1)), tokens_before=7.0)


def place(by: By, step: float) -> float:
    """Worked out by itself: whole steps only, in between a straight line."""
    below, share = int(step), step % 1

    def at(n: int) -> float:
        return {"step": n, "time": sum(range(n + 1)) / 60, "tokens": 7.0 + 2 * sum(range(n + 1))}[by]

    return (1 - share) * at(below) + share * at(below + 1)


def run_line(name: str, losses: list[float], colour: int = 0, axis: Axis | None = None) -> Line:
    return Line(name, colour, axis or Axis(end=len(losses)), curve(metrics([*losses]), "loss"))

"""Heat maps of the inside of a model."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
import pytest

from cognate_core.insight.axis import Axis, By
from cognate_core.insight.drawing import FONT_SIZE, MAX_POINTS
from cognate_core.insight.layer_charts import layer_chart, magnitudes_chart
from tests.insight.charts.figures import BY, HOSTILE, place, square_axis


def row(step: int, updates: list[float | None], gradients: list[float | None], sizes: list[int]) -> dict[str, Any]:
    """A check of a word table and two layers. sizes: of the weights of each layer, as powers of 2."""
    magnitudes = [[int(n == power + 20) for n in range(24)] for power in sizes]
    layers = ["embedding", "core 2", "halting"]
    figures = {"updates": updates, "gradients": gradients, "weights": [0.1] * 3, "magnitudes": magnitudes}
    return {"step": step, "layers": layers, **figures}


ROWS = [
    row(1, [0.01, 1e-3, 0.0], [2.0, 0.5, None], [-6, -6, 0]),
    row(50, [0.1, 1e-9, 3e-4], [20.0, 0.05, 0.0], [-6, -5, 0]),
]


def heat(figure: Literal["updates", "gradients"], rows: list[dict[str, Any]] = ROWS) -> Any:
    (trace,) = go.Figure(layer_chart(rows, figure, Axis(end=100))).data
    return trace


def test_a_row_is_a_layer_and_a_column_ends_at_its_check() -> None:
    trace = heat("updates")
    assert list(trace.y) == ["Word table (embedding)", "Layer 2 (core)", "When to stop (halting)"]
    assert list(trace.x) == [0, 1, 50]
    assert [list(each) for each in trace.z] == [[-2.0, -1.0], [-3.0, -9.0], [-5, pytest.approx(-3.52)]]
    assert [list(each) for each in trace.customdata] == [[0.01, 0.1], [1e-3, 1e-9], [0.0, 3e-4]]
    assert (trace.zmin, trace.zmax) == (-5, -1), "the same for all runs"
    assert list(trace.colorbar.ticktext) == ["0.00001", "0.001", "0.1"]
    assert trace.colorbar.tickfont.size == FONT_SIZE


def test_gradients_have_a_scale_of_their_own_and_what_is_no_number_no_colour() -> None:
    trace = heat("gradients")
    assert (trace.zmin, trace.zmax) == (-2, 2)
    assert [list(each) for each in trace.z][2] == [None, -2], "0 has the colour of the smallest"
    narrow = heat("gradients", [row(1, [0.1] * 3, [1.0, 1.1, 1.2], [0, 0, 0])])
    assert narrow.zmax - narrow.zmin >= 2


def test_weights_are_shown_by_size_from_the_smallest_to_the_largest_there_is() -> None:
    figure = go.Figure(magnitudes_chart(ROWS, Axis(end=100)))
    (trace,) = figure.data
    assert list(trace.y) == [2.0**power for power in range(-6, 2)]
    first, second, *_ = [list(each) for each in trace.z]
    assert first == pytest.approx([2 / 3, 1 / 3], abs=1e-4)
    assert second == [None, pytest.approx(1 / 3, abs=1e-4)]
    assert figure.layout.yaxis.type == "log"
    assert dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True)) == {0.1: "0.1", 1: "1"}


@pytest.mark.parametrize("by", BY)
def test_columns_stand_where_their_steps_are_on_the_axis(by: By) -> None:
    edges = [place(by, 0), place(by, 1), place(by, 50)]
    for figure in (layer_chart(ROWS, "updates", square_axis(by)), magnitudes_chart(ROWS, square_axis(by))):
        assert figure["data"][0]["x"] == pytest.approx(edges)
        json.dumps(figure, allow_nan=False)
        go.Figure(figure)


def test_many_checks_of_a_foreign_run_share_the_room_and_its_names_are_no_markup() -> None:
    rows = [ROWS[0] | {"step": step, "layers": [HOSTILE, "a", "b"]} for step in range(1, 3 * MAX_POINTS)]
    figure = layer_chart(rows, "updates", Axis(end=2000))
    (trace,) = figure["data"]
    assert len(trace["x"]) <= MAX_POINTS + 1 and trace["x"][-1] == rows[-1]["step"]
    assert np.shape(trace["z"]) == (3, len(trace["x"]) - 1)
    assert "<" not in trace["y"][0]

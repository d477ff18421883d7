"""Thinning out, smoothing, and what holds of all charts."""

from __future__ import annotations

import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cognate_core.insight import charts
from cognate_core.insight.axis import Axis, By, axis_by
from cognate_core.insight.charts import Line, View
from cognate_core.insight.drawing import downsample, smoothed
from tests.insight.charts.figures import (
    BY,
    DARK,
    GUESSING,
    LOG,
    PLAIN,
    SPIKE,
    comparison_chart,
    curve,
    evaluation,
    line_chart,
    loss_chart,
    losses_of,
    metrics,
    noise,
    run_line,
    square_axis,
    steps_of,
    texts,
)

SEEDS, COUNTS, LIMITS = st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(6, 50)


@settings(max_examples=200)
@given(seed=SEEDS, count=COUNTS, limit=LIMITS)
@example(seed=1, count=200, limit=20)
def test_downsampling_keeps_the_highest_and_the_lowest(seed: int, count: int, limit: int) -> None:
    values = noise(seed, count)
    x, y = downsample(steps_of(values), values, limit)
    assert len(x) == len(y) <= limit
    assert max(y) == values.max() and min(y) == values.min()


@pytest.mark.parametrize("place", [3, 40, 96])
def test_downsampling_keeps_a_peak_beside_a_dip(place: int) -> None:
    values = np.full(100, 5.0)
    values[place : place + 3] = [99.0, 5.0, -99.0]
    _, y = downsample(steps_of(values), values, limit=12)
    assert (max(y), min(y)) == (99.0, -99.0)


@settings(max_examples=100)
@given(seed=SEEDS, count=COUNTS, limit=LIMITS)
def test_downsampling_gives_points_of_the_curve_in_order_with_both_ends(seed: int, count: int, limit: int) -> None:
    values = noise(seed, count)
    x, y = downsample(steps_of(values), values, limit)
    assert x.tolist() == sorted(set(x.tolist()))
    assert y.tolist() == [values[int(step)] for step in x]
    assert (x[0], x[-1]) == (0.0, count - 1.0)


def test_short_curve_is_left_as_it_is() -> None:
    x, y = downsample(np.array([3.0, 4.0, 9.0]), np.array([1.0, 1.0, 2.0]), limit=3)
    assert (x.tolist(), y.tolist()) == ([3.0, 4.0, 9.0], [1.0, 1.0, 2.0])


SHARES = st.sampled_from([0.0, 0.02, 0.06, 0.15, 1.0])


@settings(max_examples=60)
@given(seed=SEEDS, count=COUNTS, share=SHARES)
def test_smoothing_is_a_mean_whose_weights_fade_into_the_past(seed: int, count: int, share: float) -> None:
    values = noise(seed, count)
    span = max(1.0, share * count)
    fade = 1 - 1 / span
    age = np.subtract.outer(np.arange(count), np.arange(count))  # how many steps ago, seen from each row
    weights = np.where(age >= 0, fade ** np.maximum(age, 0), 0.0)
    expected = weights @ values / weights.sum(axis=1)
    np.testing.assert_allclose(smoothed(values, np.ones(count), share), expected, rtol=1e-9, atol=1e-12)


@given(value=st.floats(-1e6, 1e6), count=st.integers(1, 300), share=SHARES)
def test_a_constant_stays_constant(value: float, count: int, share: float) -> None:
    np.testing.assert_allclose(smoothed(np.full(count, value), np.ones(count), share), value, rtol=1e-9, atol=1e-12)


def test_a_mean_over_many_steps_weighs_as_they_would() -> None:
    means, counts = np.array([5.0, 3.0, 4.0, 1.0]), np.array([100.0, 99.0, 100.0, 1.0])
    each = smoothed(np.repeat(means, counts.astype(int)), np.ones(300), 0.02)
    np.testing.assert_allclose(smoothed(means, counts, 0.02), each[counts.cumsum().astype(int) - 1], rtol=1e-9)


def test_smoothing_calms_noise_and_follows_the_trend() -> None:
    calm = smoothed(5.0 + noise(seed=0, count=2000), np.ones(2000), 0.02)
    assert calm[500:].std() < 0.3 and abs(calm[500:].mean() - 5.0) < 0.1


LINES = {"grad_norm": "before", "filtered_grad_norm": "after"}


def test_zoom_stays_when_new_points_come() -> None:
    kept = [loss_chart(metrics([5.0] * count), [], GUESSING, 9).layout.uirevision for count in (1, 9)]
    kept += [line_chart(metrics([5.0] * count), LINES, "norm", 9).layout.uirevision for count in (1, 9)]
    assert kept[0] is not None and kept[0] is not False
    assert kept[0] == kept[1] and kept[2] == kept[3] is not None


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_measured_yet_gives_an_empty_chart(dark: bool) -> None:
    view = View(dark=dark, log_scale=dark)
    assert len(loss_chart([], [], GUESSING, 100, view).data) == 0
    assert texts(loss_chart([], [], GUESSING, 100, view)) == ["pure guessing"]
    assert len(comparison_chart([], view).data) == 0 and texts(comparison_chart([], view)) == []
    nothing = Line("new", 0, Axis(), curve([], "loss"))
    assert not comparison_chart([nothing], view).data[0].x and texts(comparison_chart([nothing], view)) == []
    for lines in (LINES, {"learning_rate": "learning rate"}, {}):
        empty = line_chart([], lines, "norm", 100, view)
        assert len(empty.data) == 0 and texts(empty) == []


@pytest.mark.parametrize("value", [3e-4, 1.0, 1e9, 3e-4 * (1 + 1e-12), -2.0, 0.0])
def test_what_never_changes_stands_in_the_middle_of_an_axis_of_its_size(value: float) -> None:
    steps, values = np.arange(1.0, 51.0), np.full(50, value)
    values[::2] = 3e-4 if value == 3e-4 * (1 + 1e-12) else value
    for lines in ({"rate": (steps, values)}, {"before": (steps, values), "after": (steps, values)}):
        figure = go.Figure(charts.line_chart(lines, "", Axis(end=50), PLAIN))
        low, high = figure.layout.yaxis.range
        assert low <= value <= high
        assert high - low == pytest.approx(2 * abs(value) or 1.05)
        assert all(low <= note.y <= high for note in figure.layout.annotations)
    moves = go.Figure(charts.line_chart({"rate": (steps, np.maximum(values, 1) * steps)}, "", Axis(end=50), PLAIN))
    assert moves.layout.yaxis.range is None


def test_losses_that_reach_nothing_do_not_stretch_a_logarithmic_axis() -> None:
    losses: list[float | None] = [5 * math.exp(-step / 4) if step < 150 else 0.0 for step in range(200)]
    for figure in (
        loss_chart(metrics(losses), [evaluation("SVAMP", 0.0)], GUESSING, 200, LOG),
        comparison_chart([run_line("one", [5 * math.exp(-step / 4) for step in range(200)])], LOG),
    ):
        low, high = figure.layout.yaxis.range
        assert 0 < high - low < 10 and figure.layout.yaxis.dtick == 1
        assert all(low <= note.y <= high for note in figure.layout.annotations)


@pytest.mark.parametrize(("lowest", "ticks"), [(2.0, "D1"), (0.05, "D2"), (1e-4, 1)])
def test_numbers_on_a_logarithmic_axis_have_room(lowest: float, ticks: str | int) -> None:
    figure = loss_chart(metrics([6.0, lowest]), [], 6.0, 2, LOG)
    assert figure.layout.yaxis.dtick == ticks
    low, high = figure.layout.yaxis.range
    assert low < math.log10(lowest) and high > math.log10(6.0)


@pytest.mark.parametrize("by", BY)
def test_beside_the_pointer_stands_a_number_and_its_own_step(by: By) -> None:
    place = "%{x:,d}" if by == "step" else "%{customdata:,d}"
    axis = square_axis(by)
    figure = loss_chart(metrics([5.0] * 9), [evaluation("SVAMP", 4.0, 5)], GUESSING, 100, axis=axis)
    assert {each.hovertemplate for each in figure.data} == {f"%{{y:.4~g}} (step {place})"}
    speed = np.arange(1.0, 10.0), np.full(9, 12_345.6)
    fast = go.Figure(charts.line_chart({"speed": speed}, "tokens/s", axis, PLAIN))
    assert fast.data[0].hovertemplate == f"%{{y:,.0f}} (step {place})", "not 1.235e+4"
    assert fast.layout.yaxis.exponentformat == "power", "not 12k or 300μ"


def test_step_axis_reaches_from_the_start_to_the_last_step_of_the_run() -> None:
    assert tuple(loss_chart(metrics([5.0]), [], GUESSING, 123).layout.xaxis.range) == (0, 123)
    assert tuple(line_chart(metrics([5.0]), LINES, "norm", 123).layout.xaxis.range) == (0, 123)


def test_line_chart_leaves_out_what_was_not_measured() -> None:
    rows = metrics([5.0, 4.0, 3.0])
    rows[1]["filtered_grad_norm"] = None
    figure = line_chart(rows, LINES, "norm", 3)
    (line,) = figure.data
    assert (line.name, list(line.x), list(line.y)) == ("after", [1.0, 3.0], [1.0, 1.0])
    assert texts(figure) == ["after"]


def test_every_chart_becomes_json() -> None:
    rows = metrics([5.0, None, 3.0])
    losses = curve(rows, "loss")
    seconds = np.array([1.0, 2.0, 3.0]), np.array([0.5, np.nan, 900.0])
    for by in BY:
        axis = axis_by(by, 3, seconds, seconds)
        line = Line("a", 0, axis, losses)
        for figure in (
            charts.loss_chart(losses_of(rows), [evaluation("SVAMP", 4.0)], GUESSING, axis, LOG, 3, [SPIKE]),
            charts.line_chart({"before": curve(rows, "grad_norm"), "after": losses}, "norm", axis, View()),
            charts.comparison_chart([line, line], "loss", DARK, shade=True),
            charts.ponder_chart([{"step": 3, "counts": [0, 2]}, {"step": 4, "counts": [0, 0]}], axis, View()),
        ):
            json.dumps(figure, allow_nan=False)
            go.Figure(figure)

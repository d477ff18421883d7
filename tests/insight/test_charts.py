"""Charts: nothing that matters is lost, left unmarked or read as markup."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cognate_core.config import DATASETS
from cognate_core.insight import charts
from cognate_core.insight.charts import MAX_POINTS, SMOOTHING_SPAN, Curve, downsample, smoothed

GUESSING = math.log(400)


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


# The charts of step rows, held against plotly's own schema by its Figure


def loss_chart(
    rows: list[dict[str, Any]], evaluations: list[dict[str, Any]], uniform_loss: float, total: int, dark: bool = False
) -> go.Figure:
    losses = curve(rows, "loss")
    missing = column(rows, "step")[np.isnan(column(rows, "loss"))]
    counts = np.ones(len(losses[0]))
    figure = charts.loss_chart(losses, losses, counts, missing, evaluations, uniform_loss, total, dark=dark)
    return go.Figure(figure)


def line_chart(
    rows: list[dict[str, Any]], lines: dict[str, str], unit: str, total: int, dark: bool = False
) -> go.Figure:
    named = {label: curve(rows, name) for name, label in lines.items()}
    return go.Figure(charts.line_chart(named, unit, total, dark=dark))


def ponder_chart(histograms: list[dict[str, Any]], total: int) -> go.Figure:
    return go.Figure(charts.ponder_chart(histograms, total))


def evaluation(dataset: str, loss: float | None, step: int = 5) -> dict[str, Any]:
    return {"step": step, "dataset": dataset, "loss": loss}


def trace(figure: go.Figure, words: str) -> Any:
    found = [each for each in figure.data if words in each.name]
    assert len(found) == 1, [each.name for each in figure.data]
    return found[0]


def texts(figure: go.Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def noise(seed: int, count: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=count)


def steps_of(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.arange(len(values), dtype=np.float64)


# Thinning out

SEEDS, COUNTS, LIMITS = st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(6, 50)


@settings(deadline=None, max_examples=200)
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


@settings(deadline=None, max_examples=100)
@given(seed=SEEDS, count=COUNTS, limit=LIMITS)
def test_downsampling_gives_points_of_the_curve_in_order_with_both_ends(seed: int, count: int, limit: int) -> None:
    values = noise(seed, count)
    x, y = downsample(steps_of(values), values, limit)
    assert x == sorted(set(x))
    assert y == [values[int(step)] for step in x]
    assert (x[0], x[-1]) == (0.0, count - 1.0)


def test_short_curve_is_left_as_it_is() -> None:
    x, y = downsample(np.array([3.0, 4.0, 9.0]), np.array([1.0, 1.0, 2.0]), limit=3)
    assert (x, y) == ([3.0, 4.0, 9.0], [1.0, 1.0, 2.0])


# Smoothing


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, count=COUNTS)
def test_smoothing_is_a_mean_whose_weights_fade_into_the_past(seed: int, count: int) -> None:
    values = noise(seed, count)
    span = max(1.0, SMOOTHING_SPAN * count)
    fade = 1 - 1 / span
    age = np.subtract.outer(np.arange(count), np.arange(count))  # how many steps ago, seen from each row
    weights = np.where(age >= 0, fade ** np.maximum(age, 0), 0.0)
    expected = weights @ values / weights.sum(axis=1)
    np.testing.assert_allclose(smoothed(values, np.ones(count)), expected, rtol=1e-9, atol=1e-12)


@given(value=st.floats(-1e6, 1e6), count=st.integers(1, 300))
def test_a_constant_stays_constant(value: float, count: int) -> None:
    np.testing.assert_allclose(smoothed(np.full(count, value), np.ones(count)), value, rtol=1e-9, atol=1e-12)


def test_a_mean_over_many_steps_weighs_as_they_would() -> None:
    means, counts = np.array([5.0, 3.0, 4.0, 1.0]), np.array([100.0, 99.0, 100.0, 1.0])
    each = smoothed(np.repeat(means, counts.astype(int)), np.ones(300))
    np.testing.assert_allclose(smoothed(means, counts), each[counts.cumsum().astype(int) - 1], rtol=1e-9)


def test_smoothing_calms_noise_and_follows_the_trend() -> None:
    calm = smoothed(5.0 + noise(seed=0, count=2000), np.ones(2000))
    assert calm[500:].std() < 0.3 and abs(calm[500:].mean() - 5.0) < 0.1


# The loss chart


def test_training_loss_is_drawn_at_its_steps() -> None:
    drawn = trace(loss_chart(metrics([5.0, 4.0, 3.5]), [], GUESSING, 10), "each step")
    assert (list(drawn.x), list(drawn.y)) == ([1.0, 2.0, 3.0], [5.0, 4.0, 3.5])


def test_losses_that_are_no_number_are_marked_where_they_stand() -> None:
    figure = loss_chart(metrics([5.0, None, 3.0, None]), [], GUESSING, 4)
    marked = trace(figure, "NaN")
    assert list(marked.x) == [2.0, 4.0] and marked.mode == "markers"
    assert all(math.isfinite(height) for height in marked.y)
    assert list(trace(figure, "each step").x) == [1.0, 3.0]


def test_run_of_nothing_but_nan_is_marked_too() -> None:
    figure = loss_chart(metrics([None, None]), [], GUESSING, 2)
    assert list(trace(figure, "NaN").x) == [1.0, 2.0]
    assert len(figure.data) == 1


def test_of_many_losses_that_are_no_number_some_are_marked() -> None:
    marked = trace(loss_chart(metrics([None] * (3 * MAX_POINTS)), [], GUESSING, 3), "NaN")
    assert 0 < len(marked.x) <= MAX_POINTS and marked.x[0] == 1.0


def test_many_checks_are_thinned_out_and_the_worst_one_stays() -> None:
    evaluations = [evaluation("SVAMP", 4.0, step) for step in range(5000)]
    evaluations[3210]["loss"] = 42.0
    drawn = trace(loss_chart([], evaluations, GUESSING, 5000), "SVAMP")
    assert len(drawn.x) <= MAX_POINTS and drawn.mode == "lines"
    assert (max(drawn.y), drawn.x[int(np.argmax(drawn.y))]) == (42.0, 3210.0)


def test_healthy_run_has_no_nan_mark() -> None:
    assert not [each for each in loss_chart(metrics([5.0, 4.0]), [], GUESSING, 2).data if "NaN" in each.name]


@pytest.mark.parametrize("dark", [False, True])
def test_each_dataset_has_its_own_line_in_a_colour_of_its_own(dark: bool) -> None:
    evaluations = [evaluation(name, 4.0 + n, step) for step in (0, 5) for n, name in enumerate(DATASETS)]
    figure = loss_chart(metrics([5.0, None]), evaluations, GUESSING, 5, dark=dark)
    lines = [trace(figure, name) for name in DATASETS]
    assert [list(line.y) for line in lines] == [[4.0 + n] * 2 for n in range(len(DATASETS))]
    colours = [line.line.color for line in lines]
    colours += [trace(figure, "each step").line.color, trace(figure, "NaN").marker.color]
    assert len(set(colours)) == len(colours)


def test_held_out_loss_that_was_not_measured_is_left_out() -> None:
    figure = loss_chart([], [evaluation("SVAMP", 4.0, 0), evaluation("SVAMP", None, 5)], GUESSING, 5)
    assert list(trace(figure, "SVAMP").x) == [0]


def test_guessing_is_drawn_as_a_line() -> None:
    (line,) = loss_chart(metrics([5.0]), [], GUESSING, 5).layout.shapes
    assert line.y0 == line.y1 == GUESSING


HOSTILE = '<b onclick="x">bold</b> & <a href="javascript:alert(1)">'


def test_dataset_names_are_never_read_as_markup() -> None:
    figure = loss_chart(metrics([5.0]), [evaluation(HOSTILE, 4.0)], GUESSING, 5)
    written = [each.name for each in figure.data] + texts(figure)
    assert len([text for text in written if "bold" in text]) == 2, "the line's name and its label"
    for text in written:
        assert "<" not in text and ">" not in text
    assert any("&lt;b onclick" in text and "&amp; " in text for text in written)


def test_labels_do_not_cover_each_other() -> None:
    evaluations = [evaluation(name, 5.0) for name in DATASETS]
    figure = loss_chart(metrics([9.0, 5.0]), evaluations, 5.0, 5)
    heights = sorted(annotation.y for annotation in figure.layout.annotations)
    assert len(heights) == len(DATASETS) + 2
    gaps = np.diff(heights)
    assert gaps.min() >= 0.99 * charts.LABEL_GAP * (9.0 - 5.0)


def test_long_run_is_thinned_out_and_its_worst_step_stays() -> None:
    losses: list[float | None] = np.linspace(8, 2, 5000).tolist()
    losses[3210] = 42.0
    drawn = trace(loss_chart(metrics(losses), [], GUESSING, 5000), "each step")
    assert len(drawn.x) <= MAX_POINTS
    assert (max(drawn.y), drawn.x[int(np.argmax(drawn.y))]) == (42.0, 3211.0)


# Ponder steps


def test_a_column_shows_the_shares_since_the_check_before() -> None:
    rows = [{"step": 10, "counts": [0, 3, 1]}, {"step": 30, "counts": [0, 0, 4, 12]}]
    (heat,) = ponder_chart(rows, 30).data
    assert list(heat.x) == [0, 10, 30]
    assert list(heat.y) == [0.5, 1.5, 2.5, 3.5], "a row is as high as one step and stands around its number"
    assert [list(row) for row in heat.z] == [[0.75, 0.0], [0.25, 0.25], [0.0, 0.75]]
    assert (heat.zmin, heat.zmax) == (0, 1)


def test_many_checks_share_columns_and_no_token_is_lost() -> None:
    rows = [{"step": 10 * (n + 1), "counts": [0, 1, n % 2]} for n in range(2 * MAX_POINTS + 1)]
    (heat,) = ponder_chart(rows, rows[-1]["step"]).data
    assert len(heat.z[0]) == len(heat.x) - 1 <= MAX_POINTS
    assert (heat.x[0], heat.x[-1]) == (0, rows[-1]["step"])
    assert all(sum(column) == pytest.approx(1) for column in zip(*heat.z, strict=True))


def test_the_axis_of_steps_has_room_for_its_numbers() -> None:
    for longest, ticks in ((3, 1), (17, 3), (65, 9)):
        counts = [0] * (longest - 1) + [5]
        assert ponder_chart([{"step": 5, "counts": counts}], 30).layout.yaxis.dtick == ticks


def test_nothing_pondered_gives_an_empty_chart() -> None:
    assert len(ponder_chart([], 30).data) == 0
    (heat,) = ponder_chart([{"step": 5, "counts": [0, 0]}], 30).data
    assert [list(row) for row in heat.z] == [[0.0]]


# All charts

LINES = {"grad_norm": "before", "filtered_grad_norm": "after"}


def test_zoom_stays_when_new_points_come() -> None:
    kept = [loss_chart(metrics([5.0] * count), [], GUESSING, 9).layout.uirevision for count in (1, 9)]
    kept += [line_chart(metrics([5.0] * count), LINES, "norm", 9).layout.uirevision for count in (1, 9)]
    assert kept[0] is not None and kept[0] is not False
    assert kept[0] == kept[1] and kept[2] == kept[3] is not None


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_measured_yet_gives_an_empty_chart(dark: bool) -> None:
    assert len(loss_chart([], [], GUESSING, 100, dark=dark).data) == 0
    assert texts(loss_chart([], [], GUESSING, 100)) == ["pure guessing"]
    for lines in (LINES, {"learning_rate": "learning rate"}, {}):
        empty = line_chart([], lines, "norm", 100, dark=dark)
        assert len(empty.data) == 0 and texts(empty) == []


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
    missing = np.array([2.0])
    for figure in (
        charts.loss_chart(losses, losses, np.ones(2), missing, [evaluation("SVAMP", 4.0)], GUESSING, 3),
        charts.line_chart({"before": curve(rows, "grad_norm"), "after": losses}, "norm", 3),
        charts.ponder_chart([{"step": 3, "counts": [0, 2]}, {"step": 4, "counts": [0, 0]}], 4),
    ):
        json.dumps(figure, allow_nan=False)

"""Charts: nothing that matters is lost, left unmarked or read as markup."""

from __future__ import annotations

import json
import math
from html import unescape
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cognate_core.config import DATASETS
from cognate_core.insight import charts, drawing
from cognate_core.insight.axis import Axis, By, axis_by
from cognate_core.insight.charts import Line, Losses, View
from cognate_core.insight.drawing import MAX_POINTS, Curve, downsample, smoothed
from cognate_core.insight.finding import Finding
from cognate_core.insight.palette import ALARM, run_colour, run_dash, run_word_colour

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


# The charts of step rows, held against plotly's own schema by its Figure


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
    assert x.tolist() == sorted(set(x.tolist()))
    assert y.tolist() == [values[int(step)] for step in x]
    assert (x[0], x[-1]) == (0.0, count - 1.0)


def test_short_curve_is_left_as_it_is() -> None:
    x, y = downsample(np.array([3.0, 4.0, 9.0]), np.array([1.0, 1.0, 2.0]), limit=3)
    assert (x.tolist(), y.tolist()) == ([3.0, 4.0, 9.0], [1.0, 1.0, 2.0])


# Smoothing

SHARES = st.sampled_from([0.0, 0.02, 0.06, 0.15, 1.0])


@settings(deadline=None, max_examples=60)
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


# The loss chart


def test_training_loss_is_drawn_at_its_steps() -> None:
    drawn = trace(loss_chart(metrics([5.0, 4.0, 3.5]), [], GUESSING, 10), "each step")
    assert (list(drawn.x), list(drawn.y)) == ([1.0, 2.0, 3.0], [5.0, 4.0, 3.5])


def test_losses_that_are_no_number_are_marked_where_they_stand() -> None:
    figure = loss_chart(metrics([5.0, None, 3.0, None]), [], GUESSING, 4)
    marked = trace(figure, "NaN")
    assert list(marked.x) == [2.0, 4.0] and marked.mode == "markers"
    assert all(math.isfinite(height) for height in marked.y)
    assert points(trace(figure, "each step")) == [(1.0, 5.0), (2.0, None), (3.0, 3.0)], "no line leads over it"
    assert marked.hovertemplate == "step %{x:,d}", "its height is no figure"


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
def test_each_dataset_has_its_own_line_with_looks_of_its_own(dark: bool) -> None:
    evaluations = [evaluation(name, 4.0 + n, step) for step in (0, 5) for n, name in enumerate(DATASETS)]
    figure = loss_chart(metrics([5.0, None]), evaluations, GUESSING, 5, View(dark=dark), colour=1)
    lines = [trace(figure, name) for name in DATASETS]
    assert [list(line.y) for line in lines] == [[4.0 + n] * 2 for n in range(len(DATASETS))]
    assert len({(line.line.dash, line.marker.symbol) for line in lines}) == len(lines)
    colours = {line.line.color for line in lines}
    assert len(colours) == 1, "datasets are told apart by dashes and marks; a colour stands for a run"
    assert trace(figure, "each step").line.color == run_colour(1, dark=dark) not in colours
    assert trace(figure, "NaN").marker.color == ALARM not in colours


def test_held_out_loss_that_is_no_number_is_marked_and_breaks_its_line() -> None:
    checks = [evaluation("SVAMP", loss, step) for step, loss in ((0, 4.0), (5, None), (10, 3.0))]
    figure = loss_chart([], [*checks, evaluation("GSM8K", 4.0), evaluation("HotpotQA", None)], GUESSING, 10)
    assert points(trace(figure, "unseen SVAMP")) == [(0, 4.0), (5, None), (10, 3.0)]
    assert points(trace(figure, "SVAMP, no number (NaN)")) == [(5, 4.0)]
    assert points(trace(figure, "HotpotQA, no number (NaN)")) == [(5, GUESSING)], "of nothing but NaN, too"
    assert not [each for each in figure.data if "GSM8K, no" in each.name]


def test_guessing_is_drawn_as_a_line() -> None:
    (line,) = loss_chart(metrics([5.0]), [], GUESSING, 5).layout.shapes
    assert line.y0 == line.y1 == GUESSING


HOSTILE = '<b onclick="x">bold</b> & <a href="javascript:alert(1)">'


def label_share(figure: Any) -> float:
    """The height of a line of words, as a share of where curves are drawn."""
    margin = figure.layout.margin
    return drawing.FONT_SIZE * 1.2 / (figure.layout.height - margin.t - margin.b)


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
    assert gaps.min() >= 0.99 * label_share(figure) * (9.0 - 5.0)


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
    rows: list[dict[str, Any]] = [{"step": 10 * (n + 1), "counts": [0, 1, n % 2]} for n in range(2 * MAX_POINTS + 1)]
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


# What the detectors say

BY: tuple[By, ...] = ("step", "time", "tokens")
SPIKE = Finding("spike", 20, 40, "A jump", "Why.", "What to do.", {"learning_rate": 1e-4})
GROKKING = Finding("grokking", 60, 60, "It grasps", "Why.", "", {})


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


@pytest.mark.parametrize("by", BY)
def test_a_finding_is_a_band_with_its_title_above_its_middle(by: By) -> None:
    axis = square_axis(by)
    figure = loss_chart(metrics([5.0] * 100), [], GUESSING, 100, axis=axis, findings=[SPIKE, GROKKING])
    bands = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert [(band.x0, band.x1) for band in bands] == [
        (pytest.approx(place(by, 20)), pytest.approx(place(by, 40))),
        (pytest.approx(place(by, 60)), pytest.approx(place(by, 61))),
    ], "that of a single step can be seen, too"
    assert {(band.y0, band.y1, band.yref) for band in bands} == {(0, 1, "paper")}
    captions = {note.text: note for note in figure.layout.annotations}
    for finding, middle in ((SPIKE, 30), (GROKKING, 60)):
        caption = captions[finding.title]
        assert caption.x == pytest.approx(place(by, middle)), "on the data, not the paper"
        assert (caption.xref, caption.y, caption.yref) == (None, 1, "paper")
    assert figure.layout.margin.t > loss_chart([], [], GUESSING, 9).layout.margin.t, "there is room for them"
    assert bands[0].fillcolor != bands[1].fillcolor, "what is good news has another colour"


def test_without_findings_there_is_no_band() -> None:
    assert [shape.type for shape in loss_chart(metrics([5.0]), [], GUESSING, 9).layout.shapes] == ["line"]


# The other looks


def test_a_logarithmic_chart_has_its_words_where_its_lines_end() -> None:
    """Plotly takes the height of words on a logarithmic axis as the power of ten, that of shapes as it is."""
    evaluations = [evaluation("SVAMP", 0.01)]
    figure = loss_chart(metrics([5.0, 1.0]), evaluations, 100.0, 5, LOG)
    assert figure.layout.yaxis.type == "log"
    heights = {note.text: note.y for note in figure.layout.annotations}
    smooth = next(each for each in figure.data if each.name == "training")
    ends = {"pure guessing": 100.0, "training": smooth.y[-1], "unseen SVAMP": 0.01}
    assert heights == {text: pytest.approx(math.log10(end)) for text, end in ends.items()}
    (guessing,) = figure.layout.shapes
    assert guessing.y0 == 100.0
    assert loss_chart(metrics([5.0]), [], 100.0, 5).layout.yaxis.type is None


def test_labels_do_not_cover_each_other_on_a_logarithmic_axis_either() -> None:
    evaluations = [evaluation(name, 1.0 + n / 1000) for n, name in enumerate(DATASETS)]
    figure = loss_chart(metrics([10.0, 1.0]), evaluations, 1.0, 5, LOG)
    heights = sorted(note.y for note in figure.layout.annotations)
    assert len(heights) == len(DATASETS) + 2
    assert np.diff(heights).min() >= 0.99 * label_share(figure) * math.log10(10.0 / 1.0)


def test_a_loss_of_nothing_can_be_drawn_logarithmically() -> None:
    figure = loss_chart(metrics([5.0, 0.0]), [], GUESSING, 5, LOG)
    assert all(math.isfinite(note.y) for note in figure.layout.annotations)


def test_without_smoothing_the_steps_themselves_are_the_line() -> None:
    figure = loss_chart(metrics([5.0, 4.0]), [], GUESSING, 5, View(smoothing=0))
    (drawn,) = figure.data
    assert (drawn.opacity, list(drawn.y)) == (1, [5.0, 4.0])
    assert [note.text for note in figure.layout.annotations if note.y == 4.0] == ["training"]
    faint, line = loss_chart(metrics([5.0, 4.0]), [], GUESSING, 5, View(smoothing=0.5)).data
    assert faint.opacity < 0.5 and line.opacity is None


def test_the_run_keeps_its_colour_in_all_of_its_charts() -> None:
    for number in (0, 3, 7):
        hue = run_colour(number, dark=True)
        loss = loss_chart(metrics([5.0]), [], GUESSING, 5, DARK, colour=number)
        rate = line_chart(metrics([5.0]), {"learning_rate": "learning rate"}, "", 5, DARK, number)
        lines = line_chart(metrics([5.0]), {"learning_rate": "before", "loss": "after"}, "", 5, DARK, number)
        (compared,) = comparison_chart([Line("a", number, Axis(), curve(metrics([5.0]), "loss"))], DARK).data
        assert {each.line.color for each in (*loss.data, *rate.data, lines.data[-1], compared)} == {hue}
        assert lines.data[0].line.color != hue and lines.data[0].line.dash != lines.data[1].line.dash


@pytest.mark.parametrize("by", BY)
def test_every_line_knows_the_step_that_a_click_is_about(by: By) -> None:
    rows = metrics([None, *np.linspace(8, 2, 99).tolist()])
    axis = square_axis(by)
    figures = [loss_chart(rows, [evaluation("SVAMP", 4.0, 50)], GUESSING, 100, axis=axis)]
    figures.append(comparison_chart([Line("a", 0, axis, curve(rows, "loss"))]))
    for drawn in (each for figure in figures for each in figure.data):
        steps = drawn.x if by == "step" else drawn.customdata
        assert [place(by, step) for step in steps] == pytest.approx(list(drawn.x))
        assert set(steps) <= set(range(1, 101))
        assert by == "step" or "step" in drawn.hovertemplate


# Several runs


def run_line(name: str, losses: list[float], colour: int = 0, axis: Axis | None = None) -> Line:
    return Line(name, colour, axis or Axis(end=len(losses)), curve(metrics([*losses]), "loss"))


def test_each_run_has_its_line_its_colour_and_its_name() -> None:
    lines = [run_line("one", [5.0, 4.0], 0), run_line("two", [5.0, 3.0, 1.0], 7)]
    figure = comparison_chart(lines)
    assert [(each.name, list(each.y)) for each in figure.data] == [("one", [5.0, 4.0]), ("two", [5.0, 3.0, 1.0])]
    assert [(each.line.color, each.line.dash) for each in figure.data] == [
        (run_colour(0, dark=False), None),
        (run_colour(7, dark=False), run_dash(7)),
    ]
    assert {note.text: note.font.color for note in figure.layout.annotations} == {
        "one": run_word_colour(0, dark=False),
        "two": run_word_colour(7, dark=False),
    }
    assert tuple(figure.layout.xaxis.range) == (0, 3), "that of the longest"
    assert not any(each.fill for each in figure.data)


def test_the_gap_between_twins_is_filled_once_both_have_a_line() -> None:
    first, second, third = (run_line(name, [5.0, loss]) for name, loss in (("a", 4.0), ("b", 3.0), ("c", 2.0)))
    assert [each.fill for each in comparison_chart([first, second], shade=True).data] == [None, "tonexty"]
    assert [each.fill for each in comparison_chart([first, second, third], shade=True).data].count("tonexty") == 1
    nothing = run_line("new", [])
    for lines in ([first, nothing], [nothing, first], [nothing, nothing]):
        assert not any(each.fill and each.x for each in comparison_chart(lines, shade=True).data)


def test_a_run_without_points_keeps_its_place_among_the_lines() -> None:
    """What was clicked is told by the line's number."""
    figure = comparison_chart([run_line("new", []), run_line("old", [5.0])])
    assert [each.name for each in figure.data] == ["new", "old"]
    assert texts(figure) == ["old"]


def test_a_run_without_points_does_not_turn_time_into_steps() -> None:
    steps, seconds = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    timed = axis_by("time", 2, (steps, seconds), (steps, seconds))
    for lines in permutations([run_line("old", [5.0, 4.0], axis=timed), run_line("new", [], axis=Axis(end=9000))]):
        layout = comparison_chart(list(lines)).layout
        assert (layout.xaxis.title.text, tuple(layout.xaxis.range)) == ("training time (s)", (0, 20))


def test_names_of_runs_are_never_read_as_markup_and_fit_the_margin() -> None:
    endings = ["with GrokFast", "without it"]
    long = [f"{'A very long name of a run, ' * 9}{ending}" for ending in endings]
    figure = comparison_chart([run_line(name, [5.0]) for name in (HOSTILE, *long, "x" * drawing.LABEL_LENGTH)])
    written = [each.name for each in figure.data] + texts(figure)
    assert not [text for text in written if "<" in text or ">" in text]
    assert "&lt;b onclick" in figure.data[0].name
    shown = texts(figure)
    assert all(len(unescape(text)) <= drawing.LABEL_LENGTH for text in shown)
    assert len(set(shown)) == 4, "the ends tell the long ones apart"
    assert "x" * drawing.LABEL_LENGTH in shown


@pytest.mark.parametrize("ends", [("{} and an end that all of them have", "the middle"), ("{}", "the end")])
def test_names_that_begin_alike_stay_apart_beside_the_lines_and_the_pointer(ends: tuple[str, str]) -> None:
    names = [ends[0].format(f"A sweep of learning rates and layers, learning rate {n}e-4") for n in range(12)]
    figure = comparison_chart([run_line(name, [5.0, 4.0 + n]) for n, name in enumerate(names)])
    assert len(set(texts(figure))) == len({each.name for each in figure.data}) == 12, ends[1]
    assert all(len(unescape(text)) <= drawing.LABEL_LENGTH for text in texts(figure))
    assert figure.layout.hoverlabel.namelength == -1, "else Plotly cuts them after 15 letters"


@settings(deadline=None)
@given(names=st.lists(st.text("ab, ", min_size=1, max_size=80), min_size=1, max_size=6))
def test_other_names_have_other_words(names: list[str]) -> None:
    figure = comparison_chart([run_line(name, [5.0]) for name in names])
    assert all(len(each.name) <= drawing.LABEL_LENGTH for each in figure.data)
    if len(set(names)) <= 2:  # of more, each may be unlike another one in another place
        assert len({each.name for each in figure.data}) == len(set(names))


def test_one_check_of_each_run_can_be_seen() -> None:
    dots = comparison_chart([run_line("one", [5.0], 0), run_line("two", [4.0], 1), run_line("three", [4.0, 3.0], 2)])
    assert [each.mode for each in dots.data] == ["lines+markers", "lines+markers", "lines"]
    assert [list(each.marker.size) for each in dots.data[:2]] == [[6], [6]]


def test_what_is_no_number_is_marked_in_a_comparison_behind_all_lines() -> None:
    missing = np.array([2.0, 4.0])
    broken = Line("one", 0, Axis(end=5), (np.array([1.0, 3.0, 5.0]), np.array([5.0, 4.0, 3.0])), missing)
    figure = comparison_chart([broken, run_line("two", [4.0, 3.0], 1)], marked=True)
    assert [each.name for each in figure.data[:2]] == ["one", "two"], "a click tells the run by its line's number"
    assert points(figure.data[0]) == [(1, 5.0), (2, None), (3, 4.0), (4, None), (5, 3.0)]
    assert list(figure.data[0].marker.size) == [6, 0, 6, 0, 6], "what stands alone between two of them can be seen"
    (marked,) = figure.data[2:]
    assert (list(marked.x), marked.hoverinfo) == ([2.0, 4.0], "skip")


@pytest.mark.parametrize("log_scale", [False, True])
def test_names_of_twelve_runs_do_not_cover_each_other(log_scale: bool) -> None:
    lines = [run_line(f"run {n}", [8.0, 2.0 + n / 1000], n) for n in range(12)]
    figure = comparison_chart(lines, View(log_scale=log_scale))
    heights = sorted(note.y for note in figure.layout.annotations)
    whole = math.log10(8.0 / 2.0) if log_scale else 6.0
    assert len(heights) == 12 and np.diff(heights).min() >= 0.99 * label_share(figure) * whole
    assert len({(each.line.color, each.line.dash) for each in figure.data}) == 12


# All charts

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

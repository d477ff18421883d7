"""The loss, ponder steps, and what the detectors say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cognate_core.config import DATASETS
from cognate_core.insight.axis import By
from cognate_core.insight.charts import View
from cognate_core.insight.drawing import MAX_POINTS
from cognate_core.insight.finding import Finding
from cognate_core.insight.palette import ALARM, run_colour
from tests.insight.charts.figures import (
    BY,
    GUESSING,
    HOSTILE,
    SPIKE,
    evaluation,
    label_share,
    loss_chart,
    metrics,
    place,
    points,
    ponder_chart,
    square_axis,
    texts,
    trace,
)


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
    assert points(trace(figure, "SVAMP, not a number (NaN)")) == [(5, 4.0)]
    assert points(trace(figure, "HotpotQA, not a number (NaN)")) == [(5, GUESSING)], "of nothing but NaN, too"
    assert not [each for each in figure.data if "GSM8K, no" in each.name]


def test_guessing_is_drawn_as_a_line() -> None:
    (line,) = loss_chart(metrics([5.0]), [], GUESSING, 5).layout.shapes
    assert line.y0 == line.y1 == GUESSING


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


GROKKING = Finding("grokking", 60, 60, "It grasps", "Why.", "", {})


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

"""Logarithmic, unsmoothed, by time or tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cognate_core.config import DATASETS
from cognate_core.insight.axis import Axis, By
from cognate_core.insight.charts import Line, View
from cognate_core.insight.palette import run_colour
from tests.insight.charts.figures import (
    BY,
    DARK,
    GUESSING,
    LOG,
    comparison_chart,
    curve,
    evaluation,
    label_share,
    line_chart,
    loss_chart,
    metrics,
    place,
    square_axis,
)


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

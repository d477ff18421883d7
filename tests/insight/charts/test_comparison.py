"""Several runs in one chart."""

from __future__ import annotations

import math
from html import unescape
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core.insight import drawing
from cognate_core.insight.axis import Axis, axis_by
from cognate_core.insight.charts import Line, View
from cognate_core.insight.palette import run_colour, run_dash, run_word_colour
from tests.insight.charts.figures import HOSTILE, comparison_chart, label_share, points, run_line, texts


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

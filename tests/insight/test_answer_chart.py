from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from cognate_core.contracts.answers import Score, StepScores, wilson_interval
from cognate_core.insight.answer_chart import answer_chart, answers_by_step_chart
from cognate_core.insight.drawing import FONT_SIZE
from cognate_core.insight.palette import OKABE_ITO, run_colour

SCORES = [Score("GSM8K", 50, 3, "4", 1), Score("<b>own</b>", 20, 0, "<i>" + "x" * 60, 12)]


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in figure["data"] if each["name"] == name)


def test_each_dataset_has_a_dot_with_its_interval_beside_the_mark_of_the_commonest_answer() -> None:
    figure = answer_chart(SCORES)
    model, baseline = trace(figure, "this model"), trace(figure, "always the commonest answer")
    assert (model["x"], baseline["x"]) == ([0.06, 0.0], [0.02, 0.6])
    assert model["y"] == baseline["y"] == ["GSM8K", "&lt;b&gt;own&lt;/b&gt;"]
    for number, score in enumerate(SCORES):
        low, high = wilson_interval(score.right, score.asked)
        assert model["x"][number] + model["error_x"]["array"][number] == pytest.approx(high)
        assert model["x"][number] - model["error_x"]["arrayminus"][number] == pytest.approx(low)
    assert "3 of 50 right" in model["customdata"][0]
    assert baseline["customdata"][1].startswith("&lt;i&gt;x") and len(baseline["customdata"][1]) < 40
    low, high = figure["layout"]["xaxis"]["range"]
    assert low == 0 and 0.6 < high <= 1.02, "both marks and intervals are within the axis"
    json.dumps(figure, allow_nan=False)


def test_a_share_of_nothing_does_not_look_like_much() -> None:
    figure = answer_chart([Score("GSM8K", 1000, 1, "4", 0)])
    assert figure["layout"]["xaxis"]["range"] == [0, 0.1]


def test_what_was_asked_by_step_is_a_line_for_each_dataset_and_a_dotted_one_for_its_baseline() -> None:
    steps = [StepScores(step, [Score("A", 10, step, "4", 2), Score("B", 10, 1, "no", 3)]) for step in (2, 4, 8)]
    steps[1] = StepScores(4, steps[1].scores[:1])
    figure = answers_by_step_chart(steps)
    a, b = trace(figure, "A"), trace(figure, "B")
    assert (a["x"], a["y"]) == ([2, 4, 8], [0.2, 0.4, 0.8])
    assert (b["x"], b["y"]) == ([2, 8], [0.1, 0.1])
    dotted = trace(figure, "A, always the commonest answer")
    assert (dotted["y"], dotted["line"]["dash"]) == ([0.2, 0.2, 0.2], "dot")
    assert dotted["line"]["color"] == a["line"]["color"] == OKABE_ITO[0] != b["line"]["color"]
    texts = {each["text"]: each for each in figure["layout"]["annotations"]}
    assert set(texts) == {"A", "B"}
    assert all(each["font"]["size"] >= FONT_SIZE for each in texts.values())
    json.dumps(figure, allow_nan=False)


def test_names_at_one_height_are_pushed_apart() -> None:
    steps = [StepScores(step, [Score(name, 10, 5, "4", 2) for name in "ABC"]) for step in (1, 2)]
    heights = sorted(each["y"] for each in answers_by_step_chart(steps)["layout"]["annotations"])
    top = answers_by_step_chart(steps)["layout"]["yaxis"]["range"][1]
    assert all(b - a >= 0.069 * top for a, b in itertools.pairwise(heights))


def test_on_a_dark_ground_the_first_blue_is_brighter() -> None:
    assert trace(answer_chart(SCORES, dark=True), "this model")["marker"]["color"] == run_colour(0, dark=True)
    steps = [StepScores(1, SCORES[:1])]
    assert trace(answers_by_step_chart(steps, dark=True), "GSM8K")["line"]["color"] == run_colour(0, dark=True)

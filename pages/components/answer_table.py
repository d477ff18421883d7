"""A Grokking lab model on Models: ask it one problem, and see its whole answer table, at any kept checkpoint."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cognate_core.errors import CognateError
from cognate_core.insight.charts import View, table_chart
from cognate_core.insight.inside_charts import circle_chart
from cognate_core.runs import RunManager
from cognate_core.storage.rows import TrainedModel
from pages.components.config_form import SIGNS
from pages.components.layout import show_refusal
from pages.components.live_charts import Still, still_charts
from pages.components.text_playground import choose_step


def calculator(manager: RunManager, model: TrainedModel) -> None:
    """Choose two numbers, read the model's answer, and see all its answers as a picture."""
    st.subheader("Try it", anchor=False)
    step = choose_step(manager, model, "left")
    try:
        from cognate_core.inference.calculator import opened

        folder, weights_sha256 = manager.weights(model.id)
        with st.spinner("Opening the model"):
            open_model = opened(folder, weights_sha256, step)
    except CognateError as error:
        show_refusal(error)
        return
    one_problem(open_model)
    answers, numbers = st.columns([5, 4])
    with answers:
        whole_table(open_model)
    with numbers:
        numbers_in_a_circle(open_model)


def one_problem(opened: Any) -> None:
    """Two numbers and the model's answer."""
    problems, largest = opened.problems, opened.problems.modulus - 1
    left_place, right_place, answer_place = st.columns([1, 1, 3], vertical_alignment="bottom")
    left = left_place.number_input("x", 0, largest, min(12, largest))
    right = right_place.number_input("y", int(problems.right[0]), largest, min(34, largest))
    found = opened.calculate(int(left), int(right))
    verdict = "right" if found.answer == str(found.truth) else f"wrong, it is {found.truth}"
    seen = "It learned from this one." if found.learned_from else "It never saw this one."
    answer_place.metric(
        f"{left} {SIGNS[problems.operation]} {right} modulo {problems.modulus}",
        found.answer,
        f"{verdict}; it was {found.probability:.0%} sure. {seen}",
        delta_color="green" if verdict == "right" else "red",
        delta_arrow="off",
    )


def whole_table(opened: Any) -> None:
    """Every problem as a dot: right or wrong, learned from or never seen."""
    table = opened.table()
    st.caption(
        f"Of the problems that it never saw, {table.heldout_accuracy:.1%} are right; of those that it learned from, "
        f"{table.right[table.learned_from].mean():.1%}."
    )
    figure = table_chart(table.right, table.learned_from, table.first_right, View(dark=st.context.theme.type == "dark"))
    alt = "Every problem: right or wrong, learned from or unseen"
    still_charts([Still("All its answers", "", alt, figure)], "table")


def numbers_in_a_circle(opened: Any) -> None:
    """How the model represents the numbers: a tangle at first, a circle once it has understood."""
    found = opened.circle()
    if found is None:
        return
    st.caption(
        f"A tangle at first; a circle once it has understood. This plane holds {found.share:.1%} of what tells the "
        f"numbers apart; by chance, about {found.chance:.1%}."
    )
    numbers = found.numbers.tolist()
    figure = circle_chart(found.points.numpy(), found.turns.numpy(), numbers, dark=st.context.theme.type == "dark")
    about = (
        "Each number is a point of the embedding, in the plane of its strongest frequency (a Fourier component). "
        "Numbers are joined in the order that turns the operation into addition: for × and ÷, that of their logarithms "
        "modulo the prime."
    )
    alt = "The numbers in the plane of the embedding's strongest frequency, joined in their order"
    still_charts([Still("The numbers, as it sees them", about, alt, figure)], "circle")

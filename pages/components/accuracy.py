"""Accuracy on held-out questions: the last result, and a button to measure it."""

from __future__ import annotations

import streamlit as st

from cognate_core.contracts.answers import Accuracy
from cognate_core.errors import CognateError
from cognate_core.insight.answer_chart import answer_chart, answers_by_step_chart
from cognate_core.insight.words import ago, duration
from cognate_core.runs import RunManager
from cognate_core.runs.accuracy import read_accuracy
from cognate_core.storage.rows import TrainedModel
from pages.components.layout import show_refusal, shown
from pages.components.live_charts import Still, still_charts
from pages.components.tables import table

LOOK_SECONDS = 1.0


def accuracy(manager: RunManager, model: TrainedModel) -> None:
    """The last result, and the progress of a measurement."""
    st.subheader("How often it is right (accuracy)", anchor=False)
    st.caption(
        "The model answers held-out questions that it never saw in training, always with its likeliest word. Only the "
        "dataset's own answer, on the line after ####, counts as right."
    )
    measurement = manager.measurement()
    going = measurement is not None and not measurement.ended
    if measurement is not None and measurement.model_id == model.id:
        if going:
            st.fragment(progress, run_every=LOOK_SECONDS)(manager, model.id)
        elif measurement.problem:
            st.error(shown(measurement.problem), icon=":material/error:")
    try:
        found = read_accuracy(*manager.weights(model.id))
    except CognateError as error:
        st.warning(shown(str(error)), icon=":material/warning:")
        found = None
    if found is not None:
        result(found)
    elif not going:
        st.caption("Not measured yet.")
    controls(manager, model, going=going)


def controls(manager: RunManager, model: TrainedModel, *, going: bool) -> None:
    """How many questions to ask, and the button."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        questions = st.number_input(
            "Questions of each dataset",
            1,
            1000,
            50,
            key="accuracy_questions",
            help="More questions narrow the interval but take longer. Each measurement asks the same ones.",
            width=220,
        )
        steps = manager.kept_steps(model.id)
        checkpoints = bool(steps) and st.toggle(
            f"Include its {len(steps)} earlier {'checkpoint' if len(steps) == 1 else 'checkpoints'}",
            key="accuracy_checkpoints",
            help="Shows how it improved as it learned. Takes proportionally longer.",
        )
        if st.button("Measure", icon=":material/quiz:", disabled=going or bool(manager.read_only)):
            try:
                manager.measure_accuracy(model.id, int(questions), checkpoints=checkpoints)
            except CognateError as error:
                show_refusal(error)
            else:
                st.rerun()
    measurement = manager.measurement()
    if going and measurement is not None and measurement.model_id != model.id:
        st.caption("Another model is being measured. Wait until that has ended.")


def progress(manager: RunManager, model_id: str) -> None:
    """The measurement's progress, refreshed until it has ended."""
    measurement = manager.measurement()
    if measurement is None or measurement.ended or measurement.model_id != model_id:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        if measurement.total:
            words = f"Asking {shown(measurement.now)}: answer {measurement.done + 1:,} of {measurement.total:,}"
            st.progress(measurement.done / measurement.total, words)
        else:
            st.progress(0.0, shown(measurement.now))
        if st.button("Cancel the measurement", icon=":material/cancel:", disabled=bool(manager.read_only)):
            manager.cancel_measurement()
            st.rerun()


def result(found: Accuracy) -> None:
    """The chart, its figures, and how they were measured."""
    dark = st.context.theme.type == "dark"
    final = found.steps[-1].scores
    charts = [
        Still(
            "Right answers",
            "With a 95 % interval: with so few questions, the true share may be anywhere in it.",
            "Share of right answers for each dataset, beside always giving the commonest answer",
            answer_chart(final, dark=dark),
        )
    ]
    if len(found.steps) > 1:
        charts.append(
            Still(
                "Right answers while it learned",
                "Dotted: always giving the commonest answer.",
                "Share of right answers for each dataset by step",
                answers_by_step_chart(found.steps, dark=dark),
            )
        )
    still_charts(charts, key="accuracy")
    st.caption(
        "Dot and line: this model, with its 95 % interval. "
        + ("Grey mark and dotted lines" if len(found.steps) > 1 else "Grey mark")
        + ": the share right when always giving the commonest answer of the training rows."
    )
    table(
        [
            {
                "dataset": score.dataset,
                "right": score.right,
                "asked": score.asked,
                "share": score.share,
                "95 % interval": f"{score.interval[0]:.1%} to {score.interval[1]:.1%}",
                "commonest answer": score.commonest,
                "always that answer": score.commonest_share,
            }
            for score in final
        ],
        column_config={
            "share": st.column_config.NumberColumn(format="percent"),
            "95 % interval": st.column_config.TextColumn(help="Wilson's score interval."),
            "always that answer": st.column_config.NumberColumn(
                format="percent", help="The share right when always giving the commonest training answer."
            ),
        },
    )
    for what, why in found.left_out.items():
        st.caption(f"Not measured: {shown(what)}. {shown(why)}")
    st.caption(
        f"Measured {ago(found.measured_at)} in {duration(found.seconds)}, at most {found.limit:,} questions of each "
        f"dataset (seed {found.seed}, temperature {found.temperature:g})."
    )

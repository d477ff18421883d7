"""One step of a run, opened by a click on its curve: its figures, its sequences, and a branch from there."""

from __future__ import annotations

import uuid
from typing import Any

import streamlit as st

from cognate_core.config import as_text, fields_that
from cognate_core.errors import CognateError, ConfigError
from cognate_core.insight.glossary import explained
from cognate_core.runs import RunManager, name_after, nearest_checkpoint
from cognate_core.storage.rows import Run
from pages.components.layout import page_called, show_refusal, shown

SHOWN_LETTERS = 600  # of a sequence, before it is opened


def step_dialog(manager: RunManager, run: Run, model_name: str, step: int) -> None:
    """Open the measured step closest to `step`."""
    row = manager.log.metrics_near(run.id, model_name, step)
    if row is not None:
        st.dialog(f"Step {row['step']:,}", width="medium")(_step)(manager, run, model_name, row)


def _step(manager: RunManager, run: Run, model_name: str, row: dict[str, Any]) -> None:
    """What was measured at the step, a form to branch from it, and what the model read."""
    with st.container(horizontal=True):
        loss = "not a number" if row["loss"] is None else f"{row['loss']:.3f}"
        st.metric("How wrong it was (loss)", loss, help=explained("loss"), width="content")
        if row["accuracy"] is not None:
            st.metric("Right answers", f"{row['accuracy']:.0%}", width="content")
        st.metric("Learning rate", f"{row['learning_rate']:.3g}", help=explained("learning rate"), width="content")
        norm = row["grad_norm"]
        size = "not a number" if norm is None else f"{norm:.3g}"
        st.metric("Gradient size", size, help=explained("gradient norm"), width="content")
        st.metric("Took", f"{row['seconds']:.2f} s", width="content")
    if not manager.read_only:
        branch_form(manager, run, model_name, row["step"])
    examples(manager, run, model_name, row["step"])


def examples(manager: RunManager, run: Run, model_name: str, step: int) -> None:
    """The step's sequences, drawn again in the same way as in training."""
    st.markdown("**What it read in this step**")
    try:
        with st.spinner("Drawing them again"):
            sequences = manager.batch_at(run.id, model_name, step)
    except CognateError as error:
        st.info(shown(str(error)), icon=":material/info:")
        return
    lab = run.config.task == "arithmetic"
    if not lab:
        st.caption(f"{len(sequences)} sequences. An unusual loss has its cause here, or in earlier steps.")
    for sequence in sequences:
        with st.container(border=True):
            st.caption(
                f"{shown(sequence.source)}, {sequence.counted_tokens:,} {'problems' if lab else 'tokens'} learned from"
                + ", with part of a text that is longer than a sequence" * sequence.partial
            )
            whole = "\n\n".join(sequence.texts)
            st.text(whole if len(whole) <= SHOWN_LETTERS else f"{whole[:SHOWN_LETTERS]} …")
            if len(whole) > SHOWN_LETTERS:
                with st.expander("All of it"):
                    st.text(whole)


def branch_form(manager: RunManager, run: Run, model_name: str, step: int) -> None:
    """Change one setting and continue from the nearest checkpoint as a new run."""
    steps = manager.checkpoint_steps(run.id, model_name)
    nearest = nearest_checkpoint([each for each in steps if each < run.config.max_steps] or steps, step)
    with st.expander("Try other settings from here (branch)", icon=":material/alt_route:"):
        if nearest is None:
            st.caption(
                "There is no checkpoint to continue from yet. One is written at each check that is the best so far."
            )
            return
        others = ", ".join(f"{each:,}" for each in steps)
        st.caption(
            f"The nearest checkpoint is step {nearest:,} (available: {others}). The new run continues from there with "
            "your change; this run stays as it is."
        )
        fields = fields_that("branchable", run.config.task)
        del fields["max_steps"]  # it has its own field
        setting = st.selectbox(
            "Setting to change",
            list(fields),
            index=list(fields).index("learning_rate"),
            format_func=lambda name: f"{fields[name].title} ({name})",
        )
        now = as_text(getattr(run.config, setting))
        with st.form("branch", border=False):  # sends all fields at once
            left, right = st.columns(2)
            value = left.text_input("New value", now, help=fields[setting].description, key=f"branch-value-{setting}")
            steps_text = right.text_input("Total training steps", as_text(max(run.config.max_steps, nearest + 1)))
            name = st.text_input("Name", name_after(run.name, f" from step {nearest}"))
            pressed = st.form_submit_button("Start the branch", type="primary", icon=":material/play_arrow:")
        if pressed:
            key = st.session_state.setdefault("branch_key", uuid.uuid4().hex)
            try:
                changes = {"max_steps": steps_text.strip(), setting: value.strip()}
                branch = manager.start_branch(run.id, model_name, nearest, changes, name, key)
            except ConfigError as error:
                for sentence in error.problems.values():
                    st.error(shown(sentence), icon=":material/error:")
                return
            except CognateError as error:
                show_refusal(error)
                return
            st.session_state.pop("branch_key")
            st.switch_page(page_called("compare"), query_params={"runs": f"{run.id},{branch}"})

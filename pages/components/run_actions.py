"""The actions on a run that several pages share: pause, resume, stop, cancel, delete."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from cognate_core.contracts import RunStatus
from cognate_core.errors import CognateError, RunError
from cognate_core.runs import RunManager
from cognate_core.storage.rows import Run
from pages.components.layout import ask_first, page_called, run_link, show_refusal, shown
from pages.components.sharing import share_buttons


def active_buttons(manager: RunManager, run: Run) -> None:
    """Buttons that end a queued or active run. A weaker action cannot follow a stronger one."""
    fixed = bool(manager.read_only)
    if run.status is RunStatus.QUEUED:
        if st.button("Remove from the queue", icon=":material/cancel:", disabled=fixed):
            act(manager.cancel, run.id)
        return
    ending = run.status in (RunStatus.STOPPING, RunStatus.CANCELLING)
    if st.button(
        "Pause",
        icon=":material/pause_circle:",
        disabled=fixed or ending or run.status is RunStatus.PAUSING,
        help="Writes a checkpoint and frees the computer. Resume continues exactly from there.",
    ):
        act(manager.pause, run.id)
    if st.button(
        "Stop and save",
        icon=":material/stop_circle:",
        disabled=fixed or ending,
        help="Ends training now and keeps the model as it is.",
    ):
        act(manager.stop, run.id)
    # Not a dialog, which the next redraw would close: this part of the page is redrawn every few seconds.
    with st.popover("Cancel", icon=":material/cancel:", disabled=fixed or run.status is RunStatus.CANCELLING):
        st.write("Training ends now. The model in training is not saved, and the run cannot be resumed.")
        if st.button("Cancel this run", type="primary", icon=":material/cancel:", disabled=fixed):
            act(manager.cancel, run.id)


RELATION_WORDS = {
    "copy": "Uses the settings of",
    "fix": "Fixes",
    "twin": "GrokFast twin of",
    "branch": "Branched from",
    "verification": "Verifies",
}


def origin_line(manager: RunManager, run: Run) -> None:
    """The run's parent, if it has one."""
    if run.parent_run_id is None or run.relation not in RELATION_WORDS:
        return
    step = f" after step {run.branch_step:,}" if run.branch_step is not None else ""
    words = RELATION_WORDS[run.relation]
    with st.container(horizontal=True, vertical_alignment="center"):
        try:
            parent = manager.log.run(run.parent_run_id)
        except RunError:
            st.caption(f"{words} a deleted run{step}")
            return
        st.caption(words, width="content")
        run_link(parent)
        st.caption(step, width="content")


def more_actions(manager: RunManager, run: Run, model_name: str) -> None:
    """Further actions on a run."""
    fixed = bool(manager.read_only)
    with st.popover("More", icon=":material/more_horiz:"):
        st.page_link(
            page_called("new_run"),
            label="Use these settings in a new run",
            icon=":material/content_copy:",
            query_params={"from": run.id},
        )
        st.page_link(
            page_called("compare"),
            label="Compare with other runs",
            icon=":material/stacked_line_chart:",
            query_params={"runs": run.id},
        )
        other = "without" if run.config.grokfast_enabled else "with"
        if st.button(
            f"Start its twin {other} GrokFast",
            icon=":material/call_split:",
            disabled=fixed,
            type="tertiary",
            help="The same run, start and data, with the gradient filter switched. Compare shades the gap.",
        ):
            try:
                twin = manager.start_twin(run.id)
            except CognateError as error:
                show_refusal(error)
            else:
                st.switch_page(page_called("compare"), query_params={"runs": f"{run.id},{twin}"})
        share_buttons(manager, run, model_name)
        if run.status.is_going:
            return  # as above, no dialogs
        if st.button("Rename", icon=":material/edit:", disabled=fixed, type="tertiary"):
            rename(manager, run)
        if st.button("Delete this run", icon=":material/delete:", disabled=fixed, type="tertiary"):
            moved = f"**{shown(run.name)}**, its models and its files move to the trash on Home."
            ask_first("Delete this run?", moved, "Delete", partial(_delete, manager, run.id))


@st.dialog("Rename this run")
def rename(manager: RunManager, run: Run) -> None:
    """Rename the run."""
    name = st.text_input("Name", run.name, max_chars=200)
    if st.button("Rename", type="primary"):
        act(lambda run_id: manager.rename_run(run_id, name), run.id)


def resume_button(manager: RunManager, run: Run) -> None:
    """A button that resumes the run from its last checkpoint."""
    step = manager.resume_step(run.id)
    if st.button(
        f"Resume after step {step:,}" if step else "Start from the beginning",
        type="primary",
        icon=":material/resume:",
        key=f"resume-{run.id}",
        disabled=bool(manager.read_only),
        help="Continues exactly from the last checkpoint."
        if step
        else "There is no checkpoint yet: training starts from the beginning.",
    ):
        act(manager.resume, run.id)


def act(action: Callable[[str], object], run_id: str) -> None:
    """Run the action and redraw the page; show an error if it is refused."""
    try:
        action(run_id)
    except CognateError as error:
        show_refusal(error)
    else:
        st.rerun()


def _delete(manager: RunManager, run_id: str) -> None:
    manager.delete_run(run_id)
    st.query_params.clear()  # the address must not name a deleted run

"""What can be done with a run: pause, resume, stop, cancel, delete. Several pages show these."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from cognate_core.contracts import RunStatus
from cognate_core.errors import CognateError
from cognate_core.runs import RunManager
from cognate_core.storage.progress_log import Run
from pages.components.layout import shown


def active_buttons(manager: RunManager, run: Run) -> None:
    """The ways to end a run that waits or is going on. A weaker one cannot follow a stronger one."""
    fixed = bool(manager.read_only)
    if run.status is RunStatus.QUEUED:
        if st.button("Take out of the queue", icon=":material/cancel:", disabled=fixed):
            act(manager.cancel, run.id)
        return
    ending = run.status in (RunStatus.STOPPING, RunStatus.CANCELLING)
    if st.button(
        "Pause",
        icon=":material/pause_circle:",
        disabled=fixed or ending or run.status is RunStatus.PAUSING,
        help="Writes a checkpoint and lets the computer rest. Resume goes on as if nothing had been.",
    ):
        act(manager.pause, run.id)
    if st.button(
        "Stop and save",
        icon=":material/stop_circle:",
        disabled=fixed or ending,
        help="Ends training now and keeps the model as it is.",
    ):
        act(manager.stop, run.id)
    if st.button(
        "Cancel",
        icon=":material/cancel:",
        disabled=fixed or run.status is RunStatus.CANCELLING,
        help="Ends training now. The model that is being trained is not kept.",
    ):
        act(manager.cancel, run.id)


def resume_button(manager: RunManager, run: Run) -> None:
    """Go on where the last checkpoint is."""
    step = manager.resume_step(run.id)
    if st.button(
        f"Resume after step {step:,}" if step else "Start again",
        type="primary",
        icon=":material/resume:",
        key=f"resume-{run.id}",
        disabled=bool(manager.read_only),
        help="Goes on from the last checkpoint, as if nothing had been."
        if step
        else "There is no checkpoint yet: it begins anew.",
    ):
        act(manager.resume, run.id)


def act(action: Callable[[str], object], run_id: str) -> None:
    """Do it and show what came of it; a refusal is a sentence."""
    try:
        action(run_id)
    except CognateError as error:
        st.error(shown(str(error)), icon=":material/error:")
    else:
        st.rerun()


@st.dialog("Delete this run?")
def confirm_delete(manager: RunManager, run: Run) -> None:
    """Ask once, then move the run to the trash."""
    st.write(f"**{shown(run.name)}**, its models and its files move to the trash. Home has the trash.")
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete:"):
            try:
                manager.delete_run(run.id)
            except CognateError as error:
                st.error(shown(str(error)), icon=":material/error:")
            else:
                st.query_params.clear()
                st.rerun()
        if st.button("Keep it"):
            st.rerun()

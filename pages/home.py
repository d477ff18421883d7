"""Home: what is going on, all runs, and ways to start."""

from pathlib import Path
from textwrap import shorten

import streamlit as st

from cognate_core.config.presets import PRESETS, Preset
from cognate_core.contracts import RunStatus
from cognate_core.contracts.answers import question_of
from cognate_core.insight.drawing import sparkline
from cognate_core.insight.palette import run_colour
from cognate_core.insight.words import ago, compact, duration
from cognate_core.runs import RunManager, current_manager
from cognate_core.storage.curves import read_line
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import Run
from pages.components.layout import (
    ask_first,
    in_parts,
    page_called,
    page_header,
    run_link,
    shown,
    status_badge,
    sweep_link,
)
from pages.components.run_actions import act, resume_button
from pages.components.run_figures import measured_seconds_left
from pages.components.run_table import run_table
from pages.components.sharing import open_archive_field
from pages.components.tour import welcome

PICTURES = Path(__file__).parent / "pictures"  # of presets
LAST_WORDS = 160  # letters of a run's newest sample
CURVE_POINTS = 120  # of a run's small curve
CARDS_IN_A_ROW = 3  # of presets
RESTING = (RunStatus.PAUSED, RunStatus.INTERRUPTED, RunStatus.CRASHED)


@st.fragment(run_every=2.0)
def running_now(manager: RunManager) -> None:
    """Cards of the active and the queued runs; they refresh by themselves."""
    log = manager.log
    unfinished = log.unfinished_runs()
    active = [run for run in unfinished if run.status.is_active]
    queue = [run for run in unfinished if run.status is RunStatus.QUEUED]
    known = [(run.id, run.status) for run in active + queue]
    if known != st.session_state.get("active_runs", []):
        changed = "active_runs" in st.session_state
        st.session_state["active_runs"] = known
        if changed:
            st.rerun()  # the table below changes, too
    for run in active:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                run_link(run)
                status_badge(run.status)
                if run.group_id:
                    sweep_link(run.group_id, f"Sweep {run.group_name}")
            left = measured_seconds_left(log, run)
            st.progress(run.progress, text=shown(run.message) + (f", about {duration(left)} left" if left else ""))
            what_it_does(log, run)
    if queue and manager.none_begins:
        st.warning(
            f"No queued run can start now. {shown(manager.none_begins)} They start by themselves once they can.",
            icon=":material/warning:",
        )
    for together in in_parts(by_sweep(queue), "queue"):
        with st.container(border=True):
            inside = st.container()
            if len(together) > 1:
                waiting_sweep(manager, together)
                inside = st.expander("Their order")
            with inside:
                waiting_runs(manager, queue, together)


def what_it_does(log: ProgressLog, run: Run) -> None:
    """The loss of the model in training as a small curve, and what it wrote last."""
    row = log.last_metrics(run.id, 1)
    if not row:
        return
    curve, words = st.columns([1, 3], vertical_alignment="center")
    steps, losses = read_line(log.path, run.id, row[0]["model_name"], "loss", -1, CURVE_POINTS)
    colour = run_colour(run.colour, dark=st.context.theme.type == "dark")
    if len(steps) > 1:
        curve.image(sparkline(steps, losses, colour), width="stretch", alt="Its loss, step by step")
    for sample in log.newest_samples(run.id, row[0]["model_name"])[:1]:
        words.caption(shown(shorten(question_of(sample["prompt"]), LAST_WORDS, placeholder=" …")))
        words.write(shown(shorten(sample["text"], LAST_WORDS, placeholder=" …") or "(nothing)"))


def waiting_runs(manager: RunManager, queue: list[Run], together: list[Run]) -> None:
    """Runs that are next to each other in the queue, each with its buttons."""
    for run in in_parts(together, f"queue-{together[0].group_id}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            run_link(run)
            status_badge(run.status)
            queue_buttons(manager, run, first=run is queue[0], last=run is queue[-1])


def by_sweep(runs: list[Run]) -> list[list[Run]]:
    """The runs in their order; all runs of a sweep are together at the place of its first."""
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(run.group_id or run.id, []).append(run)
    return list(together.values())


def waiting_sweep(manager: RunManager, runs: list[Run]) -> None:
    """How many runs of a sweep are queued, and a button that removes them all from the queue."""
    group_id = runs[0].group_id or ""
    with st.container(horizontal=True, vertical_alignment="center"):
        sweep_link(group_id, f"Sweep {runs[0].group_name}")
        status_badge(RunStatus.QUEUED)
        st.caption(f"{len(runs)} runs wait", width="content")
        if st.button("Remove all", icon=":material/close:", key=f"out-{group_id}", disabled=bool(manager.read_only)):
            manager.cancel_group(group_id, going=False)
            st.rerun()


def queue_buttons(manager: RunManager, run: Run, *, first: bool, last: bool) -> None:
    """Buttons that move a run up or down the queue, or remove it."""
    fixed = bool(manager.read_only)
    name = shown(run.name)
    if st.button("Earlier", icon=":material/arrow_upward:", key=f"up-{run.id}", disabled=fixed or first, help=name):
        manager.move_in_queue(run.id, -1)
        st.rerun()
    if st.button("Later", icon=":material/arrow_downward:", key=f"down-{run.id}", disabled=fixed or last, help=name):
        manager.move_in_queue(run.id, 1)
        st.rerun()
    if st.button("Remove", icon=":material/close:", key=f"out-{run.id}", disabled=fixed, help=name):
        manager.cancel(run.id)
        st.rerun()


def resting_runs(manager: RunManager, runs: list[Run]) -> None:
    """Paused, interrupted and crashed runs, each with a button to resume it."""
    st.subheader("Runs to resume", anchor=False)
    for run in in_parts(runs, "resting"):
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            run_link(run)
            status_badge(run.status)
            st.caption(shown(run.message))
            resume_button(manager, run)


def recovery_note(manager: RunManager) -> None:
    """What was rebuilt after the database was damaged, shown until somebody confirms it."""
    note = manager.recovery_note()
    if note:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning(shown(note), icon=":material/healing:")
            if st.button("Understood", disabled=bool(manager.read_only)):
                manager.forget_recovery_note()
                st.rerun()


def trash(manager: RunManager) -> None:
    """Deleted items, to restore or delete for good."""
    entries = manager.trash.entries()
    if not entries:
        return
    fixed = bool(manager.read_only)
    with st.expander(f"Trash ({len(entries)})"):
        if st.button("Empty the trash", icon=":material/delete_forever:", disabled=fixed):
            count = len(entries)
            lost = f"This deletes everything in the trash ({count:,} item{'s' * (count > 1)}). You cannot undo it."
            ask_first("Empty the trash?", lost, "Empty it", manager.empty_trash)
        for entry in in_parts(entries, "trash"):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.write(shown(entry.name))
                st.caption(f"{entry.kind}, deleted {ago(entry.deleted_at)}")
                if st.button("Restore", icon=":material/undo:", key=f"back-{entry.id}", disabled=fixed):
                    act(manager.restore, entry.id)
                if st.button(
                    "Remove for good", icon=":material/delete_forever:", key=f"gone-{entry.id}", disabled=fixed
                ):
                    act(manager.remove_for_good, entry.id)


def preset_cards() -> None:
    """The presets, each with what to expect and a link to use it."""
    presets = list(PRESETS.values())
    for first in range(0, len(presets), CARDS_IN_A_ROW):
        for column, preset in zip(st.columns(CARDS_IN_A_ROW), presets[first : first + CARDS_IN_A_ROW], strict=False):
            with column, st.container(border=True, height="stretch"):
                preset_card(preset)


def preset_card(preset: Preset) -> None:
    """The card of one preset."""
    st.image(PICTURES / f"{preset.name}.svg", width="stretch", alt="")  # an ornament: the title says it
    st.subheader(preset.title, anchor=False, help=preset.expectation)
    st.write(preset.summary)
    st.caption(preset.time)
    if preset.config.task == "arithmetic":
        st.page_link(page_called("lab"), label="Open the lab", icon=":material/science:")
        return
    st.page_link(
        page_called("new_run"),
        label="Choose",
        icon=":material/arrow_forward:",
        query_params={"preset": preset.title},  # as the bound widget writes it
    )


manager = current_manager()
log = manager.log
page_header("Cognate Studio", "Train a small language model on this computer, watch it learn, and try it out.")
recovery_note(manager)
running_now(manager)
runs = log.runs()
resting = [run for run in runs if run.status in RESTING]
if resting:
    resting_runs(manager, resting)
if runs:
    st.subheader("Runs", anchor=False)
    run_table(manager, runs)
if runs or not welcome(manager):
    st.subheader("Start another run" if runs else "Start here", anchor=False)
preset_cards()
models, parameters = log.model_totals()
if models:
    st.caption(f"{models:,} trained model{'s' * (models > 1)}, {compact(parameters)} parameters together")
    st.page_link(page_called("models"), label="See all models", icon=":material/deployed_code:")
open_archive_field(manager)
trash(manager)
st.markdown("For programs: [API](api/v1/)")

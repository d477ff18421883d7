"""Home: what runs now, what finished last, and where to begin."""

import streamlit as st

from cognate_core.insight.words import ago, compact, duration
from cognate_core.presets import PRESETS
from cognate_core.runs import current_manager
from cognate_core.storage.progress_log import ProgressLog, Run
from pages.components.layout import PAGES, page_header, run_link, shown, status_badge
from pages.components.run_figures import measured_seconds_left, run_seconds

RECENT_RUNS = 8


@st.fragment(run_every=2.0)
def running_now(log: ProgressLog) -> None:
    """Cards of the runs that have not ended; they move by themselves."""
    active = [run for run in log.runs() if not run.status.is_terminal]
    if [run.id for run in active] != st.session_state.get("active_runs", []):
        changed = "active_runs" in st.session_state
        st.session_state["active_runs"] = [run.id for run in active]
        if changed:
            st.rerun()  # a run began or ended: the list below changes too
    for run in active:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                run_link(run)
                status_badge(run.status)
            left = measured_seconds_left(log, run)
            st.progress(run.progress, text=shown(run.message) + (f", about {duration(left)} left" if left else ""))


def preset_cards() -> None:
    """The presets, each with what to expect and a way in."""
    for column, preset in zip(st.columns(len(PRESETS)), PRESETS.values(), strict=True):
        with column, st.container(border=True, height="stretch"):
            st.subheader(preset.title, anchor=False)
            st.write(preset.summary)
            st.caption(preset.expectation)
            st.page_link(
                PAGES["new_run"],
                label="Use this preset",
                icon=":material/arrow_forward:",
                query_params={"preset": preset.title},  # as the bound widget writes it
            )


def recent_runs(log: ProgressLog, runs: list[Run]) -> None:
    """What ended last, the newest first."""
    for run in runs[:RECENT_RUNS]:
        name, status, figures, when = st.columns([3, 2, 4, 2], vertical_alignment="center")
        with name:
            run_link(run)
        with status:
            status_badge(run.status)
        with figures:
            st.caption(_figures(log, run))
        with when:
            st.caption(ago(run.finished_at or run.created_at))


def _figures(log: ProgressLog, run: Run) -> str:
    if run.error and not run.step:
        return shown(run.error)
    last = log.last_metrics(run.id, 1)
    parts = [f"{run.step:,} of {run.total_steps:,} steps"] if run.step and run.total_steps else []
    if last and last[0]["loss"] is not None:
        parts.append(f"loss {last[0]['loss']:.2f}")
    seconds = run_seconds(run)
    if seconds is not None:
        parts.append(duration(seconds))
    return ", ".join(parts) or "nothing was trained"


log = current_manager().log
runs = log.runs()
page_header("Cognate Studio", "Train a small language model on this computer, watch it learn, and try it out.")
running_now(log)
ended = [run for run in runs if run.status.is_terminal]
st.subheader("Start here" if not runs else "Start another run", anchor=False)
if not runs:
    st.write("Choose a preset, press **Start training**, and watch the curve fall. Nothing leaves this computer.")
preset_cards()
if ended:
    st.subheader("Finished runs", anchor=False)
    recent_runs(log, ended)
models = log.models()
if models:
    parameters = sum(model.parameter_count for model in models)
    st.caption(
        f"{len(models)} trained model{'s' if len(models) > 1 else ''}, {compact(parameters)} parameters together"
    )
    st.page_link(PAGES["models"], label="See all models", icon=":material/deployed_code:")

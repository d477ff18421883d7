"""The frame of each page: the list of pages, a title with one sentence, and how a run's status looks."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from cognate_core.contracts import RunStatus
from cognate_core.insight.palette import run_colour, run_dash
from cognate_core.labels import escape_streamlit
from cognate_core.storage.progress_log import Run

_FOLDER = Path(__file__).parent.parent

PAGES = {
    "home": st.Page(_FOLDER / "home.py", title="Home", icon=":material/home:", default=True),
    "new_run": st.Page(_FOLDER / "new_run.py", title="New run", icon=":material/add_circle:", url_path="new-run"),
    "monitor": st.Page(_FOLDER / "monitor.py", title="Monitor", icon=":material/monitoring:", url_path="monitor"),
    "compare": st.Page(
        _FOLDER / "compare.py", title="Compare", icon=":material/stacked_line_chart:", url_path="compare"
    ),
    "models": st.Page(_FOLDER / "models.py", title="Models", icon=":material/deployed_code:", url_path="models"),
    "datasets": st.Page(_FOLDER / "datasets.py", title="Datasets", icon=":material/dataset:", url_path="datasets"),
    "glossary": st.Page(_FOLDER / "glossary.py", title="Glossary", icon=":material/menu_book:", url_path="glossary"),
}

_LINES = {"solid": "━━", "dash": "╍╍", "dot": "┅┅"}  # box drawing, which screen readers pass over

_STATUS_LOOK = {
    RunStatus.QUEUED: ("gray", ":material/schedule:"),
    RunStatus.PREPARING: ("blue", ":material/downloading:"),
    RunStatus.TRAINING: ("blue", ":material/play_circle:"),
    RunStatus.PAUSING: ("orange", ":material/pause_circle:"),
    RunStatus.PAUSED: ("gray", ":material/pause_circle:"),
    RunStatus.STOPPING: ("orange", ":material/stop_circle:"),
    RunStatus.CANCELLING: ("orange", ":material/cancel:"),
    RunStatus.STOPPED: ("gray", ":material/stop_circle:"),
    RunStatus.CANCELLED: ("gray", ":material/cancel:"),
    RunStatus.COMPLETED: ("green", ":material/check_circle:"),
    RunStatus.COMPLETED_WITH_FAILURES: ("orange", ":material/warning:"),
    RunStatus.FAILED: ("red", ":material/error:"),
    RunStatus.DIVERGED: ("red", ":material/trending_up:"),
    RunStatus.CRASHED: ("red", ":material/bolt:"),
    RunStatus.INTERRUPTED: ("orange", ":material/power_off:"),
}


def page_header(title: str, sentence: str) -> None:
    """The page's name and what it is for."""
    st.title(title, anchor=False)
    st.caption(sentence)


def status_badge(status: RunStatus) -> None:
    """The status as a coloured word."""
    colour, icon = _STATUS_LOOK[status]
    st.badge(status.value, color=colour, icon=icon)


def shown(label: str) -> str:
    """A person's text so that Streamlit's Markdown shows it as typed."""
    return escape_streamlit(label)


def run_link(run: Run, label: str | None = None) -> None:
    """A link to the run on Monitor, behind a piece of the run's line as the charts draw it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
        colour = run_colour(run.colour, dark=st.context.theme.type == "dark")
        st.markdown(f':color[{_LINES[run_dash(run.colour)]}]{{foreground="{colour}"}}', width="content")
        st.page_link(PAGES["monitor"], label=shown(label or run.name), query_params={"run": run.id})

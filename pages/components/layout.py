"""What all pages share: the list of pages, titles, links, status badges and dialogs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import streamlit as st

from cognate_core.contracts import RunStatus
from cognate_core.errors import CognateError
from cognate_core.insight.palette import run_colour, run_dash
from cognate_core.labels import escape_streamlit
from cognate_core.storage.rows import Run

_FOLDER = Path(__file__).parent.parent
AT_FIRST = 20  # entries of a long list: a browser takes seconds to draw thousands
T = TypeVar("T")

_PAGES: dict[str, tuple[str, str]] = {
    "home": ("Home", ":material/home:"),
    "new_run": ("New run", ":material/add_circle:"),
    "monitor": ("Monitor", ":material/monitoring:"),
    "compare": ("Compare", ":material/stacked_line_chart:"),
    "lab": ("Grokking lab", ":material/science:"),
    "models": ("Models", ":material/deployed_code:"),
    "datasets": ("Datasets", ":material/dataset:"),
    "glossary": ("Glossary", ":material/menu_book:"),
}

_LINES = {"solid": "━━", "dash": "╍╍", "dot": "┅┅"}  # box-drawing characters, which screen readers skip

_STATUS_LOOK: dict[RunStatus, tuple[Literal["gray", "blue", "orange", "green", "red"], str]] = {
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


def page_called(name: str) -> st.Page:
    """A new Page for the file `name`.py: Streamlit makes a Page that leads nowhere if it is made outside a visit."""
    title, icon = _PAGES[name]
    return st.Page(
        _FOLDER / f"{name}.py",
        title=title,
        icon=icon,
        url_path=name.replace("_", "-"),
        default=name == "home",
    )


def all_pages() -> list[st.Page]:
    """The pages in the order of the navigation bar."""
    return [page_called(name) for name in _PAGES]


def has_arrived(page: str) -> None:
    """Remember whether the person has just opened this page, or was on it already."""
    st.session_state["arrives"] = st.session_state.get("page_shown") != page
    st.session_state["page_shown"] = page


def keep_in_address(name: str, value: str, otherwise: str | None = None) -> None:
    """Write what the page shows into its address, unless the address shows it anyway.

    Args:
        otherwise: what the page shows without it in the address.
    """
    # Right after a page opens, Streamlit would add it to the address of the previous page, and Back would then restore
    # neither page.
    if not st.session_state["arrives"] and value != otherwise:
        st.query_params[name] = value


def told_apart(words: Mapping[str, str]) -> dict[str, str]:
    """Unique list labels by id: Streamlit treats entries with the same label as one and opens the first."""
    alike = Counter(words.values())
    return {each: text if alike[text] == 1 else f"{text} ({each})" for each, text in words.items()}


def name_tab(name: str) -> None:
    """Name the browser tab after what the page shows."""
    st.set_page_config(page_title=f"{name} - Cognate Studio")


def page_header(title: str, sentence: str) -> None:
    """The page's title and purpose."""
    st.title(title, anchor=False)
    st.caption(sentence)


def status_badge(status: RunStatus) -> None:
    """The status as a coloured word."""
    colour, icon = _STATUS_LOOK[status]
    st.badge(status.value, color=colour, icon=icon)


def shown(label: str) -> str:
    """A person's text, escaped: Streamlit's Markdown shows it as typed."""
    return escape_streamlit(label)


def show_refusal(error: CognateError) -> None:
    """Show the error's own message."""
    st.error(shown(str(error)), icon=":material/error:")


def ask_first(question: str, what_happens: str, button: str, do: Callable[[], object]) -> None:
    """Ask for confirmation in a dialog, then run `do` and redraw the page. The dialog shows an error if it fails."""

    @st.dialog(question)
    def ask() -> None:
        st.write(what_happens)
        with st.container(horizontal=True):
            if st.button(button, type="primary", icon=":material/delete:"):
                try:
                    with st.spinner("Deleting"):
                        do()
                except CognateError as error:
                    show_refusal(error)
                else:
                    st.rerun()
            if st.button("Keep it"):
                st.rerun()

    ask()


def run_link(run: Run, label: str | None = None) -> None:
    """A link to the run on Monitor, after a sample of its line in the charts."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
        colour = run_colour(run.colour, dark=st.context.theme.type == "dark")
        st.markdown(f':color[{_LINES[run_dash(run.colour)]}]{{foreground="{colour}"}}', width="content")
        st.page_link(page_called("monitor"), label=shown(label or run.name), query_params={"run": run.id})


def sweep_link(group_id: str, label: str) -> None:
    """A link to a sweep on Compare."""
    st.page_link(
        page_called("compare"),
        label=shown(label),
        icon=":material/stacked_line_chart:",
        query_params={"group": group_id},
    )


def in_parts(items: Sequence[T], key: str, at_first: int = AT_FIRST) -> Iterator[T]:
    """The first `items`, and below them a button that doubles their number. `key`: unique to the list."""
    most = int(st.session_state.get(f"shown-{key}", at_first))
    yield from items[:most]
    if len(items) > most:
        label = f"Show more ({len(items) - most:,} left)"
        st.button(label, icon=":material/expand_more:", key=f"more-{key}", on_click=_show, args=(key, 2 * most))


def _show(key: str, most: int) -> None:
    st.session_state[f"shown-{key}"] = most

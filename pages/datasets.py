"""Datasets: the rows, their lengths, overlap with held-out text, near-duplicates, and a sample batch."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from cognate_core.config import DATASETS
from cognate_core.data.uploads import Upload, columns_are_unknown, find_upload, list_uploads, pasted
from cognate_core.errors import CognateError, DataError, NotFound
from cognate_core.runs import RunManager, current_manager
from pages.components.data_sources import source_rows
from pages.components.dataset_cache import rows_of
from pages.components.dataset_views import lengths_view, mixture_view, near_duplicates_view, overlap_view, rows_view
from pages.components.layout import ask_first, keep_in_address, page_called, page_header, show_refusal, shown
from pages.components.tables import table
from pages.components.uploads import file_field, keep_named, keep_uploaded, reading_form, summary

if TYPE_CHECKING:
    from cognate_core.data.inspection_cache import Choice

OWN, PASTE = "Own file", ":material/content_paste:"
SECTIONS = {
    "Rows": rows_view,
    "Lengths": lengths_view,
    "Seen before (overlap)": overlap_view,
    "Near-duplicates": near_duplicates_view,
    "Mixture and batch": mixture_view,
}


def choose_dataset(here: "dict[str, Choice]") -> str:
    """The dataset that the address names, else the first one on this computer."""
    chosen = st.segmented_control(
        "Dataset",
        [*DATASETS, OWN],
        default=next(iter(here)),
        required=True,
        key="dataset",
        bind="query-params",
        persist_state="session",
    )
    return chosen or next(iter(here))


def not_here(manager: RunManager, name: str) -> None:
    """Report that a dataset is not on this computer, and offer to download it."""
    st.info(
        f"{name} is not on this computer yet. Fetch it from the Hugging Face hub ({DATASETS[name].id}), or "
        "put it into a folder: the README shows how.",
        icon=":material/cloud_off:",
    )
    if st.button("Fetch it", type="primary", icon=":material/download:", disabled=bool(manager.read_only)):
        from cognate_core.data.inspection import fetch
        from cognate_core.data.inspection_cache import ROWS

        with st.spinner(f"Fetching {name}"):
            place = st.empty()
            try:
                fetch(name, ROWS, manager.home / "cache", lambda message: place.caption(shown(message)))
            except CognateError as error:
                show_refusal(error)
                return
        st.rerun()


def choose_upload(manager: RunManager) -> Upload | None:
    """Add files or a text, or choose an earlier one; the address names it."""
    fresh = st.session_state.setdefault("uploads", 0)  # each upload gets a fresh field, also after a refusal
    pastes = st.session_state.setdefault("pastes", 0)
    read_only = bool(manager.read_only)
    added: Callable[[], Upload] | None = None
    files_place, paste_place = st.columns([3, 1], vertical_alignment="bottom")
    with files_place:
        uploaded = file_field("Add files", key=f"upload-{fresh}", disabled=read_only)
        if uploaded:
            added = partial(keep_uploaded, uploaded, manager.home, ask=True)
    with paste_place, st.popover("Paste text", icon=PASTE, disabled=read_only, key=f"popover-{pastes}"):
        text = st.text_area("Text", height=200, key=f"paste-{pastes}", placeholder="Text, a table or JSON")
        if st.button("Keep it", type="primary") and text.strip():
            added = partial(keep_named, *pasted(text), manager.home, ask=True)
    if added is not None:
        try:
            st.query_params["file"] = added().path.name
        except CognateError as error:
            st.session_state["refused"] = str(error)
        else:
            st.session_state["pastes"] = pastes + 1
        st.session_state["uploads"] = fresh + 1
        st.rerun()
    if refused := st.session_state.pop("refused", None):
        st.error(shown(refused), icon=":material/error:")
    files = list_uploads(manager.home)
    named = st.query_params.get("file")
    if named is not None:
        try:
            find_upload(manager.home, named)
        except NotFound as error:
            st.warning(shown(str(error)), icon=":material/warning:")
            named = None
    if not files:
        st.caption("There are no files yet. Add one to inspect it before you train on it.")
        return None
    by_name = {file.path.name: file for file in files}
    wanted = named or files[0].path.name
    if st.session_state.get("addressed_file", "") != named:
        st.session_state["chosen_file"] = wanted  # by a link, an upload, or Back
    chosen = st.selectbox("Your files", list(by_name), format_func=_in_list(files), key="chosen_file")
    keep_in_address("file", chosen, wanted)
    st.session_state["addressed_file"] = st.query_params.get("file")
    return by_name[chosen]


def _in_list(files: list[Upload]) -> Callable[[str], str]:
    """A file's name in the list. Streamlit identifies a choice by these words: no two may be the same."""
    words: dict[str, str] = {}
    for file in files:
        alike = sum(word.startswith(summary(file)) for word in words.values())
        words[file.path.name] = summary(file) + (f" ({alike + 1})" if alike else "")
    return words.__getitem__


def upload_buttons(manager: RunManager, file: Upload, *, usable: bool) -> None:
    """Train on it, or remove it."""
    with st.container(horizontal=True):
        if usable and st.button("Train on this", type="primary", icon=":material/play_arrow:"):
            st.switch_page(page_called("new_run"), query_params={"upload": file.path.name})
        if st.button("Remove this file", icon=":material/delete:", disabled=bool(manager.read_only)):
            lost = f"This deletes **{shown(file.label)}** from the studio's folder for good. Your own copy stays."
            ask_first("Remove this file?", lost, "Remove", partial(_remove, manager, file))


def _remove(manager: RunManager, file: Upload) -> None:
    manager.remove_upload(file.path.name)
    st.query_params.pop("file", None)


def look_at(choice: "Choice", here: "dict[str, Choice]", manager: RunManager) -> None:
    """Show the chosen section; the others are not computed."""
    section = st.segmented_control(
        "Look at",
        list(SECTIONS),
        default="Rows",
        required=True,
        key="section",
        bind="query-params",
        persist_state="session",
    )
    try:
        SECTIONS[section or "Rows"](choice, here, manager.home / "cache")
    except CognateError as error:
        show_refusal(error)


def prepared_before(cache: Path) -> None:
    """Where the text of earlier runs came from, and what was skipped."""
    from cognate_core.data.inspection import prepared_folders

    folders = prepared_folders(cache)
    if not folders:
        return
    st.subheader("Prepared by earlier runs", anchor=False)
    st.caption("What runs actually read. The newest eight are kept for reuse.")
    table(
        [
            {"last used": datetime.fromtimestamp(folder.used, UTC), **row}
            for folder in folders
            if folder.report is not None
            for row in source_rows(dataclasses.asdict(source) for source in folder.report.sources)
        ],
        column_config={"last used": st.column_config.DatetimeColumn(format="distance")},
    )
    damaged = sum(folder.report is None for folder in folders)
    if damaged:
        st.caption(f"{damaged} more cannot be read. A run that needs one prepares it again.")


def choice_of(name: str) -> "Choice | None":
    """The dataset in its current state; None if it is not on this computer."""
    from cognate_core.data.inspection_cache import choice_of

    return choice_of(name, cache)


def show_file(manager: RunManager, file: Upload) -> None:
    """A file of one's own: how it is read, its rows, and what can be done with it."""
    from cognate_core.data.inspection_cache import choice_of_file

    choice = choice_of_file(file.settings, cache)
    usable = True
    try:
        rows_of(choice)
    except DataError:
        usable = False  # the section says why
    upload_buttons(manager, file, usable=usable)
    asks = not usable and columns_are_unknown(file)
    reading_form(file, asks=asks, disabled=bool(manager.read_only))
    if not asks:
        look_at(choice, here, manager)


manager = current_manager()
cache = manager.home / "cache"
page_header("Datasets", "The text that a model learns from.")
here = {name: choice for name in DATASETS if (choice := choice_of(name)) is not None}
name = choose_dataset(here)
if name == OWN:
    file = choose_upload(manager)
    if file is not None:
        show_file(manager, file)
else:
    st.caption(f"{DATASETS[name].description.capitalize()}.")
    if name in here:
        look_at(here[name], here, manager)
    else:
        not_here(manager, name)
prepared_before(cache)

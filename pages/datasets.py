"""Datasets: what a model would read, how long it is, whether the test was seen before, and what a batch looks like."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from cognate_core.config import DATASETS
from cognate_core.data.uploads import Upload, find_upload, list_uploads
from cognate_core.errors import CognateError, DataError, NotFound
from cognate_core.runs import RunManager, current_manager
from pages.components.data_sources import source_rows
from pages.components.dataset_cache import rows_of
from pages.components.dataset_views import lengths_view, mixture_view, overlap_view, rows_view
from pages.components.layout import ask_first, keep_in_address, page_called, page_header, show_refusal, shown
from pages.components.tables import table
from pages.components.uploads import file_field, keep_uploaded, summary

if TYPE_CHECKING:
    from cognate_core.data.inspection_cache import Choice

OWN = "Own file"
SECTIONS = {
    "Rows": rows_view,
    "Lengths": lengths_view,
    "Seen before (overlap)": overlap_view,
    "Mixture and batch": mixture_view,
}


def choose_dataset(here: "dict[str, Choice]") -> str:
    """The dataset that the address names, else the first that is on this computer."""
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
    """Say that a dataset is not on this computer, and leave it to the person whether to ask the network."""
    st.info(
        f"{name} is not on this computer yet. It lies on the Hugging Face hub ({DATASETS[name].id}); fetching it needs "
        "a network. You can also keep it in a folder: the README says how.",
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
    """Upload a file, or choose one that was uploaded before; the address names it."""
    uploads = st.session_state.setdefault("uploads", 0)  # a new field after each file that was taken
    uploaded = file_field(
        "Add a file",
        help="JSONL, CSV or Parquet with the columns question and answer (or text), or a plain text file. It stays on "
        "this computer.",
        key=f"upload-{uploads}",
        disabled=bool(manager.read_only),
    )
    if uploaded is not None:
        try:
            st.query_params["file"] = keep_uploaded(uploaded, manager.home).path.name
        except CognateError as error:
            show_refusal(error)
        else:
            st.session_state["uploads"] = uploads + 1
            st.rerun()
    files = list_uploads(manager.home)
    named = st.query_params.get("file")
    if named is not None:
        try:
            find_upload(manager.home, named)
        except NotFound as error:
            st.warning(shown(str(error)), icon=":material/warning:")
            named = None
    if not files:
        st.caption("No file was added yet. What you add here can be looked at before anything is trained on it.")
        return None
    by_name = {file.path.name: file for file in files}
    wanted = named or files[0].path.name
    if st.session_state.get("addressed_file", "") != named:
        st.session_state["chosen_file"] = wanted  # came by a link or an upload, or back
    chosen = st.selectbox("Your files", list(by_name), format_func=_in_list(files), key="chosen_file")
    keep_in_address("file", chosen, wanted)
    st.session_state["addressed_file"] = st.query_params.get("file")
    return by_name[chosen]


def _in_list(files: list[Upload]) -> Callable[[str], str]:
    """How files are listed: Streamlit knows a choice by these words, so that no two may be alike."""
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
            lost = f"**{shown(file.label)}** is removed from the studio's folder for good. Your own copy stays."
            ask_first("Remove this file?", lost, "Remove", partial(_remove, manager, file))


def _remove(manager: RunManager, file: Upload) -> None:
    manager.remove_upload(file.path.name)
    st.query_params.pop("file", None)


def look_at(choice: "Choice", here: "dict[str, Choice]", manager: RunManager) -> None:
    """The section that was chosen; the others are not worked out."""
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
    st.caption("What runs really read. The newest eight are kept, so that the same text need not be prepared again.")
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
        st.caption(f"{damaged} more cannot be read. A run that needs such text prepares it anew.")


def choice_of(name: str, path: Path | None = None) -> "Choice | None":
    """The dataset in the state that it is in, None when it is not on this computer."""
    from cognate_core.data.inspection_cache import choice_of

    return choice_of(name, cache, path)


manager = current_manager()
cache = manager.home / "cache"
page_header("Datasets", "Look at the text that a model would learn from, before you train on it.")
here = {name: choice for name in DATASETS if (choice := choice_of(name)) is not None}
name = choose_dataset(here)
if name == OWN:
    file = choose_upload(manager)
    if file is not None and (choice := choice_of(OWN, file.path)) is not None:
        usable = True
        try:
            rows_of(choice)
        except DataError:
            usable = False  # the section says why
        upload_buttons(manager, file, usable=usable)
        look_at(choice, here, manager)
else:
    st.caption(f"{DATASETS[name].description.capitalize()}.")
    if name in here:
        look_at(here[name], here, manager)
    else:
        not_here(manager, name)
prepared_before(cache)

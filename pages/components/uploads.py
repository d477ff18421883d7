"""How pages accept, describe and name files of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from cognate_core.config import form_fields
from cognate_core.data.row_files.opening import ARCHIVE, COMPRESSIONS, FORMATS, TEXTS, suffix_of
from cognate_core.data.uploads import Upload, as_one, describe, keep
from cognate_core.data.uploads import columns as columns_in
from cognate_core.errors import CognateError
from cognate_core.insight.words import size
from pages.components.layout import show_refusal, shown

MOST_MEGABYTES = 200  # a browser's file is held in memory
NOT_USED, BY_NAME = "(none)", "By their names"
ALWAYS_UNICODE = (".xlsx", ".parquet")
MOST_NAMED = 20  # columns in a sentence
WAYS = {"Questions and answers": ("question", "answer", "context"), "Texts": ("text",), "Chats": ("messages",)}
HELP = (
    "Tables (CSV, Excel, Parquet) and JSON with columns question and answer, a chat (messages) or text; plain text; "
    "also compressed (gz, zst, zip). Several files become one. For a file over 200 MB use `cognate files add`."
)


def file_field(label: str, *, key: str | None = None, disabled: bool = False) -> list[UploadedFile]:
    """An upload field for files that can be read."""
    types = [kind.removeprefix(".") for kind in (*FORMATS, *COMPRESSIONS, ARCHIVE)]
    return st.file_uploader(
        label,
        type=types,
        help=HELP,
        key=key,
        disabled=disabled,
        accept_multiple_files=True,
        max_upload_size=MOST_MEGABYTES,
    )


def keep_uploaded(files: Sequence[UploadedFile], home: Path, *, ask: bool = False) -> Upload:
    """Save uploaded files if they can be read, several as one. `ask`: as for `keep`. Raises DataError or DiskFull."""
    if len(files) == 1:
        return keep_named(files[0].name, files[0].getvalue(), home, ask=ask)
    return keep_named(*as_one([(file.name, file.getvalue()) for file in files]), home, ask=ask)


def keep_named(name: str, content: bytes, home: Path, *, ask: bool = False) -> Upload:
    """Save a file under its name. `ask`, errors: as for `keep`."""
    with _progress() as tell:
        return keep(name, [content], home, tell, ask=ask)


@contextmanager
def _progress() -> Iterator[Callable[[str], object]]:
    """A bar that shows how much of a file has been read."""
    bar = st.progress(0, "Reading the file")

    def tell(message: str) -> None:
        percent = re.search(r"(\d+)%$", message)
        bar.progress(int(percent[1]) if percent else 0, "Reading the file")

    try:
        yield tell
    finally:
        bar.empty()


def summary(file: Upload) -> str:
    """Name, size and rows, for a list."""
    rows = "rows not counted" if file.rows is None else f"{file.rows:,} rows"
    return f"{file.label}, {size(file.bytes)}, {rows}"


def reading_form(file: Upload, *, asks: bool, disabled: bool) -> None:
    """How a file is read and what is known of it, to change both. `asks`: nobody knows what its columns are for."""
    try:
        there = columns_in(file)
    except CognateError:
        there = []
    with st.expander("How it is read, and its licence", expanded=asks):
        chosen: dict[str, Any] = dict(file.read_by)
        if there and there != ["text"]:
            chosen["dataset_columns"] = _columns(file, there, asks=asks)
        fields, kind = form_fields(), suffix_of(file.path.name)
        if kind.startswith(TEXTS) or kind == ARCHIVE:
            ways = list(get_args(fields["text_rows"].annotation))
            chosen["text_rows"] = st.selectbox(
                str(fields["text_rows"].title),
                ways,
                ways.index(file.read_by.get("text_rows", "auto")),
                help=fields["text_rows"].description,
                key=f"text_rows-{file.path.name}",
            )
        if not kind.startswith(ALWAYS_UNICODE):
            chosen["text_encoding"] = st.text_input(
                str(fields["text_encoding"].title),
                file.read_by.get("text_encoding", ""),
                placeholder="detected",
                help=fields["text_encoding"].description,
                key=f"text_encoding-{file.path.name}",
            )
        licence = st.text_input(
            "Origin and licence",
            file.licence,
            placeholder="such as: my own notes, CC BY 4.0",
            max_chars=500,
            key=f"licence-{file.path.name}",
        )
        st.caption(f"SHA-256 begins with {file.path.name.partition('.')[0]}.")
        if st.button("Apply", disabled=disabled):
            try:
                with _progress() as tell:
                    describe(file, chosen, licence, tell)
            except CognateError as error:
                show_refusal(error)
            else:
                st.rerun()


def _columns(file: Upload, there: Sequence[str], *, asks: bool) -> dict[str, str]:
    """Fields that say which column is what; {} if the names say it."""
    noted = file.read_by.get("dataset_columns", {})
    if asks:
        st.info(
            f"Choose the columns to learn from. Found: {shown(', '.join(there[:MOST_NAMED]))}.",
            icon=":material/view_column:",
        )
    ways = [*WAYS] if asks else [BY_NAME, *WAYS]
    noted_way = next((way for way, uses in WAYS.items() if noted.keys() & set(uses)), ways[0])
    way = st.selectbox("Columns", ways, ways.index(noted_way), key=f"way-{file.path.name}")
    if way == BY_NAME:
        return {}
    columns = {}
    for number, (use, place) in enumerate(zip(WAYS[way], st.columns(len(WAYS[way])), strict=True)):
        options = [NOT_USED, *there] if use == "context" else [*there]
        likely = 0 if use == "context" else min(number, len(there) - 1)
        with place:
            name = st.selectbox(
                use.capitalize(),
                options,
                options.index(noted[use]) if noted.get(use) in options else likely,
                format_func=shown,
                key=f"{use}-{file.path.name}",
            )
        if name != NOT_USED:
            columns[use] = name
    return columns

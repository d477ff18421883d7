"""How pages accept and name uploaded files."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from cognate_core.data.row_files import SUFFIXES
from cognate_core.data.uploads import MOST_BYTES, Upload, keep
from cognate_core.insight.words import size


def file_field(label: str, *, help: str, key: str | None = None, disabled: bool = False) -> UploadedFile | None:
    """An upload field for the file types that can be read."""
    types = [suffix.removeprefix(".") for suffix in SUFFIXES]
    return st.file_uploader(label, type=types, help=help, key=key, disabled=disabled, max_upload_size=MOST_BYTES >> 20)


def keep_uploaded(file: UploadedFile, home: Path) -> Upload:
    """Save an uploaded file if it can be read. Raises DataError or DiskFull."""
    with st.spinner("Reading the file"):
        return keep(file.name, [file.getvalue()], home)


def summary(file: Upload) -> str:
    """Name, size and rows, for a list."""
    rows = "rows not counted" if file.rows is None else f"{file.rows:,} rows"
    return f"{file.label}, {size(file.bytes)}, {rows}"

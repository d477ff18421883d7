"""Files of people's own: kept in the data folder under the hash of their content, listed, found again, removed.

A file's name is a label. It stands in a note beside the file, and of it only the ending becomes part of a path.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.data.files import SUFFIXES
from cognate_core.data.sources import own_file_source
from cognate_core.errors import DataError
from cognate_core.files import replace_durably
from cognate_core.insight.words import size
from cognate_core.storage.progress_log import ProgressReader, Run

UPLOADS = "uploads"  # below the data folder
NOTE_SUFFIX = ".about"
ALL_RUNS = 10**9
_NAME = re.compile("[0-9a-f]{32}(" + "|".join(map(re.escape, SUFFIXES)) + ")")


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A kept file. `label` is what its owner called it; `rows` is None when they were not counted when it came."""

    path: Path
    label: str
    bytes: int
    rows: int | None
    kept_at: float  # seconds since 1970

    @property
    def summary(self) -> str:
        """Name, size and rows, for a list."""
        rows = "rows not counted" if self.rows is None else f"{self.rows:,} rows"
        return f"{self.label}, {size(self.bytes)}, {rows}"


def file_field(label: str, *, help: str, key: str | None = None, disabled: bool = False) -> UploadedFile | None:
    """A place to drop a file of one of the kinds that can be read."""
    types = [suffix.removeprefix(".") for suffix in SUFFIXES]
    return st.file_uploader(label, type=types, help=help, key=key, disabled=disabled)


def keep(file: UploadedFile, home: Path) -> OwnFile:
    """Keep an uploaded file, once it has been read without error.

    Raises:
        DataError: it cannot be trained on.
    """
    content = file.getvalue()
    path = home / UPLOADS / (hashlib.sha256(content).hexdigest()[:32] + Path(file.name).suffix.lower())
    if not _NAME.fullmatch(path.name):
        raise DataError(f"The file cannot be read: its name must end in {', '.join(SUFFIXES)}.")
    is_new = not path.exists() or path.stat().st_size != len(content)
    if is_new:
        path.parent.mkdir(exist_ok=True)
        replace_durably(path, content)
    try:
        rows = usable_rows(str(path))
    except DataError:
        if is_new:
            path.unlink(missing_ok=True)
        raise
    replace_durably(_note(path), json.dumps({"label": file.name[:200], "rows": rows}).encode())
    return _own_file(path)


def own_files(home: Path) -> list[OwnFile]:
    """All kept files, the newest first."""
    folder = home / UPLOADS
    if not folder.is_dir():
        return []
    files = [_own_file(path) for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
    return sorted(files, key=lambda file: file.kept_at, reverse=True)


def find_own_file(home: Path, name: str) -> OwnFile:
    """The kept file of this name (hash and ending), which may come from an address.

    Raises:
        DataError: there is none.
    """
    path = home / UPLOADS / name
    if not _NAME.fullmatch(name) or not path.is_file():
        raise DataError("The file of this address is not here (any more). Upload it again, or choose another.")
    return _own_file(path)


@st.cache_data(max_entries=20, show_spinner="Reading the file")
def usable_rows(path: str) -> int:
    """How many rows of the file can be used. Raises DataError when it cannot be trained on."""
    try:
        source = own_file_source(TrainingConfig(dataset_path=path, max_train_samples=1_000_000), tell=lambda _: None)
    except DataError as error:
        raise DataError(without_path(error, path)) from error
    return len(source.train) + len(source.heldout)


def without_path(error: DataError, path: str) -> str:
    """The sentence, in which a file's name in the data folder says nothing to its owner."""
    return str(error).replace(path, "The file").replace(Path(path).name, "The file")


def run_using(log: ProgressReader, file: OwnFile) -> Run | None:
    """A run that reads the file now, or would if it went on."""
    path = file.path.resolve()
    for run in log.runs(ALL_RUNS):
        needs_it = run.status is RunStatus.QUEUED or run.status.is_active or run.status.can_resume
        if needs_it and run.config.dataset_path and path.is_relative_to(Path(run.config.dataset_path).resolve()):
            return run
    return None


def remove(log: ProgressReader, file: OwnFile) -> None:
    """Remove a kept file for good.

    Raises:
        DataError: a run needs it.
    """
    run = run_using(log, file)
    if run is not None:
        raise DataError(
            f"The run {run.name} ({run.status.value}) needs this file. Let it end, or delete the run, then remove it."
        )
    file.path.unlink(missing_ok=True)
    _note(file.path).unlink(missing_ok=True)


def _own_file(path: Path) -> OwnFile:
    stat = path.stat()
    label, rows = f"a {path.suffix.removeprefix('.')} file", None
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        label, rows = str(note["label"]), int(note["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # kept by an earlier version, or the note is damaged: the file counts
    return OwnFile(path, label, stat.st_size, rows, stat.st_mtime)


def _note(path: Path) -> Path:
    return path.with_name(path.name + NOTE_SUFFIX)

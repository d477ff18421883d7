"""Uploaded files: kept in the data folder under the hash of their content, listed, found and removed.

A file's name is only a label, stored in a note beside the file. Only its ending becomes part of a path.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.data.row_files import SUFFIXES
from cognate_core.data.sources import own_file_source
from cognate_core.errors import DataError, DiskFull, NotFound, StorageError
from cognate_core.files import is_disk_full, replace_durably, sync_file, sync_folder

UPLOADS = "uploads"  # below the data folder
MOST_BYTES = 200 * 2**20  # its rows are read into memory
NOTE_SUFFIX = ".about"
_NAME = re.compile("[0-9a-f]{32}(" + "|".join(map(re.escape, SUFFIXES)) + ")")


@dataclass(frozen=True, slots=True)
class Upload:
    """A kept file. `label` is its owner's name for it; `rows` is None if they were not counted on upload."""

    path: Path
    label: str
    bytes: int
    rows: int | None
    kept_at: float  # seconds since 1970


def keep(label: str, content: Iterable[bytes], home: Path) -> Upload:
    """Keep a file that arrives in pieces, once it has been read without error.

    Raises:
        DataError: it is too large, or cannot be trained on.
        DiskFull: the disk has no room for it.
    """
    suffix = Path(label).suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"The file cannot be read: its name must end in {', '.join(SUFFIXES)}.")
    folder = home / UPLOADS
    folder.mkdir(exist_ok=True)
    coming = folder / f"{uuid.uuid4().hex}.coming"
    try:
        digest, size = hashlib.sha256(), 0
        with coming.open("xb") as file:
            for piece in content:
                size += len(piece)
                if size > MOST_BYTES:
                    raise DataError(f"The file is larger than {MOST_BYTES >> 20:,} MB. Upload fewer rows.")
                digest.update(piece)
                file.write(piece)
        path = folder / (digest.hexdigest()[:32] + suffix)
        is_new = not path.exists() or path.stat().st_size != size
        if is_new:
            sync_file(coming)
            coming.replace(path)
            sync_folder(folder)
        try:
            rows = usable_rows(str(path))
        except BaseException:
            if is_new:
                path.unlink(missing_ok=True)
            raise
        replace_durably(_note(path), json.dumps({"label": label[:200], "rows": rows}).encode())
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull("The disk is full: the file was not kept. Free some space, then upload it again.") from error
        raise
    finally:
        coming.unlink(missing_ok=True)
    return _upload(path)


def list_uploads(home: Path) -> list[Upload]:
    """All kept files, newest first."""
    folder = home / UPLOADS
    if not folder.is_dir():
        return []
    files = [_upload(path) for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
    return sorted(files, key=lambda file: file.kept_at, reverse=True)


def find_upload(home: Path, name: str) -> Upload:
    """The kept file with this name (hash and ending), which may come from a URL. Raises NotFound if there is none."""
    path = home / UPLOADS / name
    if not _NAME.fullmatch(name) or not path.is_file():
        raise NotFound("This file is not here. Upload it again, or choose another.")
    return _upload(path)


def remove(file: Upload) -> None:
    """Remove a kept file for good. Raises StorageError if that fails."""
    try:
        file.path.unlink(missing_ok=True)
        _note(file.path).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{file.label} could not be removed ({error.strerror or error}).") from error


@functools.lru_cache(maxsize=20)
def usable_rows(path: str) -> int:
    """How many rows of a kept file can be used. Raises DataError if it cannot be trained on."""
    try:
        source = own_file_source(TrainingConfig(dataset_path=path, max_train_samples=1_000_000), tell=lambda _: None)
    except DataError as error:
        raise DataError(without_path(error, path)) from error
    return len(source.train) + len(source.heldout)


def without_path(error: DataError, path: str) -> str:
    """The sentence with "The file" in place of its name in the data folder, which means nothing to its owner."""
    return str(error).replace(path, "The file").replace(Path(path).name, "The file")


def _upload(path: Path) -> Upload:
    stat = path.stat()
    label, rows = f"a {path.suffix.removeprefix('.')} file", None
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        label, rows = str(note["label"]), int(note["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # kept by an earlier version, or the note is damaged: list the file all the same
    return Upload(path, label, stat.st_size, rows, stat.st_mtime)


def _note(path: Path) -> Path:
    return path.with_name(path.name + NOTE_SUFFIX)

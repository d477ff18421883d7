"""Uploaded files: kept in the data folder under the hash of their content, listed, found and removed.

A file's name is only a label, stored in a note beside the file. Only its ending becomes part of a path.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cognate_core.config import READ_BY, TrainingConfig
from cognate_core.contracts import BEYOND_LIMIT
from cognate_core.data.documents import own_file_columns
from cognate_core.data.own_file import columns_of, own_file_source
from cognate_core.data.row_files.opening import ARCHIVE, SUFFIXES, advice_for, suffix_of
from cognate_core.data.row_files.tables import SEPARATORS
from cognate_core.data.sources import Tell
from cognate_core.errors import DataError, DiskFull, NotFound, StorageError
from cognate_core.files import is_disk_full, plain_name, replace_durably, sync_file, sync_folder

UPLOADS = "uploads"  # below the data folder
MOST_BYTES = 4 * 2**30
_USUAL = TrainingConfig()
NOTE_SUFFIX = ".about"
_NAME = re.compile("[0-9a-f]{32}(" + "|".join(map(re.escape, SUFFIXES)) + ")")


@dataclass(frozen=True, slots=True)
class Upload:
    """A kept file, and its card.

    Attributes:
        label: its owner's name for it.
        rows: usable ones; None if they were not counted, or if nobody has said which columns to use.
        kept_at: seconds since 1970.
        read_by: settings that say how it is read, where they differ from the defaults.
        licence: what its owner said of its origin and licence.
    """

    path: Path
    label: str
    bytes: int
    rows: int | None
    kept_at: float
    read_by: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings with which a run reads it."""
        return {**self.read_by, "dataset_path": str(self.path)}

    def read_by_run(self, config: TrainingConfig) -> TrainingConfig:
        """`config` with this file as its data, read as its owner said, where `config` says nothing else."""
        unsaid = {name: value for name, value in self.read_by.items() if getattr(config, name) == getattr(_USUAL, name)}
        return config.model_copy(update={**unsaid, "dataset_path": str(self.path)})


def keep(
    label: str,
    content: Iterable[bytes],
    home: Path,
    tell: Tell = lambda _: None,
    read_by: Mapping[str, Any] | None = None,
    licence: str = "",
    *,
    ask: bool = False,
) -> Upload:
    """Keep a file that arrives in pieces, once it has been read without error.

    `ask`: also keep one whose columns nobody knows how to use: its owner will be asked.

    Raises:
        DataError: it is too large, or cannot be trained on.
        DiskFull: the disk has no room for it.
    """
    suffix = suffix_of(label)
    if not suffix:
        raise DataError(f"The file cannot be read: {advice_for(label)}.")
    folder = home / UPLOADS
    folder.mkdir(exist_ok=True)
    coming = folder / f"{uuid.uuid4().hex}.coming"
    try:
        digest, size = hashlib.sha256(), 0
        with coming.open("xb") as file:
            for piece in content:
                size += len(piece)
                if size > MOST_BYTES:
                    raise DataError(f"The file is larger than {MOST_BYTES >> 20:,} MB. Add fewer rows.")
                digest.update(piece)
                file.write(piece)
        path = folder / (digest.hexdigest()[:32] + suffix)
        is_new = not path.exists() or path.stat().st_size != size
        if is_new:
            sync_file(coming)
            coming.replace(path)
            sync_folder(folder)
        kept = _upload(path)
        try:
            return describe(
                replace(kept, label=plain_name(label)[:200]),
                kept.read_by if read_by is None else read_by,
                licence or kept.licence,
                tell,
                ask=ask,
            )
        except BaseException:
            if is_new:
                remove(kept)
            raise
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull("The disk is full: the file was not kept. Free some space, then upload it again.") from error
        raise
    finally:
        coming.unlink(missing_ok=True)


def describe(
    file: Upload, read_by: Mapping[str, Any], licence: str, tell: Tell = lambda _: None, *, ask: bool = False
) -> Upload:
    """Change how a kept file is read, and what is said of its licence. `ask`: as for `keep`.

    Raises:
        ConfigError: a setting cannot be used.
        DataError: read so, the file cannot be trained on. Nothing is changed.
    """
    config = TrainingConfig.from_values({**read_by, "dataset_path": str(file.path)})
    changed = {name: value for name in READ_BY if (value := getattr(config, name)) != getattr(_USUAL, name)}
    rows = file.rows if changed == file.read_by else None
    file = replace(file, read_by=changed)
    try:
        rows = rows or usable_rows(file, tell)
    except DataError:
        if not (ask and columns_are_unknown(file)):
            raise
        rows = None
    note = {"label": file.label, "rows": rows, "read_by": changed, "licence": licence[:500]}
    replace_durably(_note(file.path), json.dumps(note).encode())
    return _upload(file.path)


def columns_are_unknown(file: Upload) -> bool:
    """Whether it has rows, and nobody has said what their columns are for."""
    try:
        return bool(there := columns(file)) and not file.read_by.get("dataset_columns") and not own_file_columns(there)
    except DataError:
        return False


def columns(file: Upload) -> list[str]:
    """The columns of its first row. Raises DataError if it cannot be read."""
    return list(_columns(file.path, json.dumps(dict(file.read_by))))


@functools.lru_cache(maxsize=20)  # a kept file does not change
def _columns(path: Path, read_by: str) -> list[str]:
    with unnamed(path):
        return columns_of(TrainingConfig.from_values({**json.loads(read_by), "dataset_path": str(path)}))


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


def usable_rows(file: Upload, tell: Tell = lambda _: None) -> int:
    """How many rows of a kept file can be used. Raises DataError if it cannot be trained on."""
    with unnamed(file.path):
        source = own_file_source(TrainingConfig.from_values(file.settings), tell)
    beyond = sum(count for why, count in source.skipped.items() if why.startswith(BEYOND_LIMIT))
    return len(source.train) + len(source.heldout) + beyond


def as_one(files: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Several files as one archive, with a name: the same files always make the same archive.

    Raises:
        DataError: one of them cannot be read, or is an archive itself.
    """
    buffer, names = io.BytesIO(), set[str]()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (name, content) in enumerate(sorted((plain_name(name), content) for name, content in files)):
            if suffix_of(name) in ("", ARCHIVE):
                raise DataError(f"{name} cannot be added together with others. Add it alone, or leave it out.")
            inside = f"{number}/{name}" if name in names else name
            names.add(inside)
            archive.writestr(zipfile.ZipInfo(inside), content)
    return f"{len(files)} files.zip", buffer.getvalue()


def pasted(text: str) -> tuple[str, bytes]:
    """A pasted text as a file; its name says what it looks like: JSON, a table with columns that are known, or text."""
    lines = text.strip().removeprefix("\ufeff").splitlines() or [""]
    suffix = ".txt"
    if _is_json(text):
        suffix = ".json"
    elif _is_json(lines[0]):
        suffix = ".jsonl"
    elif len(lines) > 1:
        for separator in SEPARATORS:
            (head,), (row,) = (list(csv.reader([line], delimiter=separator)) or [[]] for line in lines[:2])
            if len(head) == len(row) > 1 and own_file_columns(head):
                suffix = ".csv"
    return f"pasted text{suffix}", text.encode(errors="replace")


def _is_json(text: str) -> bool:
    """Whether a text is a JSON object or a list of such."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(each, dict) for each in value))


@contextmanager
def unnamed(path: Path) -> Iterator[None]:
    """Leave the file's name in the data folder out of the sentence of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(without_path(str(error), str(path))) from error


def without_path(sentence: str, path: str) -> str:
    """The sentence with "The file" in place of its name in the data folder, which means nothing to its owner."""
    return sentence.replace(path, "The file").replace(Path(path).name, "The file")


def _upload(path: Path) -> Upload:
    stat = path.stat()
    file = Upload(path, f"a {path.suffix.removeprefix('.')} file", stat.st_size, None, stat.st_mtime)
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        rows = None if note["rows"] is None else int(note["rows"])
        read_by = {name: note.get("read_by", {})[name] for name in READ_BY if name in note.get("read_by", {})}
        return replace(file, label=str(note["label"]), rows=rows, read_by=read_by, licence=str(note.get("licence", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return file  # kept by an earlier version, or the note is damaged: list the file all the same


def _note(path: Path) -> Path:
    return path.with_name(path.name + NOTE_SUFFIX)

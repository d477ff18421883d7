"""The memory of a conversation as a file beside the model's weights."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from cognate_core.contracts import MEMORY_FILE
from cognate_core.errors import StorageError
from cognate_core.model.memory import MemoryBank


def save_memory(folder: Path, bank: MemoryBank) -> None:
    """Write the bank into a model's folder, with the hash of the weights that made it, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    tensors = {field.name: getattr(bank, field.name).contiguous() for field in dataclasses.fields(bank)}
    temporary = folder / f"{MEMORY_FILE}.tmp-{uuid.uuid4().hex}"  # another page may be writing, too
    try:
        owner = {"weights_sha256": _weights_sha256(folder), "notes": str(int(bank.filled.sum()))}
        temporary.write_bytes(save(tensors, metadata=owner))
        temporary.replace(folder / MEMORY_FILE)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"The memory cannot be kept ({error}).") from error


def load_memory(folder: Path) -> MemoryBank | None:
    """What `save_memory` wrote; None if there is no file.

    Raises:
        StorageError: the file is damaged, or belongs to other weights.
    """
    owner = _owner(folder)
    if owner is None:
        return None
    try:
        bank = MemoryBank(**load_file(folder / MEMORY_FILE))
        fits = owner["weights_sha256"] == _weights_sha256(folder)
    except Exception as error:  # a file can be damaged in any way
        raise _unreadable(error) from error
    if not fits:
        raise StorageError(
            "The kept memory belongs to other weights and is not used. Forget it to start with an empty one."
        )
    return bank


def kept_notes(folder: Path) -> int:
    """How many notes `save_memory` wrote, from the file's header; 0 if there is no file.

    Raises:
        StorageError: the file is damaged.
    """
    owner = _owner(folder)
    try:
        return 0 if owner is None else int(owner["notes"])
    except (KeyError, ValueError) as error:
        raise _unreadable(error) from error


def _owner(folder: Path) -> dict[str, str] | None:
    """The metadata in the file's header; None if there is no file."""
    path = folder / MEMORY_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except Exception as error:  # a file can be damaged in any way
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> StorageError:
    return StorageError(f"The kept memory cannot be opened ({error}). Forget it to start with an empty one.")


def _weights_sha256(folder: Path) -> str:
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The memory of a conversation as a file beside the model's weights."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cognate_core.contracts import MEMORY_FILE
from cognate_core.errors import StorageError
from cognate_core.model.memory import MemoryBank


def save_memory(folder: Path, bank: MemoryBank) -> None:
    """Write the bank into a model's folder, with the hash of the weights that made it, whole or not at all."""
    tensors = {field.name: getattr(bank, field.name).contiguous() for field in dataclasses.fields(bank)}
    temporary = folder / f"{MEMORY_FILE}.tmp"
    save_file(tensors, temporary, metadata={"weights_sha256": _weights_sha256(folder)})
    temporary.replace(folder / MEMORY_FILE)


def load_memory(folder: Path) -> MemoryBank | None:
    """What `save_memory` wrote; None when there is nothing.

    Raises:
        StorageError: the file is damaged, or belongs to other weights.
    """
    path = folder / MEMORY_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            owner = (file.metadata() or {}).get("weights_sha256")
        bank = MemoryBank(**load_file(path))
    except Exception as error:  # a file can be damaged in any way
        raise StorageError(f"The kept memory cannot be opened ({error}). Forget it to begin anew.") from error
    if owner != _weights_sha256(folder):
        raise StorageError("The kept memory belongs to other weights and is not used. Forget it to begin anew.")
    return bank


def _weights_sha256(folder: Path) -> str:
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Checkpoints: everything that training continues from, written so that it is there whole or not at all.

step-00000400/
    model.safetensors      weights
    optimizer.safetensors  AdamW and GrokFast tensors
    state.json             step, data position, scalars
    manifest.json          sha256 of each of them, written last
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from cognate_core.errors import StorageError

KEPT_CHECKPOINTS = 3
MANIFEST = "manifest.json"
PARTS = ("model.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """model: weights by name. tensors: optimizer and filter state by name. state: JSON values, with "step"."""

    model: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint below `folder` and remove all but the newest KEPT_CHECKPOINTS; its path."""
    step = checkpoint.state["step"]
    final = folder / f"step-{step:08d}"
    temporary = folder / f"{final.name}.tmp-{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    try:
        contents = (
            safetensors.torch.save(_plain(checkpoint.model)),
            safetensors.torch.save(_plain(checkpoint.tensors)),
            json.dumps(checkpoint.state, indent=1).encode(),
        )
        parts = dict(zip(PARTS, contents, strict=True))
        for name, content in parts.items():
            write_durably(temporary / name, content)
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
        write_durably(temporary / MANIFEST, json.dumps(checksums, indent=1).encode())
        temporary.rename(final)
        _sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in sorted(folder.glob("step-????????"))[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(old)
    return final


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check each file against its checksum.

    Raises:
        StorageError: a file is missing or differs from what was written.
    """
    try:
        checksums = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        parts = {name: (path / name).read_bytes() for name in PARTS}
        wrong = [name for name, content in parts.items() if hashlib.sha256(content).hexdigest() != checksums[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"The checkpoint {path.name} is not complete and cannot be used.") from error
    if wrong:
        raise StorageError(f"The checkpoint {path.name} is damaged ({wrong[0]} has changed) and cannot be used.")
    return Checkpoint(
        model=safetensors.torch.load(parts["model.safetensors"]),
        tensors=safetensors.torch.load(parts["optimizer.safetensors"]),
        state=json.loads(parts["state.json"]),
    )


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

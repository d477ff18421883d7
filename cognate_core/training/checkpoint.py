"""Checkpoints: everything that training needs to continue, written whole or not at all.

step-00000400/
    model.safetensors      weights
    optimizer.safetensors  optimizer and GrokFast tensors
    state.json             step, data position, scalars
    manifest.json          sha256 of each file above, written last

Only these checksums decide whether a checkpoint is sound: safetensors does not notice a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cognate_core.contracts import CHECKPOINT_MANIFEST, spread_checkpoints
from cognate_core.errors import DiskFull, StorageError
from cognate_core.files import is_disk_full, require_space, sync_folder, write_pieces_durably
from cognate_core.training.tensor_file import tensor_pieces

KEPT_CHECKPOINTS = 3  # the newest; the best is kept, too
PARTS = ("model.safetensors", "optimizer.safetensors", "state.json")
ROOM_FOR_THE_REST = 1_000_000  # bytes beside the tensors: state, manifest, log
_PATTERN = "step-????????"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """model: weights by name. tensors: optimizer and filter state by name. state: JSON values, with "step".

    "score" in the state, if it was measured at that step, decides which checkpoint is the best: the lowest is.
    """

    model: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def checkpoint_path(folder: Path, step: int) -> Path:
    """The path of this step's checkpoint below `folder`."""
    return folder / f"step-{step:08d}"


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint below `folder`, read it back, then remove older ones. Returns its path.

    Raises:
        DiskFull: there is no room for it. Earlier checkpoints are untouched.
        StorageError: reading it back gives something else than was written.
    """
    step = checkpoint.state["step"]
    final = checkpoint_path(folder, step)
    tensors = [*checkpoint.model.values(), *checkpoint.tensors.values()]
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors) + ROOM_FOR_THE_REST
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, needed, "a checkpoint")
    temporary = folder / f"{final.name}.tmp-{uuid.uuid4().hex}"
    try:
        temporary.mkdir()
        contents = (
            tensor_pieces(checkpoint.model),
            tensor_pieces(checkpoint.tensors),
            [json.dumps(checkpoint.state, indent=1, allow_nan=False).encode()],
        )
        checksums = {
            name: write_pieces_durably(temporary / name, content) for name, content in zip(PARTS, contents, strict=True)
        }
        write_pieces_durably(temporary / CHECKPOINT_MANIFEST, [json.dumps(checksums, indent=1).encode()])
        sync_folder(temporary)
        if final.exists():  # saved before a resume, without the held-out check of this step
            final.rename(folder / f"{final.name}.tmp-{uuid.uuid4().hex}")  # removed with leftovers of interrupted saves
        temporary.rename(final)
        sync_folder(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_disk_full(error) and not isinstance(error, DiskFull):
            require_space(folder, needed, "a checkpoint")  # says how much, after the unfinished one is removed
            raise DiskFull(f"The disk is full: a checkpoint needs {needed / 1e6:,.1f} MB. Free some space.") from error
        raise
    _check(final)
    _remove_old(folder)
    return final


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify each file's checksum. The tensors belong only to the caller.

    Raises:
        StorageError: a file is missing or has changed.
    """
    _check(path)
    try:
        # Not memory-mapped: later changes to the files cannot reach the tensors.
        model, tensors = (load_file(path / name, backend="pread") for name in PARTS[:2])
        state = json.loads((path / PARTS[2]).read_bytes())
        if "calculator" in state:  # its name in earlier versions
            state["compute_environment"] = state.pop("calculator")
        return Checkpoint(model, tensors, state)
    except (OSError, ValueError, SafetensorError) as error:  # changed since it was checked
        raise _incomplete(path) from error


def newest_checkpoint(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest sound checkpoint, or None. Newer damaged ones are reported to `say` and set aside.

    Leftovers of interrupted saves are removed.
    """
    _sweep(folder)
    for path in sorted(folder.glob(_PATTERN), reverse=True):
        try:
            return load_checkpoint(path)
        except StorageError as error:
            say(str(error))
            path.rename(path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}"))
    return None


def _check(path: Path) -> None:
    """Raises StorageError if a file of a checkpoint is missing or has changed."""
    try:
        checksums = json.loads((path / CHECKPOINT_MANIFEST).read_text(encoding="utf-8"))
        wrong = [name for name in PARTS if _sha256(path / name) != checksums[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _incomplete(path) from error
    if wrong:
        raise StorageError(f"The checkpoint {path.name} is damaged ({wrong[0]} has changed) and cannot be used.")


def _incomplete(path: Path) -> StorageError:
    return StorageError(f"The checkpoint {path.name} is incomplete and cannot be used.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_old(folder: Path) -> None:
    """Keep the newest few, the best one, and some spread over the run."""
    _sweep(folder)
    paths = sorted(folder.glob(_PATTERN))
    older = paths[:-KEPT_CHECKPOINTS]
    best = min(paths, key=_score)
    if best in older and _score(best) != float("inf"):  # without a measurement there is no best
        older.remove(best)
    size = sum(part.stat().st_size for part in paths[-1].iterdir())
    kept = spread([_step(path) for path in older], spread_checkpoints(size), until=_step(paths[-1]))
    for old in older:
        if _step(old) not in kept:
            shutil.rmtree(old)


def spread(steps: Sequence[int], count: int, until: int) -> list[int]:
    """`count` of the steps, spread over 0 to `until`: of two close neighbours, the later is dropped."""
    kept = list(steps)
    while len(kept) > count:
        ends = [0, *kept, until]
        room = [ends[n + 2] - ends[n] for n in range(len(kept))]  # the gap if step n were dropped
        kept.pop(len(room) - 1 - room[::-1].index(min(room)))
    return kept


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _sweep(folder: Path) -> None:
    """Remove leftovers of interrupted saves."""
    for leftover in folder.glob(f"{_PATTERN}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _score(path: Path) -> float:
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        score = state.get("score", state.get("heldout_loss"))  # the latter from earlier versions
    except (OSError, ValueError, AttributeError):
        score = None
    return float("inf") if score is None else float(score)

"""How far each part of a model's weights moved between two checkpoints. Two tensors are in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from cognate_core.errors import StorageError
from cognate_core.inference.playground import checkpoint_file

OTHER_PARTS = {
    "embedding": "embedding",
    "pondering": "pondering",
    "writer": "memory writer",
    "final_norm": "last norm",
    "head": "head",
}


@dataclass(frozen=True, slots=True)
class PartChange:
    """||W2 - W1|| / ||W1|| over all weights of a layer or another part; None if that is not a number."""

    part: str
    change: float | None


def weight_changes(folder: Path, before: int | None, after: int | None) -> list[PartChange]:
    """The change of each part, in the order in which a text passes them.

    Args:
        before, after: steps of checkpoints of the model in `folder`; None: the finished model.

    Raises:
        StorageError: a file is gone or damaged, or the two do not have the same tensors.
    """
    squares: dict[str, list[float]] = {}
    with _tensors(folder, before) as first, _tensors(folder, after) as second:
        names = list(first.keys())
        if set(names) != set(second.keys()):
            raise StorageError("The two checkpoints have different parts, so they cannot be compared.")
        for name in names:
            weights = first.get_tensor(name).float()
            moved = second.get_tensor(name).float() - weights
            sums = squares.setdefault(_part(name), [0.0, 0.0])
            for place, each in enumerate((moved, weights)):
                sums[place] += float(torch.linalg.vector_norm(each, dtype=torch.float64)) ** 2
    return [PartChange(part, _ratio(*squares[part])) for part in sorted(squares, key=_place)]


@contextmanager
def _tensors(folder: Path, step: int | None) -> Iterator[Any]:
    """The tensors of a checkpoint, read when asked for. Nothing is unpickled."""
    if step is not None:
        with checkpoint_file(folder, step) as file, safe_open(file, framework="pt", backend="pread") as tensors:
            yield tensors
        return
    try:
        with safe_open(folder / "model.safetensors", framework="pt", backend="pread") as tensors:
            yield tensors
    except (OSError, SafetensorError) as error:
        raise StorageError(f"The model in {folder.name} cannot be opened ({error}).") from error


def _part(name: str) -> str:
    first, second = name.split(".")[:2]
    return f"layer {int(second) + 1}" if first == "blocks" else OTHER_PARTS.get(first, first)


def _place(part: str) -> tuple[int, int, str]:
    if part.startswith("layer "):
        return 1, int(part.removeprefix("layer ")), ""
    return (0 if part == "embedding" else 2), [*OTHER_PARTS.values(), part].index(part), part


def _ratio(moved: float, size: float) -> float | None:
    ratio = math.sqrt(moved / size) if size else math.nan
    return ratio if math.isfinite(ratio) else None

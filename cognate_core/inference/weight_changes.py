"""How far each layer of a model moved between two checkpoints. Two tensors are in memory at a time."""

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
from cognate_core.model.layer_names import in_order, layer_of


@dataclass(frozen=True, slots=True)
class LayerChange:
    """||W2 - W1|| / ||W1|| over all weights of a layer; None if that is not a number."""

    layer: str
    change: float | None


def weight_changes(folder: Path, before: int | None, after: int | None) -> list[LayerChange]:
    """The change of each layer, in the order in which a text passes them.

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
            sums = squares.setdefault(layer_of(name), [0.0, 0.0])
            for place, each in enumerate((moved, weights)):
                sums[place] += float(torch.linalg.vector_norm(each, dtype=torch.float64)) ** 2
    return [LayerChange(layer, _ratio(*squares[layer])) for layer in in_order(squares)]


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


def _ratio(moved: float, size: float) -> float | None:
    ratio = math.sqrt(moved / size) if size else math.nan
    return ratio if math.isfinite(ratio) else None

"""The layers of a model that a person can name, from the names of its weights."""

from __future__ import annotations

from collections.abc import Iterable

_NAMES = {
    "embedding": "embedding",
    "token_embeddings": "embedding",
    "position_embeddings": "embedding",
    "writer": "memory",
    "pondering": "halting",
    "final_norm": "output",
    "ln_f": "output",
    "head": "output",
}
_RANKS = {"embedding": 0, "memory": 3, "halting": 4, "output": 5}  # numbered layers have 1, unknown names 2


def layer_of(weight: str, core: range | None = None) -> str:
    """The layer that a weight belongs to: "layer 1", or with the `core` of a model that ponders, "prelude 1", "core 2",
    "coda 3". What the layers read memory with belongs to "memory"; the last norm belongs to "output"."""
    first, second = weight.split(".")[:2]
    if ".memory." in weight:
        return "memory"
    if first not in ("blocks", "layers"):
        return _NAMES.get(first, first)
    number = int(second)
    part = "layer" if core is None else "prelude" if number < core.start else "core" if number < core.stop else "coda"
    return f"{part} {number + 1}"


def in_order(layers: Iterable[str]) -> list[str]:
    """The names of layers in the order in which text passes them."""
    return sorted(layers, key=_place)


def _place(layer: str) -> tuple[int, int]:
    _, _, number = layer.partition(" ")
    return (1, int(number)) if number else (_RANKS.get(layer, 2), 0)

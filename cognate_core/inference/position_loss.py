"""The held-out loss of a model by position in the text: whether it uses what it has read.

Handles models and prepared data; no pages, no database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import DataError
from cognate_core.model import CognateModel, CognateState

FIRST_BUCKET = 8  # positions; each later bucket ends at twice the position of the one before
AT_ONCE = 512  # tokens whose logits are held


@dataclass(frozen=True, slots=True)
class PositionLoss:
    """The mean loss in nats of `tokens` tokens at the positions `first` to `last` of their texts, counted from 1."""

    first: int
    last: int
    loss: float
    tokens: int


def prepared_for(cache: Path, data_hash: str) -> PreparedData:
    """The data that a run was trained on.

    Raises:
        DataError: it was removed, or is damaged.
    """
    folder = cache / "prepared" / data_hash
    if not folder.exists():
        raise DataError(
            "The prepared text of this run is no longer there, so its held-out rows cannot be read. Start a run with "
            "the same data: it prepares the text again."
        )
    return PreparedData(folder)


def loss_by_position(
    model: CognateModel, data: PreparedData, most: int, say: Callable[[int, int], object] = lambda done, total: None
) -> dict[str, list[PositionLoss]]:
    """For each dataset, the mean loss of the tokens that count, by their position in their own text.

    Args:
        most: at most so many held-out sequences of each dataset, evenly spaced over all.
        say: receives how many sequences are read, of how many.

    Raises:
        DataError: no held-out token counts.
    """
    heldout = {source: data.packed(source, "heldout") for source in data.sources}
    chosen = {source: _evenly(len(packed.tokens), most) for source, packed in heldout.items()}
    total, done = sum(map(len, chosen.values())), 0
    found: dict[str, list[PositionLoss]] = {}
    for source, packed in heldout.items():
        sums: npt.NDArray[np.float64] = np.zeros((2, 0))  # losses and tokens of each bucket
        for index in chosen[source]:
            say(done, total)
            tokens, counted = packed.tokens[index].astype(np.int64), packed.counted[index, 1:].astype(bool)
            buckets = bucket_of(positions_of(tokens)[counted])
            losses = token_losses(model, tokens)[counted]
            size = max(sums.shape[1], int(buckets.max(initial=-1)) + 1)
            sums = np.pad(sums, ((0, 0), (0, size - sums.shape[1])))
            sums += [np.bincount(buckets, weights, size) for weights in (losses, np.ones_like(losses))]
            done += 1
        rows = [
            PositionLoss(*_ends(n), float(loss / count), int(count)) for n, (loss, count) in enumerate(sums.T) if count
        ]
        if rows:
            found[source] = rows
    if not found:
        raise DataError(
            "No held-out text of this run counts as something to predict, so there is nothing to measure. Start a run "
            "that holds out more rows."
        )
    return found


@torch.no_grad()
def token_losses(model: CognateModel, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The loss in nats of each token after the first, (length - 1,)."""
    ids, state = torch.from_numpy(tokens), CognateState()
    losses = []
    for start in range(0, len(tokens) - 1, AT_ONCE):
        here = slice(start, min(start + AT_ONCE, len(tokens) - 1))
        logits = model(ids[None, here], state=state).logits[0].float()
        losses.append(F.cross_entropy(logits, ids[start + 1 : here.stop + 1], reduction="none"))
    return torch.cat(losses).double().numpy()


def positions_of(tokens: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The position in its own text of each token after the first, (length - 1,): 1 after an end of text, or after the
    first token of all."""
    places = np.arange(len(tokens))
    begins = np.maximum.accumulate(np.where(tokens == END_OF_TEXT_ID, places, 0))
    return (places[1:] - begins[:-1]).astype(np.int64)


def bucket_of(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The number of each position's bucket: 0 for 1 to 8, 1 for 9 to 16, 2 for 17 to 32, and so on."""
    doublings = np.ceil(np.log2(np.maximum(positions, FIRST_BUCKET) / FIRST_BUCKET))
    return doublings.astype(np.int64)


def _ends(bucket: int) -> tuple[int, int]:
    return (FIRST_BUCKET * 2 ** (bucket - 1) + 1 if bucket else 1), FIRST_BUCKET * 2**bucket


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist() if count else []

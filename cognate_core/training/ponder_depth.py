"""How many ponder steps a training batch takes: its depth is drawn from what tokens asked for recently.

If a batch chose its own depth, each token would learn something about those after it, and the workers that share the
batch would have to agree on it. So the depth is drawn from earlier batches and the seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cognate_core.training.process_group import ProcessGroup

FOLLOWED = 0.1  # how far the shares move towards those of a step


class PonderDepth:
    """After each ponder step, the share of tokens that ask for another, of those that took it.

    A batch takes n steps as often as tokens recently asked for n. On average, its layers then work no more than if
    each token halted by itself, and each depth is trained as often as it is needed.

    Attributes:
        going_on: for each step, from the first, a share from 0 to 1; None: no batch has reached it.
    """

    def __init__(self, most: int) -> None:
        self.going_on: list[float | None] = [None] * most
        self._counts = torch.zeros(most, 2, dtype=torch.long)

    def drawn(self, limit: int, key: Sequence[int]) -> int:
        """A depth from 1 to `limit`, random by `key`; a step whose share is unknown is always followed by another."""
        luck, still = np.random.default_rng(key).random(), 1.0
        for depth in range(1, limit):
            share = self.going_on[depth - 1]
            still *= 1.0 if share is None else share
            if luck >= still:
                return depth
        return limit

    def add(self, asked: Tensor, depth: int) -> None:
        """Count the steps that tokens of a batch of this depth asked for, (tokens,)."""
        for n in range(1, depth + 1):
            self._counts[n - 1, 0] += (asked >= n).sum()
            self._counts[n - 1, 1] += (asked > n).sum()

    def follow(self, group: ProcessGroup) -> None:
        """Move the shares towards the counts of all workers since `forget`."""
        for n, (reached, went_on) in enumerate(group.sum_(self._counts.clone()).tolist()):
            if reached:
                before, share = self.going_on[n], went_on / reached
                self.going_on[n] = share if before is None else before + FOLLOWED * (share - before)

    def forget(self) -> None:
        """Begin a new training step."""
        self._counts.zero_()

"""How many ponder steps the batches of training take: each draws its depth from what tokens asked for lately.

A depth that a batch chose for itself would tell each token something of those after it, and would have to be agreed on
by the workers that share the batch. So it is drawn from the batches before it, and from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cognate_core.training.process_group import ProcessGroup

FOLLOWED = 0.1  # by how much of the way the shares follow those of a step


class PonderDepth:
    """The share of tokens that ask for more after each ponder step, of those that were still pondering at it.

    A batch takes n steps as often as tokens lately asked for n, so that its layers work no more on average than if each
    token had halted by itself, and what follows a step is learned as often as it is needed.

    Attributes:
        going_on: for each step from the first, a share from 0 to 1; None: no batch went as far.
    """

    def __init__(self, most: int) -> None:
        self.going_on: list[float | None] = [None] * most
        self._counts = torch.zeros(most, 2, dtype=torch.long)

    def drawn(self, limit: int, key: Sequence[int]) -> int:
        """A depth from 1 to `limit`, by `key` alone; the limit where nobody knows yet who would go on."""
        luck, still = np.random.default_rng(key).random(), 1.0
        for depth in range(1, limit):
            share = self.going_on[depth - 1]
            still *= 1.0 if share is None else share
            if luck >= still:
                return depth
        return limit

    def add(self, asked: Tensor, depth: int) -> None:
        """Take in the steps that tokens of a batch of this depth asked for, (tokens,)."""
        for n in range(1, depth + 1):
            self._counts[n - 1, 0] += (asked >= n).sum()
            self._counts[n - 1, 1] += (asked > n).sum()

    def follow(self, group: ProcessGroup) -> None:
        """Follow what was taken in since `forget`, by all workers."""
        for n, (reached, went_on) in enumerate(group.sum_(self._counts.clone()).tolist()):
            if reached:
                before, share = self.going_on[n], went_on / reached
                self.going_on[n] = share if before is None else before + FOLLOWED * (share - before)

    def forget(self) -> None:
        """Begin another step of training."""
        self._counts.zero_()

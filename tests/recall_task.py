"""The recall task shows whether a memory helps: a fact is told early and asked for much later.

It makes sequences of token ids. Between facts and questions is filler that is easy to predict and longer than any
attention window: without a memory, the answers can only be guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognate_core.contracts import END_OF_TEXT_ID

FACT, QUESTION = 1, 2  # the tokens that open a fact and a question
FIRST_FILLER = 3


@dataclass(frozen=True, slots=True)
class RecallTask:
    """Facts `FACT key value`, filler, then a question `QUESTION key value` for each fact, in random order.

    Attributes:
        keys, values: how many different ones there are; a guess is right once in `values` times.
        facts: facts told and asked for in each sequence, each with a different key.
        distance: the fewest tokens between telling a fact and asking for it.
        fillers: the filler cycles through this many tokens.
    """

    keys: int = 16
    values: int = 16
    facts: int = 6
    distance: int = 144
    fillers: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.facts <= self.keys:
            raise ValueError(f"There must be 1 to {self.keys} facts, each with its own key; got {self.facts}.")

    @property
    def vocab_size(self) -> int:
        return FIRST_FILLER + self.fillers + self.keys + self.values

    @property
    def length(self) -> int:
        """Tokens of a sequence, including the end-of-text before it."""
        return 1 + 3 * self.facts + self.distance + 3 * self.facts

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.values

    def batches(self, batch_size: int, seed: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
        """Endless batches: tokens, and which of them are answers; both (batch_size, length)."""
        rng = np.random.default_rng(seed)
        while True:
            tokens, answers = zip(*(self._sequence(rng) for _ in range(batch_size)), strict=True)
            yield np.stack(tokens), np.stack(answers)

    def _sequence(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        first_key = FIRST_FILLER + self.fillers
        keys = first_key + rng.choice(self.keys, self.facts, replace=False)
        values = first_key + self.keys + rng.integers(self.values, size=self.facts)
        order = rng.permutation(self.facts)
        told = np.stack([np.full(self.facts, FACT), keys, values], axis=1)
        asked = np.stack([np.full(self.facts, QUESTION), keys[order], values[order]], axis=1)
        filler = FIRST_FILLER + (np.arange(self.distance) + rng.integers(self.fillers)) % self.fillers
        tokens = np.concatenate([[END_OF_TEXT_ID], told.ravel(), filler, asked.ravel()]).astype(np.int64)
        answers = np.zeros(len(tokens), dtype=np.bool_)
        answers[-3 * self.facts + 2 :: 3] = True
        return tokens, answers

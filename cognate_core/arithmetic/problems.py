"""Arithmetic modulo a prime: all problems, the part for training, and its batches.

The task, its ids, its split and its order of random draws are those of ironjr/grokfast (arXiv 2405.20233, main.py): a
seed means the same here as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

from cognate_core.arithmetic.model import ArithmeticModel
from cognate_core.config import TrainingConfig
from cognate_core.seeded import seeded


@dataclass(frozen=True, slots=True)
class Problems:
    """Every problem `left operation right = answer (mod modulus)`, ordered by left, then right.

    Attributes:
        left, right, answer: numbers below the modulus, (n,). With * and /, right is never 0.
        train, heldout: indices into these, in random order; together, they cover all problems.
    """

    modulus: int
    operation: str
    left: Tensor
    right: Tensor
    answer: Tensor
    train: Tensor
    heldout: Tensor


class ArithmeticBatches:
    """The training problems in random order, epoch after epoch; an epoch's last batch has what is left.

    Each epoch shuffles the order of the previous one, as published. The order depends only on the random state, the
    epoch and the cursor.
    """

    def __init__(self, problems: Problems, batch_size: int, random_state: Tensor) -> None:
        """`random_state`: the state of a CPU generator from which the epochs' orders are drawn."""
        self._problems, self._batch_size, self._random_state = problems, batch_size, random_state
        self._random, self._order, self._epoch, self._cursor = torch.Generator(), problems.train, 0, 0
        self._go_to(0)

    def next(self) -> tuple[Tensor, Tensor, Tensor]:
        """left, right and answer of the next batch, each (batch_size,) or shorter at an epoch's end."""
        if self._cursor >= len(self._order):
            self._shuffle()
            self._epoch, self._cursor = self._epoch + 1, 0
        rows = self._order[self._cursor : self._cursor + self._batch_size]
        self._cursor += len(rows)
        return self._problems.left[rows], self._problems.right[rows], self._problems.answer[rows]

    def epochs(self) -> float:
        """How often training went through the problems."""
        return self._epoch + self._cursor / len(self._order)

    def state_dict(self) -> dict[str, int]:
        """The position."""
        return {"epoch": self._epoch, "cursor": self._cursor}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from what `state_dict` gave, with batches of the same problems and seed."""
        self._go_to(state["epoch"], state["cursor"])

    def _go_to(self, epoch: int, cursor: int = 0) -> None:
        self._random.set_state(self._random_state)
        self._order = self._problems.train
        self._epoch, self._cursor = epoch, cursor
        for _ in range(epoch + 1):
            self._shuffle()

    def _shuffle(self) -> None:
        self._order = self._order[torch.randperm(len(self._order), generator=self._random)]


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run starts from."""

    model: ArithmeticModel
    problems: Problems
    batches: ArithmeticBatches


def beginning(config: TrainingConfig) -> Beginning:
    """The initial weights, the split and the batches that follow from the seed. The global generator is not changed."""
    with seeded(config.seed):
        model = ArithmeticModel(config)
        problems = _problems(config)
        batches = ArithmeticBatches(problems, config.batch_size, torch.get_rng_state())
    return Beginning(model, problems, batches)


def _problems(config: TrainingConfig) -> Problems:
    modulus, operation = config.arithmetic_modulus, config.arithmetic_operation
    lowest_right = 1 if operation in ("*", "/") else 0
    left, right = torch.cartesian_prod(torch.arange(modulus), torch.arange(lowest_right, modulus)).unbind(1)
    left, right = left.contiguous(), right.contiguous()
    match operation:
        case "*":
            answer = left * right % modulus
        case "+":
            answer = (left + right) % modulus
        case "-":
            answer = (left - right) % modulus
        case "/":
            inverses = torch.tensor([0, *(pow(number, -1, modulus) for number in range(1, modulus))])
            answer = left * inverses[right] % modulus
        case unknown:
            assert_never(unknown)
    order = torch.randperm(len(left))
    n_train = int(len(left) * config.arithmetic_train_share)
    return Problems(modulus, operation, left, right, answer, order[:n_train], order[n_train:])


def tokenizer(problems: Problems) -> Tokenizer:
    """Reads "3 * 5 = 15": a number is its own id, "=" has the modulus as its id, the operation the next id."""
    words = [*map(str, range(problems.modulus)), "=", problems.operation]
    reader = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}))
    reader.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return reader

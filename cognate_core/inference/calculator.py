"""Ask a model of the Grokking lab: one problem, or the whole table at once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cognate_core.arithmetic.circle import LEAST_NUMBERS, Circle, circle, number_order
from cognate_core.arithmetic.model import ArithmeticModel
from cognate_core.arithmetic.problems import Problems, beginning
from cognate_core.config import TrainingConfig
from cognate_core.contracts import ARTIFACT_FILES
from cognate_core.errors import StorageError
from cognate_core.inference.playground import MOST_OPEN, checkpoint_weights


@dataclass(frozen=True, slots=True)
class Calculated:
    """The model's answer, its probability (0 to 1), the true answer, and whether the model trained on the problem."""

    answer: str
    probability: float
    truth: int
    learned_from: bool


@dataclass(frozen=True, slots=True)
class Table:
    """All problems, (left, right): whether the model answers each correctly, and whether it trained on it.

    `first_right`: the right-hand number of the first column.
    """

    right: npt.NDArray[np.bool_]
    learned_from: npt.NDArray[np.bool_]
    first_right: int

    @property
    def heldout_accuracy(self) -> float:
        """The share of right answers to problems that it never saw."""
        return float(self.right[~self.learned_from].mean())


class Calculator:
    """A trained ArithmeticModel and its problems."""

    def __init__(self, model: ArithmeticModel, problems: Problems) -> None:
        self.model, self.problems = model.eval(), problems
        self._learned = torch.zeros(len(problems.left), dtype=torch.bool)
        self._learned[problems.train] = True

    @classmethod
    def from_folder(cls, folder: Path, step: int | None = None) -> Calculator:
        """Open a model that a trainer wrote; with `step`, as it was after that step, if its checkpoint still exists.

        Raises:
            StorageError: a file is missing or damaged.
        """
        weights = None if step is None else checkpoint_weights(folder, step)
        try:
            text = (folder / ARTIFACT_FILES["training_config"]).read_text(encoding="utf-8")
            problems = beginning(TrainingConfig.from_toml(text)).problems
            model = ArithmeticModel.from_pretrained(folder)
            if model.config.arithmetic_modulus != problems.modulus:
                raise ValueError("its settings belong to another model")
            if weights is not None:
                model.load_state_dict(weights)
        except Exception as error:  # a file can be damaged in any way
            raise StorageError(f"The model in {folder.name} cannot be opened ({error}).") from error
        return cls(model, problems)

    @torch.no_grad()
    def calculate(self, left: int, right: int) -> Calculated:
        """The model's answer to one problem of the table.

        Raises:
            ValueError: there is no such problem.
        """
        found = torch.nonzero((self.problems.left == left) & (self.problems.right == right))
        if not len(found):
            raise ValueError(f"There is no problem with {left} and {right} modulo {self.problems.modulus}.")
        index = int(found[0, 0])
        probabilities = self.model(torch.tensor([left]), torch.tensor([right]))[0].softmax(-1)
        token = int(probabilities.argmax())
        words = {self.problems.modulus: "=", self.problems.modulus + 1: self.problems.operation}
        return Calculated(
            words.get(token, str(token)),
            float(probabilities[token]),
            int(self.problems.answer[index]),
            bool(self._learned[index]),
        )

    @torch.no_grad()
    def table(self) -> Table:
        """All problems."""
        problems = self.problems
        shape = problems.modulus, len(problems.left) // problems.modulus
        right = self.model(problems.left, problems.right).argmax(-1) == problems.answer
        first = int(problems.right[0])
        return Table(right.view(shape).numpy(), self._learned.view(shape).numpy(), first)

    @torch.no_grad()
    def circle(self) -> Circle | None:
        """Its embedding of the numbers, in the plane of the strongest frequency; None if they are too few for one."""
        order = number_order(self.problems.modulus, self.problems.operation)
        return circle(self.model.token_embeddings.weight, order) if len(order) >= LEAST_NUMBERS else None


@functools.lru_cache(maxsize=MOST_OPEN)
def opened(folder: Path, weights_sha256: str, step: int | None) -> Calculator:
    """A model, kept open for later requests. The arguments are the cache key: changed weights are another entry.

    Raises:
        StorageError: the model or its checkpoint is gone or damaged.
    """
    return Calculator.from_folder(folder, step)

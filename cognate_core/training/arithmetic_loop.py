"""The Grokking lab: the training loop that learns arithmetic modulo a prime from single problems."""

from __future__ import annotations

from dataclasses import asdict

import torch

from cognate_core.arithmetic.model import ArithmeticModel, answer_loss, evaluate
from cognate_core.arithmetic.problems import ArithmeticBatches, beginning
from cognate_core.contracts import ARITHMETIC, Evaluation
from cognate_core.contracts.heldout import HeldoutMeans, heldout_means
from cognate_core.training.loop import StepFigures, TrainingLoop
from cognate_core.training.optimizers import optimizers_for, orthogonalise_


class ArithmeticLoop(TrainingLoop):
    """Trains an ArithmeticModel on some of the problems, and measures it on the others."""

    model: ArithmeticModel
    _batches: ArithmeticBatches

    def _begin(self) -> None:
        begins = beginning(self._config)
        self.model, self._problems, self._batches = begins.model, begins.problems, begins.batches
        self.optimizers = optimizers_for(self.model, self._config)

    def _gradients(self, step: int) -> StepFigures:
        batch = self._batches.next()
        count = len(batch[0])
        own = self._group.rows(count)
        left, right, answer = (each[own] for each in batch)
        figures = torch.zeros(2, dtype=torch.float64)  # loss, share of right answers
        if len(answer):  # the end of an epoch may have fewer problems than workers
            logits = self.model(left, right)
            loss = answer_loss(logits, answer, stable_max=self._config.stable_max) * (len(answer) / count)
            loss.backward()  # type: ignore[no-untyped-call]
            right_answers = (logits.detach().argmax(-1) == answer).sum()
            figures = torch.stack((loss.detach().double(), right_answers / count))
        self._group.sum_gradients_(self._parameters)
        if self._config.orthogonal_gradient:
            orthogonalise_(self._parameters)
        mean_loss, accuracy = self._group.sum_(figures.double()).tolist()
        return StepFigures(mean_loss, count, {"accuracy": accuracy})

    def _check_heldout(self) -> HeldoutMeans:
        (evaluation,) = self.full_heldout()
        self._record(evaluation)
        if not self._config.early_stopping_patience:  # checks are frequent; the last weights are kept
            return HeldoutMeans(None, None, None)
        return heldout_means([asdict(evaluation)])

    def full_heldout(self) -> list[Evaluation]:
        loss, accuracy = evaluate(self.model, self._problems, self._problems.heldout)
        return [Evaluation(self._name, self.step, ARITHMETIC, loss, len(self._problems.heldout), accuracy)]

    def epochs(self) -> dict[str, float]:
        return {ARITHMETIC: self._batches.epochs()}

"""The Grokking lab: the training loop that learns calculating modulo a prime, problem by problem."""

from __future__ import annotations

from cognate_core.arithmetic.model import ArithmeticModel, answer_loss, evaluate
from cognate_core.arithmetic.optimizers import optimizers_for, orthogonalise_
from cognate_core.arithmetic.problems import ArithmeticBatches, beginning
from cognate_core.contracts import ARITHMETIC, Evaluation
from cognate_core.training.loop import StepFigures, TrainingLoop


class ArithmeticLoop(TrainingLoop):
    """Trains an ArithmeticModel on a part of the problems, and measures it on the others."""

    model: ArithmeticModel
    _batches: ArithmeticBatches

    def _begin(self) -> None:
        begins = beginning(self._config)
        self.model, self._problems, self._batches = begins.model, begins.problems, begins.batches
        self._optimizers = optimizers_for(self.model, self._config)

    def _gradients(self, step: int) -> StepFigures:
        left, right, answer = self._batches.next()
        logits = self.model(left, right)
        loss = answer_loss(logits, answer, stable_max=self._config.stable_max)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.orthogonal_gradient:
            orthogonalise_(self._parameters)
        accuracy = (logits.detach().argmax(-1) == answer).float().mean()
        return StepFigures(float(loss.detach()), len(answer), {"accuracy": float(accuracy)})

    def _check_heldout(self) -> float | None:
        loss, accuracy = self._heldout()
        self._record(Evaluation(self._name, self.step, ARITHMETIC, loss, len(self._problems.heldout), accuracy))
        return None  # it rises before it falls, and is measured often: a best checkpoint by it would be no use

    def full_heldout_loss(self) -> dict[str, float]:
        return {ARITHMETIC: self._heldout()[0]}

    def heldout_accuracy(self) -> dict[str, float]:
        return {ARITHMETIC: self._heldout()[1]}

    def epochs(self) -> dict[str, float]:
        return {ARITHMETIC: self._batches.epochs()}

    def _heldout(self) -> tuple[float, float]:
        """Loss and accuracy."""
        return evaluate(self.model, self._problems, self._problems.heldout)

"""The best check of a model so far, and early stopping: end when no check has been better for some time.

Handles neither weights nor files. Patience is as in Goodfellow, Bengio and Courville, Deep Learning, 2016,
algorithm 7.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.contracts.heldout import HeldoutMeans

WORDS = {
    "loss": "The held-out loss",
    "bits_per_byte": "The number of bits per byte of unseen text",
    "accuracy": "The share of right answers",
}


@dataclass(slots=True)
class Best:
    """The best check so far, by the metric in the settings.

    Attributes:
        patience: training ends after this many checks without a better one; 0: never.
        step: the step of the best check; None: no check gave a number yet.
        score: its score, lower is better.
        waited: checks since then.
    """

    metric: str
    patience: int
    step: int | None = None
    score: float | None = None
    waited: int = 0

    @classmethod
    def by(cls, config: TrainingConfig) -> Best:
        """With the metric and patience of `config`, before any check."""
        return cls(config.metric_for_best_model, config.early_stopping_patience)

    def take(self, step: int, means: HeldoutMeans) -> float | None:
        """Add a check; returns its score, None if it gave no number. If it is the best, `self.step` is now `step`."""
        score = self.score_of(means)
        if score is not None and (self.score is None or score < self.score):
            self.step, self.score, self.waited = step, score, 0
        elif self.step is not None:
            self.waited += 1
        return score

    def score_of(self, means: HeldoutMeans) -> float | None:
        """Lower is better; None: not measured, or not a number."""
        value: float | None = getattr(means, self.metric)
        return -value if value is not None and self.metric == "accuracy" else value

    @property
    def is_over(self) -> bool:
        """Whether training should end because no check has been better for some time."""
        return 0 < self.patience <= self.waited

    def reason(self) -> str:
        """Why it ends."""
        checks = "check" if self.waited == 1 else "checks"
        return f"{WORDS[self.metric]} has not improved for {self.waited} {checks}, since step {self.step:,}."

    def state_dict(self) -> dict[str, Any]:
        """What training continues from."""
        return {"metric": self.metric, "step": self.step, "score": self.score, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, unless it used another metric: its best check need not be ours."""
        if state["metric"] == self.metric:
            self.step, self.score, self.waited = state["step"], state["score"], state["waited"]

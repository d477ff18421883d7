"""Which check of a model is the best so far, and early stopping: to end when none has been better for long.

It knows neither weights nor files. Patience is that of Goodfellow, Bengio and Courville, Deep Learning, 2016,
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
    "bits_per_byte": "What unseen text takes in bits per byte",
    "accuracy": "The share of right answers",
}


@dataclass(slots=True)
class Best:
    """The best check so far, by the metric of the settings.

    Attributes:
        patience: checks without a better one after which training ends; 0: it does not.
        step: of the best check; None: none gave a number yet.
        score: what it gave, the lower the better.
        waited: checks since.
    """

    metric: str
    patience: int
    step: int | None = None
    score: float | None = None
    waited: int = 0

    @classmethod
    def by(cls, config: TrainingConfig) -> Best:
        """None yet, and the metric and patience of `config`."""
        return cls(config.metric_for_best_model, config.early_stopping_patience)

    def take(self, step: int, means: HeldoutMeans) -> float | None:
        """Take a check in; its score, None when it gave no number. It is the best when `self.step` is its step."""
        score = self.score_of(means)
        if score is not None and (self.score is None or score < self.score):
            self.step, self.score, self.waited = step, score, 0
        elif self.step is not None:
            self.waited += 1
        return score

    def score_of(self, means: HeldoutMeans) -> float | None:
        """The lower, the better; None: not measured, or no number."""
        value: float | None = getattr(means, self.metric)
        return -value if value is not None and self.metric == "accuracy" else value

    @property
    def is_over(self) -> bool:
        """Whether training ends, because no check has been better for long."""
        return 0 < self.patience <= self.waited

    def reason(self) -> str:
        """Why it ends."""
        checks = "check" if self.waited == 1 else "checks"
        return f"{WORDS[self.metric]} has not improved for {self.waited} {checks}, since step {self.step:,}."

    def state_dict(self) -> dict[str, Any]:
        """What training continues from."""
        return {"metric": self.metric, "step": self.step, "score": self.score, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave. What was the best by another metric is not by this one."""
        if state["metric"] == self.metric:
            self.step, self.score, self.waited = state["step"], state["score"], state["waited"]

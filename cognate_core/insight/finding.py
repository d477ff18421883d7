"""What a detector says about a run, and the changed settings that it may offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cognate_core.config import TrainingConfig

Kind = Literal["plateau", "spike", "overfitting", "divergence", "learning_rate_too_high", "grokking"]

LEAST_RATE, MOST_RATE = 1e-12, 1.0  # of what is offered; TrainingConfig allows no more than the latter
DEFAULT_CLIPPING = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One caption on the curve. overrides: settings of a new run that follow the advice; {} when there are none."""

    kind: Kind
    first_step: int
    last_step: int
    title: str
    cause: str
    advice: str
    overrides: dict[str, Any]


def scaled_rate(config: TrainingConfig, factor: float) -> dict[str, Any]:
    """The learning rate times `factor`, to two digits; {} when the bounds leave it as it is."""
    rate = min(MOST_RATE, max(LEAST_RATE, float(f"{config.learning_rate * factor:.2g}")))
    return {} if rate == config.learning_rate else {"learning_rate": rate}


def clipping_on(config: TrainingConfig) -> dict[str, Any]:
    """Clipping at the usual norm where it is off; else {}."""
    return {} if config.max_grad_norm else {"max_grad_norm": DEFAULT_CLIPPING}

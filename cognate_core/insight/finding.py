"""What a detector reports about a run, and the changed settings that it may suggest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cognate_core.config import TrainingConfig

LayerKind = Literal["dead_layer", "still_embedding", "exploding_layer"]
Kind = Literal["plateau", "spike", "overfitting", "divergence", "learning_rate_too_high", "grokking"] | LayerKind

LEAST_RATE, MOST_RATE = 1e-12, 1.0  # limits of a suggestion; TrainingConfig has the same upper limit
DEFAULT_CLIPPING = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One caption on the curve. overrides: settings of a new run that follow the advice; may be {}."""

    kind: Kind
    first_step: int
    last_step: int
    title: str
    cause: str
    advice: str
    overrides: dict[str, Any]


def scaled_rate(config: TrainingConfig, factor: float) -> dict[str, Any]:
    """The learning rate times `factor`, rounded to two digits and limited; {} if that changes nothing."""
    rate = min(MOST_RATE, max(LEAST_RATE, float(f"{config.learning_rate * factor:.2g}")))
    return {} if rate == config.learning_rate else {"learning_rate": rate}


def clipping_on(config: TrainingConfig) -> dict[str, Any]:
    """Clipping at the usual norm if clipping is off; else {}."""
    return {} if config.max_grad_norm else {"max_grad_norm": DEFAULT_CLIPPING}

"""Grokking as shown by the checks: when a model has understood, published results, and the finding in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cognate_core.config import TrainingConfig
from cognate_core.contracts import GROKKED_ACCURACY
from cognate_core.insight.finding import Finding

BY_HEART = 0.99  # right answers to training problems: from here on the model knows them by heart
WINDOW = 10  # steps of that average

PUBLISHED = {
    "published, MA filter": 790,
    "published, EMA filter": 910,
    "published, no filter": 39_890,
}
"""Steps to 95 % of the held-out answers of x * y mod 97, one seed each (ironjr/grokfast, README)."""


def published_steps(config: TrainingConfig) -> dict[str, int]:
    """Published results for exactly this problem; {} for others."""
    problem = (config.arithmetic_operation, config.arithmetic_modulus, config.arithmetic_train_share)
    return PUBLISHED if config.task == "arithmetic" and problem == ("*", 97, 0.5) else {}


def grokked_at(evaluations: Sequence[Mapping[str, Any]]) -> int | None:
    """The first check with GROKKED_ACCURACY right held-out answers; None: not yet.

    Args:
        evaluations: rows with step and accuracy, in order of step.
    """
    return next((int(row["step"]) for row in evaluations if (row["accuracy"] or 0.0) >= GROKKED_ACCURACY), None)


def known_by_heart_at(steps: np.typing.NDArray[np.float64], accuracy: np.typing.NDArray[np.float64]) -> int | None:
    """The first step at which BY_HEART of the last WINDOW steps' answers were right; None: not yet."""
    if len(accuracy) < WINDOW:
        return None
    means = np.convolve(accuracy, np.full(WINDOW, 1 / WINDOW), mode="valid")
    reached = np.flatnonzero(means >= BY_HEART - 1e-9)
    return int(steps[reached[0] + WINDOW - 1]) if len(reached) else None


def grokking_finding(
    evaluations: Sequence[Mapping[str, Any]],
    steps: np.typing.NDArray[np.float64],
    accuracy: np.typing.NDArray[np.float64],
) -> Finding | None:
    """The finding once the model has understood; None before.

    Args:
        steps, accuracy: of the answers to training problems.
    """
    understood = grokked_at(evaluations)
    if understood is None:
        return None
    by_heart = known_by_heart_at(steps, accuracy)
    before = "" if by_heart is None else f"It knew its training problems by heart at step {by_heart:,}. "
    return Finding(
        "grokking",
        min(by_heart or understood, understood),
        understood,
        f"Grokked at step {understood:,}",
        f"{before}At step {understood:,} it has {GROKKED_ACCURACY:.0%} of the unseen problems right: it has found the "
        "rule.",
        "",
        {},
    )

"""Findings from held-out checks next to the training loss: learning by heart, and late understanding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cognate_core.config import TrainingConfig
from cognate_core.insight.drawing import Curve, Floats, Row
from cognate_core.insight.finding import Finding
from cognate_core.insight.trend import NORMAL, Buckets

CHECK_NOISE = 0.01  # nats; all checks read the same text, so only the model's own swings remain
NOISES_UP = 5.0  # a rise of this many times the noise of a check is not a swing
LEAST_RISE, LEAST_RISE_SHARE = 0.05, 0.02  # nats, and share of the lowest loss: smaller rises are not reported
LATER_CHECKS = 3  # this many in a row must be above the minimum
NOISES_DOWN = 3.0  # standard errors that the training loss must have fallen by meanwhile

LOW_SHARE = 0.1  # of the loss of guessing: below it, the training text is learned
GAP_SHARE = 0.2  # of the loss of guessing: with held-out loss this far above training loss, it is not understood
FALL_SHARE = 0.6  # of that gap that must close: most of the way
START_SHARE = 0.1  # of the gap: after a larger fall, the fall has begun
DELAY = 2.0  # understanding took at least this many times the steps that learning took


def overfitting(evaluations: Sequence[Row], train: Buckets, config: TrainingConfig) -> Finding | None:
    """Held-out loss rose for good while the training loss still fell; of several datasets, the one that rose most.

    The classic sign for early stopping (Prechelt, "Early stopping, but when?", 1998). A single higher check is noise:
    the last LATER_CHECKS must all be above the minimum, by several times the difference between neighbouring checks.
    """
    rises = [rise for curve in _checks(evaluations) if (rise := _rise(*curve))]
    if not rises:
        return None
    _, best_step, lowest, last_step, last = max(rises)
    before = train.level[train.last <= best_step]
    here = before[-1] if len(before) else train.level[0]
    now = float(np.median(train.level[-2:]))
    if not here - now > NOISES_DOWN * math.hypot(train.error, train.error_over(2)):
        return None
    overrides: dict[str, Any] = {"max_steps": best_step} if 0 < best_step < config.max_steps else {}
    stop = f"Stop at step {best_step:,}, or give it more text." if overrides else "Give it more text."
    return Finding(
        "overfitting",
        best_step,
        last_step,
        "Learning by heart (overfitting)",
        f"On unseen text, the loss was lowest at step {best_step:,} ({lowest:.2f}) and has risen to {last:.2f}; on the "
        f"training text, it kept falling from {here:.2f} to {now:.2f}.",
        stop,
        overrides,
    )


def grokking(evaluations: Sequence[Row], train: Buckets, uniform_loss: float) -> Finding | None:
    """Held-out loss falls most of the way, long after the training loss became low (arXiv 2201.02177)."""
    low = np.flatnonzero(train.level < LOW_SHARE * uniform_loss)
    if not len(low):
        return None
    learned = float(train.last[low[0]])
    for steps, losses in _checks(evaluations):
        high_ones = losses[(steps >= learned) & (steps <= DELAY * learned)]
        if not len(high_ones) or len(losses) < LATER_CHECKS + 2:
            continue
        high = float(np.median(high_ones))
        gap = high - float(train.level[low[0]])
        end = float(np.median(losses[-2:]))
        if gap < GAP_SHARE * uniform_loss or high - end < FALL_SHARE * gap:
            continue
        above = np.flatnonzero(losses > high - FALL_SHARE / 2 * gap)
        if steps[above[-1]] < DELAY * learned:
            continue
        # above[-1] is the last high check: the fall began before it and ends after it.
        begin = np.flatnonzero(losses[: above[-1] + 1] > high - START_SHARE * gap)
        fallen = above[-1] + 1 + np.flatnonzero(losses[above[-1] + 1 :] <= high - FALL_SHARE * gap)
        first = int(steps[begin[-1] if len(begin) else above[-1]])
        last = int(steps[fallen[0] if len(fallen) else -1])
        return Finding(
            "grokking",
            first,
            last,
            "Late understanding (grokking)",
            f"It knew its training text by step {learned:,.0f}; on unseen text, the loss stayed near {high:.2f} and "
            f"then fell to {end:.2f}: it has found a rule instead of learning by heart.",
            "",
            {},
        )
    return None


def _checks(evaluations: Sequence[Row]) -> list[Curve]:
    """Steps and losses of each trained dataset's checks that gave a number, in order of step."""
    curves = []
    for dataset in dict.fromkeys(row["dataset"] for row in evaluations if row.get("weight") != 0):
        points = {row["step"]: row["loss"] for row in evaluations if row["dataset"] == dataset}
        known = sorted((step, loss) for step, loss in points.items() if loss is not None and math.isfinite(loss))
        if known:
            curves.append((np.array([step for step, _ in known], float), np.array([loss for _, loss in known], float)))
    return curves


def _rise(steps: Floats, losses: Floats) -> tuple[float, int, float, int, float] | None:
    """(rise, step and loss of the minimum, last step and loss) of checks that rose for good; None if they did not."""
    best = int(losses.argmin())
    if len(losses) - 1 - best < LATER_CHECKS:
        return None
    lowest = float(losses[best])
    later = losses[-LATER_CHECKS:]
    rise = float(np.median(later)) - lowest
    noise = max(CHECK_NOISE, _swing(losses))
    if rise < max(NOISES_UP * noise, LEAST_RISE, LEAST_RISE_SHARE * lowest) or later.min() < lowest + rise / 2:
        return None
    return rise, int(steps[best]), lowest, int(steps[-1]), float(later[-1])


def _swing(losses: Floats) -> float:
    """Noise of a check: its distance from the line between its neighbours."""
    if len(losses) < 3:
        return 0.0
    off = losses[1:-1] - (losses[:-2] + losses[2:]) / 2
    return NORMAL * float(np.median(np.abs(off))) / math.sqrt(1.5)

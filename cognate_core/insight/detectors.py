"""Captions on the curve: what a training run shows, where, why, and what to do. Fixed rules, the same every time.

The detectors stand in `loss_detectors.py` and `heldout_detectors.py`; here they are asked, and kept from saying one
thing twice. Each would rather be silent than wrong. Nothing here draws or reads a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cognate_core.config import TrainingConfig
from cognate_core.insight.drawing import Curve, Floats, Row
from cognate_core.insight.finding import Finding
from cognate_core.insight.grokking import grokking_finding
from cognate_core.insight.heldout_detectors import grokking, overfitting
from cognate_core.insight.loss_detectors import STRETCHES, divergence, no_number, plateau, spikes, too_high
from cognate_core.insight.trend import buckets

NO_CURVE: Curve = (np.empty(0), np.empty(0))
LEAST_POINTS = 20  # below, a run is too young for more than losses that are no number


def findings(
    losses: Curve,
    means: Curve,
    counts: Floats,
    missing: Floats,
    gradient: Curve,
    evaluations: Sequence[Row],
    config: TrainingConfig,
    accuracy: Curve = NO_CURVE,
) -> list[Finding]:
    """What one model of a run shows so far, in order of step.

    Args:
        losses: training loss, each step of a short run, the extremes of each hundred of a long one.
        means, counts: the same without gaps, each the mean over so many steps.
        missing: steps whose loss is no number.
        gradient: norm of the gradient before clipping.
        evaluations: rows with step, dataset, loss and accuracy; None where it is no number.
        accuracy: share of right answers while learning, where the task has right and wrong ones. Of such a task a flat
            or rising held-out loss says nothing: it waits for understanding.
    """
    if config.task == "arithmetic":
        late = grokking_finding(evaluations, *accuracy)
        return [*no_number(losses, missing, config), *([late] if late else [])]
    guessing = math.log(config.choices)
    found = [*no_number(losses, missing, config)]
    if len(means[0]) >= LEAST_POINTS:
        even = _evenly(means, counts)
        train = buckets(even, STRETCHES)
        if not found:
            found += divergence(train, guessing, config)
        end = found[0].first_step if found else math.inf  # what comes after a divergence is that
        found += [each for each in too_high(even, guessing, config) if each.last_step < end]
        highest = _highest(losses, means, counts)
        for more in (spikes(highest, gradient, guessing, config), plateau(even, guessing, config)):
            found += [each for each in more if not _overlaps(each, found)]
        if math.isinf(end):
            late = grokking(evaluations, train, guessing)
            by_heart = overfitting(evaluations, train, config)
            found += [each for each in (late, by_heart) if each]
    return sorted(found, key=lambda each: (each.first_step, each.last_step, each.kind))


def _evenly(means: Curve, counts: Floats) -> Curve:
    """The means of whole hundreds alone, where there are such: the single steps after them are noisier."""
    if len(counts) and counts.max() > 1:
        whole = counts > counts.max() / 2
        return means[0][whole], means[1][whole]
    return means


def _highest(losses: Curve, means: Curve, counts: Floats) -> Curve:
    """The highest loss of each stretch that a mean stands for: lows beside highs would look like noise."""
    steps, values = losses
    if not len(counts) or counts.max() <= 1 or not len(steps):
        return losses
    _, starts = np.unique(np.searchsorted(means[0], steps), return_index=True)
    highest = np.maximum.reduceat(values, starts)
    stretch = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(steps)]))
    places = np.flatnonzero(values == highest[stretch])
    _, first = np.unique(stretch[places], return_index=True)
    return steps[places[first]], highest


def _overlaps(one: Finding, others: list[Finding]) -> bool:
    return any(one.first_step <= other.last_step and other.first_step <= one.last_step for other in others)

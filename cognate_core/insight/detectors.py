"""Captions on the curve: what a run shows, where, why, and what to do. The rules are fixed and deterministic.

The detectors are in `loss_detectors.py`, `heldout_detectors.py` and `layer_detectors.py`; this module runs them and
removes duplicates. Each prefers silence to a false report. Nothing here draws or reads a run.
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
from cognate_core.insight.layer_detectors import exploding_layers, still_layers
from cognate_core.insight.loss_detectors import STRETCHES, divergence, no_number, plateau, spikes, too_high
from cognate_core.insight.trend import buckets

NO_CURVE: Curve = (np.empty(0), np.empty(0))
LEAST_POINTS = 20  # with fewer, only losses that are not a number are reported


def findings(
    losses: Curve,
    means: Curve,
    counts: Floats,
    missing: Floats,
    gradient: Curve,
    evaluations: Sequence[Row],
    config: TrainingConfig,
    accuracy: Curve = NO_CURVE,
    layers: Sequence[Row] = (),
) -> list[Finding]:
    """Findings about one model of a run so far, in order of step.

    Args:
        losses: training loss: each step of a short run, the extremes of each hundred of a long one.
        means, counts: the same without gaps; each mean is over that many steps.
        missing: steps whose loss is not a number.
        gradient: norm of the gradient before clipping.
        evaluations: rows with step, dataset, loss and accuracy; None if not a number.
        accuracy: share of right answers while learning, for tasks with right and wrong answers. There, a flat or rising
            held-out loss means nothing: understanding may still come.
        layers: what was measured inside, as `ProgressReader.layer_figures`.
    """
    inside = [*still_layers(layers, config), *exploding_layers(layers, config)]
    if config.task == "arithmetic":
        late = grokking_finding(evaluations, *accuracy)
        return [*no_number(losses, missing, config), *([late] if late else []), *inside]
    guessing = math.log(config.choices)
    found = [*no_number(losses, missing, config)]
    if len(means[0]) >= LEAST_POINTS:
        even = _evenly(means, counts)
        train = buckets(even, STRETCHES)
        if not found:
            found += divergence(train, guessing, config)
        end = found[0].first_step if found else math.inf  # what follows a divergence is part of it
        found += [each for each in too_high(even, guessing, config) if each.last_step < end]
        highest = _highest(losses, means, counts)
        for more in (spikes(highest, gradient, guessing, config), plateau(even, guessing, config)):
            found += [each for each in more if not _overlaps(each, found)]
        if math.isinf(end):
            late = grokking(evaluations, train, guessing)
            by_heart = overfitting(evaluations, train, config)
            found += [each for each in (late, by_heart) if each]
    return sorted([*found, *inside], key=lambda each: (each.first_step, each.last_step, each.kind))


def _evenly(means: Curve, counts: Floats) -> Curve:
    """Only the means of whole hundreds, if there are any: the single steps after them are noisier."""
    if len(counts) and counts.max() > 1:
        whole = counts > counts.max() / 2
        return means[0][whole], means[1][whole]
    return means


def _highest(losses: Curve, means: Curve, counts: Floats) -> Curve:
    """The highest loss of each stretch behind a mean: lows next to highs would look like noise."""
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

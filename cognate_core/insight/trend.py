"""Robust statistics of a noisy curve: its noise, its level over stretches, and how far a point stands out.

Medians and absolute deviations throughout, so that a few odd steps change nothing (Rousseeuw and Croux, 1993). It knows
nothing of training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognate_core.insight.drawing import Curve, Floats

NORMAL = 1.4826  # median absolute deviation -> standard deviation, for normal noise
MEDIAN_COST = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean, for normal noise
WINDOW = 20  # points before, and as many after, that a point is compared with
LEAST_BEFORE = 5  # fewer than these are no surroundings
BLOCKS = 30  # into which a curve is divided to find how its noise changes


@dataclass(frozen=True, slots=True)
class Buckets:
    """A curve in so many stretches of as many points each: what is left when the noise is averaged out.

    Attributes:
        first, last: steps at which each stretch begins and ends.
        level: median of its values.
        error: standard error of a level.
        noise: standard deviation of one point about its level.
        points: how many points a stretch has.
    """

    first: Floats
    last: Floats
    level: Floats
    error: float
    noise: float
    points: int

    def error_over(self, buckets: int) -> float:
        """Standard error of the median over so many stretches."""
        return self.error / math.sqrt(max(1, buckets))


def buckets(curve: Curve, number: int) -> Buckets:
    """The curve in `number` stretches, or up to twice as many; points left over at first only lengthen the first."""
    steps, values = curve
    points = max(1, len(steps) // number)
    whole = len(steps) // points
    spare = len(steps) - whole * points
    starts = np.r_[0, spare + points * np.arange(1, whole)].astype(np.intp)
    tail = values[spare:].reshape(whole, points)
    noise = noise_of(values)
    error = noise / math.sqrt(points) * (MEDIAN_COST if points > 2 else 1.0)
    ends = np.r_[starts[1:], len(steps)] - 1
    return Buckets(steps[starts], steps[ends], np.median(tail, axis=1), error, noise, points)


def noise_of(values: Floats) -> float:
    """Standard deviation of what is independent from point to point, whatever the trend.

    From the differences of neighbours (von Neumann et al., 1941), by their median instead of their mean square.
    """
    if len(values) < 2:
        return 0.0
    return NORMAL * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)


def local_noise(values: Floats) -> Floats:
    """For each point, the noise of its part of the curve, but never below that of the whole."""
    size = max(2 * WINDOW, -(-len(values) // BLOCKS))
    whole = noise_of(values)
    parts = [max(whole, noise_of(values[start : start + size])) for start in range(0, len(values), size)]
    return np.repeat(parts, size)[: len(values)]


def surroundings(values: Floats, window: int = WINDOW) -> Floats:
    """For each point the higher of two medians: of the points before it, and of those after it.

    A point above both has risen and come back: a curve that merely falls, however steeply, or that goes up for good has
    none. Infinite where there are too few points on a side to tell.
    """
    gap = np.full(window, math.nan)
    windows = np.lib.stride_tricks.sliding_window_view(np.r_[gap, values, gap], window)  # windows[i] ends before i
    medians = np.full(len(windows), math.inf)
    if len(values) >= window:
        medians[window : len(values) + 1] = np.median(windows[window : len(values) + 1], axis=1)
    for place in (*range(min(window, len(windows))), *range(max(window, len(values) + 1), len(windows))):
        known = windows[place][np.isfinite(windows[place])]
        if len(known) >= LEAST_BEFORE:
            medians[place] = float(np.median(known))
    higher: Floats = np.maximum(medians[: len(values)], medians[window + 1 :])
    return higher


def groups(flags: npt.NDArray[np.bool_], gap: int) -> list[tuple[int, int]]:
    """First and last index of each group of true flags; those at most `gap` apart belong together."""
    places = np.flatnonzero(flags)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > gap)
    first, last = places[np.r_[0, breaks + 1]], places[np.r_[breaks, len(places) - 1]]
    return list(zip(first.tolist(), last.tolist(), strict=True))

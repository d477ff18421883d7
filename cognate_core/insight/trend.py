"""Robust statistics of a noisy curve: its noise, its level in stretches, and how far a point stands out.

It uses medians and absolute deviations: a few odd steps change nothing (Rousseeuw and Croux, 1993). It does not depend
on training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognate_core.insight.drawing import Curve, Floats

NORMAL = 1.4826  # median absolute deviation -> standard deviation, for normal noise
MEDIAN_COST = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean, for normal noise
WINDOW = 20  # a point is compared with this many points before it, and as many after it
LEAST_BEFORE = 5  # fewer points do not count as surroundings
BLOCKS = 30  # parts of a curve for finding how its noise changes


@dataclass(frozen=True, slots=True)
class Buckets:
    """A curve in stretches with the same number of points, with the noise averaged out.

    Attributes:
        first, last: first and last step of each stretch.
        level: median of its values.
        error: standard error of a level.
        noise: standard deviation of one point around its level.
        points: number of points in a stretch.
    """

    first: Floats
    last: Floats
    level: Floats
    error: float
    noise: float
    points: int

    def error_over(self, buckets: int) -> float:
        """Standard error of the median over `buckets` stretches."""
        return self.error / math.sqrt(max(1, buckets))


def buckets(curve: Curve, number: int) -> Buckets:
    """The curve in `number` stretches, or up to twice as many. The first stretch spans any leftover points, which its
    level ignores."""
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
    """Standard deviation of the noise that is independent from point to point, whatever the trend.

    Uses the differences of neighbours (von Neumann et al., 1941), but their median instead of their mean square.
    """
    if len(values) < 2:
        return 0.0
    return NORMAL * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)


def local_noise(values: Floats) -> Floats:
    """For each point, the noise of its part of the curve, but at least that of the whole curve."""
    size = max(2 * WINDOW, -(-len(values) // BLOCKS))
    whole = noise_of(values)
    parts = [max(whole, noise_of(values[start : start + size])) for start in range(0, len(values), size)]
    return np.repeat(parts, size)[: len(values)]


def surroundings(values: Floats, window: int = WINDOW) -> Floats:
    """For each point, the higher of two medians: of the points before it and of those after it.

    A point above both has risen and come back. A curve that only falls, however steeply, or rises for good has no such
    point. Infinite if a side has too few points.
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
    """First and last index of each group of true flags; flags at most `gap` apart are in one group."""
    places = np.flatnonzero(flags)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > gap)
    first, last = places[np.r_[0, breaks + 1]], places[np.r_[breaks, len(places) - 1]]
    return list(zip(first.tolist(), last.tolist(), strict=True))

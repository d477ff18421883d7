"""Findings from the training loss alone: divergence, a too high learning rate, spikes, plateaus.

Each detector reports only what is both far beyond the noise and large enough to matter. Sizes are shares of the loss of
even guessing, ln(vocabulary), the one scale that all runs have in common.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import decay_begin
from cognate_core.insight.drawing import Curve, Floats
from cognate_core.insight.finding import Finding, clipping_on, scaled_rate
from cognate_core.insight.trend import WINDOW, Buckets, buckets, groups, local_noise, surroundings

STRETCHES = 40  # or up to twice as many: how finely the level of a curve is described

SPIKE_NOISES = 8.0  # standard deviations above the surroundings: a million steps of normal noise have none
SPIKE_SHARE = 0.05  # of the loss of guessing
LONGEST_SPIKE = WINDOW // 2  # points: a longer one raises the medians beside it
SPIKE_GAP = 3  # points between two peaks of one spike
MOST_SPIKES = 5

RISE_NOISES = 6.0  # standard errors of a level
RISE_SHARE = 0.05  # of the loss of guessing
LOST_SHARE = 0.2  # of the fall from guessing to the best level: a smaller rise is not a divergence
DIVERGED_SHARE = 0.1  # of the curve, at its end, that must be high
MISSING_IN_A_ROW = 3  # losses that are not a number; the training loop gives up after as many
HUMP_POINTS = 5  # at the very beginning, where no earlier points show what is usual
HUMP_SHARE = 0.04  # of the loss of guessing: mean height of a hump
HIGH_RATE = 0.5  # of the peak: from here on the rate is near its peak

PLATEAU_SHARE = 0.3  # of all planned steps: minimum length of a plateau
PLATEAU_STEPS = 50
PLATEAU_POINTS = 30  # fewer do not show a level
PLATEAU_BUCKETS = 30
MATERIAL_RATE = 0.3  # of the peak: at lower rates the schedule explains a flat loss
FLAT_SHARE = 0.01  # of the level: the loss must certainly have fallen by less
SURE = 3.0  # standard errors for "certain"
UNIFORM_SHARE = 0.02  # a level this close to the loss of even guessing counts as guessing


def rate_shares(steps: Floats, config: TrainingConfig) -> Floats:
    """The learning rate at each step over its peak: a linear warm-up, flat, then a cosine (schedule.py)."""
    warmup, begin = round(config.warmup_ratio * config.max_steps), decay_begin(config)
    progress = np.clip((steps - begin) / max(1, config.max_steps - begin), 0.0, 1.0)
    falling = config.min_lr_ratio + (1 - config.min_lr_ratio) * 0.5 * (1 + np.cos(math.pi * progress))
    return np.where(steps <= warmup, steps / max(1, warmup), falling)


def no_number(losses: Curve, missing: Floats, config: TrainingConfig) -> list[Finding]:
    """The loss was not a number several times in a row: the run has diverged."""
    apart = MISSING_IN_A_ROW - 1
    known = float(losses[0][-1]) if len(losses[0]) else 0.0
    rows = np.flatnonzero(missing[apart:] - missing[: len(missing) - apart] == apart)
    if len(rows):
        first, last = missing[rows[0]], missing[-1] if missing[-1] > known else missing[rows[0] + apart]
    elif len(missing) and missing[-1] - known >= MISSING_IN_A_ROW:  # a long run lists only one of each hundred
        first, last = known + 1, missing[-1]
    else:
        return []
    cause = f"From step {first:,.0f} on, the loss was not a number (NaN) several steps in a row."
    return [_diverged(int(first), int(last), cause, config)]


def divergence(train: Buckets, guessing: float, config: TrainingConfig) -> list[Finding]:
    """The loss rose for good: its end is far above its best level, and it never came back in between."""
    level = train.level
    best = int(level.argmin())
    last = max(3, round(DIVERGED_SHARE * len(level)))
    end = float(np.median(level[-last:]))
    rise = end - float(level[best])
    learned = guessing - float(level[best])
    least = max(RISE_NOISES * train.error, RISE_SHARE * guessing, LOST_SHARE * learned)
    begin = int(np.flatnonzero(level <= level[best] + least)[-1]) + 1
    if rise < least or len(level) - begin < last or (len(level) - begin) * train.points < HUMP_POINTS:
        return []
    first = int(train.first[begin])
    cause = f"The loss was down to {level[best]:.2f}; from step {first:,} on, it rose for good, to {end:.2f}."
    return [_diverged(first, int(train.last[-1]), cause, config)]


def too_high(curve: Curve, guessing: float, config: TrainingConfig) -> list[Finding]:
    """The loss rose while the rate was near its peak, stayed up for a while, and came down later.

    The search runs twice: point by point for swings in the first steps, and in stretches for rises below the noise.
    """
    humps = []
    for train in (buckets(curve, STRETCHES), buckets(curve, len(curve[0]))):
        twice = np.maximum(
            train.level, np.r_[train.level[0], train.level[:-1]]
        )  # a single low does not count as the best
        best = np.minimum.accumulate(twice)
        above = train.level - best
        near_peak = rate_shares(train.first, config) >= HIGH_RATE
        for begin, end in groups(above > 0, 1):
            size = end + 1 - begin
            usual = np.sort(above[begin : end + 1])[:-1]  # a single odd stretch is not a hump
            least = HUMP_POINTS if begin * train.points < LONGEST_SPIKE else LONGEST_SPIKE + 1
            if size < 3 or size * train.points < least or not near_peak[begin]:
                continue
            if usual.mean() > max(RISE_NOISES * train.error, HUMP_SHARE * guessing):
                top = begin + int(above[begin : end + 1].argmax())
                humps.append((train.first[begin], train.last[end], best[top], train.level[top], train.last[top]))
    if not humps:
        return []
    first, last = int(min(hump[0] for hump in humps)), int(max(hump[1] for hump in humps))
    _, _, low, high, at = max(humps, key=lambda hump: float(hump[3] - hump[2]))
    return [
        Finding(
            "learning_rate_too_high",
            first,
            last,
            "Learning rate too high",
            f"The loss was down to {low:.2f} and rose to {high:.2f} around step {at:,.0f}, while the learning rate was "
            f"near its peak (set to {config.learning_rate:g}).",
            "Start a new run with a third of the learning rate.",
            {**scaled_rate(config, 1 / 3), **clipping_on(config)},
        )
    ]


def spikes(losses: Curve, gradient: Curve, guessing: float, config: TrainingConfig) -> list[Finding]:
    """Losses far above those before and after: the largest few, in order of step."""
    steps, values = losses
    around = surroundings(values)
    above = values - around
    limit = np.maximum(SPIKE_NOISES * local_noise(values), SPIKE_SHARE * guessing)
    found = []
    for begin, end in groups(above > limit, SPIKE_GAP):
        top = begin + int(above[begin : end + 1].argmax())
        found.append((float(above[top]), begin, end, top))
    largest = sorted(sorted(found, key=lambda spike: -spike[0])[:MOST_SPIKES], key=lambda spike: spike[1])
    return [
        Finding(
            "spike",
            int(steps[begin]),
            int(steps[end]),
            "Spike",
            f"At step {steps[top]:,.0f} the loss jumped from about {around[top]:.2f} to {values[top]:.2f} and came "
            "back. "
            + _why(begin == end and end + 1 < len(steps) and bool(steps[end + 1] == steps[end] + 1))
            + _gradient_at(int(steps[begin]), int(steps[end]), gradient),
            "If this happens often, clip the gradient at half the norm."
            if config.max_grad_norm
            else "Turn on gradient clipping.",
            {"max_grad_norm": config.max_grad_norm / 2} if config.max_grad_norm else clipping_on(config),
        )
        for _, begin, end, top in largest
    ]


def _why(alone: bool) -> str:
    """The likely cause. A batch's loss is measured before its step: an odd batch leaves the next loss normal, a bad
    step does not."""
    if alone:
        return "The very next step was normal: that batch was odd."
    return "The cause is an odd batch or a step that was too large."


def _gradient_at(first: int, last: int, gradient: Curve) -> str:
    steps, norms = gradient
    here = norms[(steps >= first) & (steps <= last)]
    usual = float(np.median(norms)) if len(norms) else 0.0
    if not len(here) or usual <= 0 or here.max() < 2 * usual:
        return ""
    return f" The gradient was {here.max() / usual:,.0f} times as large as usual."


def plateau(curve: Curve, guessing: float, config: TrainingConfig) -> list[Finding]:
    """The longest stretch in which the loss certainly hardly fell, although the rate was material.

    "Hardly" is a share of the level, "certainly" counts standard errors: a run that is too noisy to tell is not called
    flat (a test of equivalence: Schuirmann, 1987), nor is one that slowly falls by more than its errors.
    """
    steps, values = curve
    warm = steps > round(config.warmup_ratio * config.max_steps)
    material = warm & (rate_shares(steps, config) >= MATERIAL_RATE)
    if material.sum() < PLATEAU_POINTS:
        return []
    part = buckets((steps[material], values[material]), PLATEAU_BUCKETS)
    found = _longest_flat(part, max(PLATEAU_STEPS, PLATEAU_SHARE * config.max_steps))
    if not found:
        return []
    begin, end = found
    level = float(np.median(part.level[begin : end + 1]))
    first, last = int(part.first[begin]), int(part.last[end])
    stayed = f"From step {first:,} to {last:,} the loss stayed near {level:.2f}"
    overrides: dict[str, Any] = {}
    if _fell_after(values[steps > last], level, part.noise, own=end < len(part.level) - 1):
        title, cause, advice = "Plateau, overcome", f"{stayed}; then it fell again.", ""
    elif abs(level - guessing) < UNIFORM_SHARE * guessing:
        title, advice = "Nothing is learned (plateau)", "Start a new run with three times the learning rate."
        cause = f"{stayed}, the value of pure guessing ({guessing:.2f}). "
        cause += f"The learning rate of {config.learning_rate:g} may be too low."
        overrides = scaled_rate(config, 3)
    else:
        title = "Plateau"
        cause = f"{stayed}. The model may have learned all it can at this size and from this text."
        advice = f"End at about step {first:,}, or try a larger model or more text."
        overrides = {"max_steps": first} if 0 < first < config.max_steps else {}
    return [Finding("plateau", first, last, title, cause, advice, overrides)]


def _longest_flat(part: Buckets, least: float) -> tuple[int, int] | None:
    """First and last bucket of the longest flat stretch of at least `least` steps; the later one of two equals."""
    count = len(part.level)
    for length in range(count, 2, -1):
        for begin in range(count - length, -1, -1):
            end = begin + length - 1
            if part.last[end] - part.first[begin] >= least and _is_flat(part, begin, end):
                return begin, end
    return None


def _fell_after(after: Floats, level: float, noise: float, *, own: bool) -> bool:
    """Whether the loss fell below the level later. `own`: the stretch ended by itself, not with the material rate."""
    if len(after) < (3 if own else PLATEAU_POINTS):
        return False
    third = after[-max(1, len(after) // 3) :]
    return level - float(np.median(third)) > FLAT_SHARE * level + SURE * noise / math.sqrt(len(third))


def _is_flat(part: Buckets, begin: int, end: int) -> bool:
    """Whether the last third of the stretches is certainly as high as the first, and the middle too."""
    third = max(1, (end + 1 - begin) // 3)
    head, tail = np.median(part.level[begin : begin + third]), np.median(part.level[end + 1 - third : end + 1])
    middle = np.median(part.level[begin + third : end + 1 - third])
    error = math.sqrt(2) * part.error_over(third)
    margin = FLAT_SHARE * abs(float(tail))
    fall = float(head - tail)
    return fall <= 2 * error and abs(fall) + SURE * error < margin and abs(float(middle - (head + tail) / 2)) < margin


def _diverged(first: int, last: int, cause: str, config: TrainingConfig) -> Finding:
    return Finding(
        "divergence",
        first,
        last,
        "Broke down (divergence)",
        f"{cause} The usual cause is too large steps: the learning rate was at most {config.learning_rate:g}"
        f"{'' if config.max_grad_norm else ', and clipping was off'}.",
        "Start a new run with a third of the learning rate"
        f"{'' if config.max_grad_norm else ', and clip the gradient'}.",
        {**scaled_rate(config, 1 / 3), **clipping_on(config)},
    )

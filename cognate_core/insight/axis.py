"""The horizontal axis of a chart: steps, time or tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cognate_core.insight.words import time_unit

Floats = npt.NDArray[np.float64]
By = Literal["step", "time", "tokens"]

ROOM = 1.05  # the last step is not at the very edge while a run goes on


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps steps to places on the axis. `end`: where the axis ends. `steps`, `values`: known places; None: the step
    itself is the place. `planned`: said beside the title."""

    title: str = "step"
    end: float = 1.0
    steps: Floats | None = None
    values: Floats | None = None
    planned: str = ""

    @property
    def is_steps(self) -> bool:
        """Whether the axis shows steps."""
        return self.steps is None

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return not self.title.startswith("training time")

    def at(self, steps: Floats) -> Floats:
        """The places of `steps`; the nearest known place for steps beyond the known ones."""
        if self.steps is None or self.values is None:
            return steps
        return np.interp(steps, self.steps, self.values)


def axis_by(
    by: By,
    total_steps: int,
    elapsed: tuple[Floats, Floats],
    tokens: tuple[Floats, Floats],
    tokens_before: float = 0.0,
    longest: float = 0.0,
    *,
    follows: bool = True,
) -> Axis:
    """The chosen axis; steps if its values are not known.

    Args:
        elapsed: steps, and the seconds of training up to each.
        tokens: steps, and the tokens learned from up to each.
        tokens_before: tokens that a branch had learned from before.
        longest: seconds of the longest run in the chart: all its runs share one unit.
        follows: whether an axis of steps ends near the last one instead of the planned one.
    """
    steps, values = elapsed if by == "time" else tokens
    known = np.isfinite(values)
    if by == "step" or not known.any():
        end = _end(total_steps, float(elapsed[0].max(initial=0.0)) if follows else 0.0)
        return Axis(end=end, planned=f" (of {total_steps:,} planned)" if end < total_steps else "")
    steps, values = steps[known], values[known]
    if by == "tokens":
        values = values + tokens_before
        # A branch begins at the step that it continues from.
        return Axis("tokens learned from", float(values[-1]), np.r_[steps[0] - 1, steps], np.r_[tokens_before, values])
    seconds = float(values[-1])
    longest = max(longest, seconds)
    unit, size = time_unit(longest)
    start = float(values[0]) if steps[0] > 1 else 0.0  # a branch includes its parent's time
    return Axis(f"training time ({unit})", seconds / size, np.r_[steps[0] - 1, steps], np.r_[start, values] / size)


def _end(total: float, last: float) -> float:
    """Where an axis of steps ends: at the planned `total`, or at its half, quarter or eighth if the `last` step fits
    with some room. So the curve soon fills half of the chart, and the axis seldom changes."""
    ends = (total / 8, total / 4, total / 2)
    return next((end for end in ends if 0 < ROOM * last <= end), float(total))

"""A learning-rate search: a short training with an exponentially growing rate (arXiv 1506.01186).

It starts like the run: the same weights, filter, optimizer and data. `insight/rate_finder.py` interprets the curve.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import peak_learning_rate
from cognate_core.contracts import Record, StepMetrics
from cognate_core.data.prepared import PreparedData
from cognate_core.training.hardware import keep_freed_memory, precision_for
from cognate_core.training.tasks import loop_for

LOWEST, HIGHEST = 1e-5, 1.0
SECONDS = 60.0  # of steps
FEWEST_STEPS, MOST_STEPS = 40, 100  # slow steps take longer than SECONDS: fewer steps would be no curve
TIMED_STEPS = 3  # at the lowest rate, which hardly changes the weights; the first is slower than the others
RECENT = 5  # losses whose mean shows whether it has exploded
WORSE = 1.1  # times the initial loss

Tell = Callable[[float, float, int], None]
"""`tell(rate, loss, planned)`: the loss after a step of this rate, and the most steps there will be."""


def sweep_rates(
    config: TrainingConfig,
    data: PreparedData,
    folder: Path,
    tell: Tell,
    clock: Callable[[], float] = time.perf_counter,
) -> bool:
    """Train with a rate that grows from LOWEST to HIGHEST. Returns whether the loss exploded before HIGHEST.

    A rate is a value of the setting learning_rate; "keep the step size" then divides it by the filter's amplification.
    Nothing is written into `folder`.
    """
    losses: list[float] = []

    def record(item: Record) -> None:
        if isinstance(item, StepMetrics):
            losses.append(item.loss)

    keep_freed_memory()
    loop = loop_for(config)(
        "learning-rate search", config, data, folder, precision_for(config), record, lambda *_: None
    )
    scale = peak_learning_rate(config) / config.learning_rate
    times = [clock()]
    for _ in range(TIMED_STEPS):
        loop.step_at(LOWEST * scale)
        times.append(clock())
    step_seconds = (times[-1] - times[1]) / (TIMED_STEPS - 1)
    planned = MOST_STEPS if step_seconds * MOST_STEPS <= SECONDS else max(FEWEST_STEPS, int(SECONDS / step_seconds))
    begun = sum(losses) / len(losses)
    factor = (HIGHEST / LOWEST) ** (1 / (planned - 1))
    for number in range(planned):
        loop.step_at(LOWEST * factor**number * scale)
        if not math.isfinite(losses[-1]):
            return True
        if number:  # the previous step caused this loss
            tell(LOWEST * factor ** (number - 1), losses[-1], planned)
        if number >= RECENT and sum(losses[-RECENT:]) / RECENT > WORSE * begun:
            return True
    return False

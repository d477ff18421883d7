"""A rehearsal: the first steps of a run as they will really be, measured, to say how long all of them take."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.contracts import DatasetLoader, Record, StepMetrics
from cognate_core.data.arithmetic_loader import ArithmeticLoader
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import StopRequested
from cognate_core.training.hardware import keep_freed_memory, precision_for
from cognate_core.training.tasks import loop_for

BUDGET_SECONDS = 8.0  # of measured steps
FEWEST_STEPS, MOST_STEPS = 2, 40
ROWS, HELDOUT_ROWS = 400, 200  # enough for a held-out check of full length
LEAST_SPREAD = 0.15  # steps of another moment differ by as much; chosen, not measured


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was measured: seconds of each step but the first, of one dataset's held-out check, of one checkpoint."""

    step_seconds: list[float]
    check_seconds: float
    save_seconds: float

    def seconds(self, config: TrainingConfig) -> tuple[float, float]:
        """The range in which the training of one model should end: two standard errors, at least LEAST_SPREAD."""
        datasets = 1 if config.task == "arithmetic" else max(1, len(config.dataset_sources))
        checks = (config.max_steps // config.eval_interval + 1) * datasets
        saves = config.max_steps // config.save_steps + 1
        rest = checks * self.check_seconds + saves * self.save_seconds
        mean = statistics.fmean(self.step_seconds)
        error = statistics.stdev(self.step_seconds) / len(self.step_seconds) ** 0.5 if len(self.step_seconds) > 1 else 0
        spread = max(2 * error, LEAST_SPREAD * mean)
        return (
            config.max_steps * max(mean - spread, min(self.step_seconds)) + rest * (1 - LEAST_SPREAD),
            config.max_steps * (mean + spread) + rest * (1 + LEAST_SPREAD),
        )


def rehearse(config: TrainingConfig, folder: Path, budget_seconds: float = BUDGET_SECONDS) -> Rehearsal:
    """Train the first steps of `config` on text made here, in `folder`, and measure them.

    Raises:
        CognateError: they could not be trained.
    """
    made_here: dict[str, Any] = {"dataset_sources": ["Synthetic"], "dataset_path": None, "mixture_weights": {}}
    rehearsed = config.with_overrides({**made_here, "max_train_samples": ROWS, "max_eval_samples": HELDOUT_ROWS})
    loader: DatasetLoader = MixtureLoader(rehearsed, folder, lambda _: None, lambda _: None)
    if config.task == "arithmetic":
        loader = ArithmeticLoader(rehearsed, folder, lambda _: None)
    asyncio.run(loader.download_dataset("Synthetic", "built in"))
    data = PreparedData(Path(asyncio.run(loader.create_mixed_training_data())))
    steps: list[StepMetrics] = []
    trained = False

    def record(item: Record) -> None:
        if isinstance(item, StepMetrics):
            steps.append(item)

    def watch(*_: float) -> None:
        measured = [step.seconds for step in steps[1:]]
        if not trained and len(measured) >= (FEWEST_STEPS if sum(measured) > budget_seconds else MOST_STEPS):
            raise StopRequested

    keep_freed_memory()
    loop = loop_for(config)("rehearsal", rehearsed, data, folder, precision_for(config), record, watch)
    with suppress(StopRequested):
        loop.run()
    trained = True
    start = time.perf_counter()
    loop.save()
    saved = time.perf_counter()
    loop.check()  # the one before the first step is shorter than those that follow
    return Rehearsal(
        step_seconds=[step.seconds for step in steps[1:] or steps],
        check_seconds=time.perf_counter() - saved,
        save_seconds=saved - start,
    )

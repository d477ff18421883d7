"""A rehearsal: the first steps of a run as they will really be, measured, to say how long all of it takes."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig, dataset_id
from cognate_core.contracts import DatasetLoader, Evaluation, Record, StepMetrics
from cognate_core.data.arithmetic_loader import ArithmeticLoader
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.data.sources import SourceDocuments, source_here, splits_here
from cognate_core.errors import StopRequested
from cognate_core.training.hardware import keep_freed_memory, precision_for
from cognate_core.training.loop import SAVE_SECONDS
from cognate_core.training.tasks import loop_for
from cognate_core.training.text_loop import first_pondering_step

BUDGET_SECONDS = 8.0  # of measured steps
FEWEST_STEPS, MOST_STEPS = 8, 40
FEWEST_QUICK_STEPS = 4  # each does the same work: no limit is drawn
STUDENT = 2.4  # standard errors of a mean of FEWEST_STEPS that hold it in 95 % (t with 7 degrees of freedom: 2.36)
LEAST_SPREAD = 0.15  # steps of another moment differ by as much; chosen, not measured
ROWS, HELDOUT_ROWS = 400, 200  # of the text made here: enough for a held-out check of full length
PONDERS_LEAST = {"max_act_steps": 1, "act_inference_steps": 1}


@dataclass(frozen=True, slots=True)
class Pace:
    """What was measured of some steps.

    Attributes:
        step_seconds: of each step but the first.
        check_seconds: of the held-out check of all datasets; sample_seconds: of what the model wrote after it.
        save_seconds: of one checkpoint.
    """

    step_seconds: list[float]
    check_seconds: float
    sample_seconds: float
    save_seconds: float

    @property
    def mean(self) -> float:
        return statistics.fmean(self.step_seconds)

    @property
    def spread(self) -> float:
        """How far from the mean that of all steps may be."""
        steps = self.step_seconds
        error = statistics.stdev(steps) / len(steps) ** 0.5 if len(steps) > 1 else 0.0
        return max(STUDENT * error, LEAST_SPREAD * self.mean)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was measured of the whole.

    Attributes:
        fresh: with the weights as they are drawn, which ponder longest.
        quickest: where each token is gone over once; the same as `fresh` of a model that does not ponder.
        closing_checks: how many times as long as a check the measurement over all held-out text takes.
        missing: datasets that are not on this computer, so that they had no part in it.
    """

    fresh: Pace
    quickest: Pace
    closing_checks: float
    missing: list[str] = field(default_factory=list)

    def seconds(self, config: TrainingConfig) -> tuple[float, float]:
        """The range in which the training of one model should end: steps, checks, samples, checkpoints and the
        measurement over all held-out text. A model that learns ponders less and less, but not below one step.
        """
        steps = config.max_steps
        checks = steps // config.eval_interval + 1 + bool(steps % config.eval_interval)  # the first one is at step 0
        saves = steps // config.save_steps + bool(steps % config.save_steps)
        low, high = self.quickest, self.fresh
        least = (checks + self.closing_checks) * low.check_seconds + saves * low.save_seconds
        most = (checks + self.closing_checks) * high.check_seconds + checks * high.sample_seconds
        most += (saves + checks) * high.save_seconds  # each check may be the best so far, and is saved then
        shortest = steps * max(low.mean - low.spread, min(low.step_seconds)) + least * (1 - LEAST_SPREAD)
        early = min(steps, first_pondering_step(config) - 1)  # before pondering begins, each step is of the quickest
        longest = early * (low.mean + low.spread) + (steps - early) * (high.mean + high.spread)
        longest += most * (1 + LEAST_SPREAD)
        longest *= 1 + high.save_seconds / SAVE_SECONDS  # a run of slow steps saves more often
        return min(shortest, longest), longest  # on a busy computer the quick steps may have been the slower ones


def rehearse(
    config: TrainingConfig, folder: Path, cache: Path | None = None, budget_seconds: float = BUDGET_SECONDS
) -> Rehearsal:
    """Train the first steps of `config` and measure them: on its own data as far as they are on this computer, on
    text made here where none are. Nothing is fetched, and all that is written goes into `folder`.

    Args:
        cache: where earlier runs left what they fetched.

    Raises:
        CognateError: they could not be trained.
    """
    rehearsed, data, missing = _data_here(config, folder, cache or folder)
    keep_freed_memory()
    fresh, checked = _pace(rehearsed, data, folder / "fresh", FEWEST_STEPS, budget_seconds)
    quickest = fresh
    if config.act_enabled and config.task == "text":
        least = rehearsed.with_overrides(PONDERS_LEAST)
        quickest, _ = _pace(least, data, folder / "quickest", FEWEST_QUICK_STEPS, budget_seconds / 2)
    if config.task == "arithmetic":
        return Rehearsal(fresh, quickest, closing_checks=1.0)
    held_out = sum(int(data.packed(name, "heldout").counted[:, 1:].sum()) for name in data.sources)
    return Rehearsal(fresh, quickest, held_out / checked if checked else 0.0, missing)


def _pace(
    config: TrainingConfig, data: PreparedData, folder: Path, fewest: int, budget_seconds: float
) -> tuple[Pace, int]:
    """Measure as many steps as the budget allows, at least `fewest`; and how many held-out tokens a check counted."""
    steps: list[StepMetrics] = []
    trained, checked, last_check = False, 0, 0.0

    def record(item: Record) -> None:
        nonlocal checked, last_check
        if isinstance(item, StepMetrics):
            steps.append(item)
        elif isinstance(item, Evaluation) and trained:
            checked += item.tokens
            last_check = time.perf_counter()

    def watch(*_: float) -> None:
        measured = [step.seconds for step in steps[1:]]
        if not trained and len(measured) >= (fewest if sum(measured) > budget_seconds else MOST_STEPS):
            raise StopRequested

    loop = loop_for(config)("rehearsal", config, data, folder, precision_for(config), record, watch)
    with suppress(StopRequested):
        loop.run()
    trained = True
    start = time.perf_counter()
    loop.save()
    saved = last_check = time.perf_counter()
    loop.check()  # the one before the first step is shorter than those that follow
    pace = Pace(
        step_seconds=[step.seconds for step in steps[1:] or steps],
        check_seconds=last_check - saved,
        sample_seconds=time.perf_counter() - last_check,
        save_seconds=saved - start,
    )
    return pace, checked


class _LoaderOfWhatIsHere(MixtureLoader):
    """Asks nothing of the network. `here`: where earlier runs left what they fetched."""

    here: Path

    def _load(self, name: str) -> SourceDocuments:
        found = None if self._config.dataset_path else source_here(name, self._config, self.here)
        return found or super()._load(name)


def _data_here(config: TrainingConfig, folder: Path, cache: Path) -> tuple[TrainingConfig, PreparedData, list[str]]:
    """What is rehearsed, on which data, and which datasets are missing."""
    loader: DatasetLoader
    if config.task == "arithmetic":
        loader = ArithmeticLoader(config, folder, lambda _: None)
        return config, PreparedData(Path(asyncio.run(loader.create_mixed_training_data()))), []
    wanted = ["Own file"] if config.dataset_path else config.dataset_sources
    names = [name for name in wanted if name in ("Own file", "Synthetic") or splits_here(name, cache)]
    changes: dict[str, Any] = {}
    if not names:
        names = ["Synthetic"]
        changes = {"mixture_weights": {}, "max_train_samples": ROWS, "max_eval_samples": HELDOUT_ROWS}
    if names != wanted:
        weights = {name: weight for name, weight in config.mixture_weights.items() if name in names}
        changes = {"dataset_sources": names, "mixture_weights": weights, **changes}
    rehearsed = config.with_overrides({**changes, "act_from": 0.0, "early_stopping_patience": 0})
    loader = _LoaderOfWhatIsHere(rehearsed, folder, lambda _: None, lambda _: None)
    loader.here = cache
    for name in names:
        asyncio.run(loader.download_dataset(name, dataset_id(name)))
    data = PreparedData(Path(asyncio.run(loader.create_mixed_training_data())))
    if names != wanted:  # another text has another vocabulary: a model as wide as was asked
        data.report = replace(data.report, fitted=False)
    return rehearsed, data, [name for name in wanted if name not in names]

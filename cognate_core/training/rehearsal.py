"""A rehearsal: measure the real first steps of a run to estimate how long all of it takes."""

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
FEWEST_QUICK_STEPS = 4  # all do the same work: no ponder limit is drawn
STUDENT = 2.4  # standard errors of a mean of FEWEST_STEPS for 95 % confidence (t with 7 degrees of freedom: 2.36)
LEAST_SPREAD = 0.15  # steps at other times differ by this much; chosen, not measured
ROWS, HELDOUT_ROWS = 400, 200  # of the built-in text: enough for a held-out check of full length
PONDERS_LEAST = {"max_act_steps": 1, "act_inference_steps": 1}


@dataclass(frozen=True, slots=True)
class Pace:
    """Times measured for some steps.

    Attributes:
        step_seconds: of each step but the first.
        check_seconds: of the held-out check of all datasets.
        sample_seconds: of what the model wrote after the check.
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
        """How far the mean over all steps may be from this mean."""
        steps = self.step_seconds
        error = statistics.stdev(steps) / len(steps) ** 0.5 if len(steps) > 1 else 0.0
        return max(STUDENT * error, LEAST_SPREAD * self.mean)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The measurements of a rehearsal.

    Attributes:
        fresh: with the initial weights, which ponder longest.
        quickest: with one ponder step per token; the same as `fresh` for a model that does not ponder.
        closing_checks: the time to measure all held-out text, in checks.
        missing: datasets that are not on this computer and were left out.
    """

    fresh: Pace
    quickest: Pace
    closing_checks: float
    missing: list[str] = field(default_factory=list)

    def seconds(self, config: TrainingConfig) -> tuple[float, float]:
        """The range of times that training one model should take: steps, checks, samples, checkpoints and the final
        measurement of all held-out text. A model ponders less and less as it learns, but at least one step.
        """
        steps = config.max_steps
        checks = steps // config.eval_interval + 1 + bool(steps % config.eval_interval)  # the first is at step 0
        saves = steps // config.save_steps + bool(steps % config.save_steps)
        low, high = self.quickest, self.fresh
        least = (checks + self.closing_checks) * low.check_seconds + saves * low.save_seconds
        most = (checks + self.closing_checks) * high.check_seconds + checks * high.sample_seconds
        most += (saves + checks) * high.save_seconds  # each check may be the best so far, which is saved
        shortest = steps * max(low.mean - low.spread, min(low.step_seconds)) + least * (1 - LEAST_SPREAD)
        early = min(steps, first_pondering_step(config) - 1)  # before pondering begins, each step is quick
        longest = early * (low.mean + low.spread) + (steps - early) * (high.mean + high.spread)
        longest += most * (1 + LEAST_SPREAD)
        longest *= 1 + high.save_seconds / SAVE_SECONDS  # a run of slow steps saves more often
        return min(shortest, longest), longest  # on a busy computer, the quick steps may have been slower


def rehearse(
    config: TrainingConfig, folder: Path, cache: Path | None = None, budget_seconds: float = BUDGET_SECONDS
) -> Rehearsal:
    """Train the first steps of `config` and measure them, on those of its datasets that are on this computer. If none
    are, built-in text is used. Nothing is fetched; everything is written into `folder`.

    Args:
        cache: where earlier runs left what they fetched.

    Raises:
        CognateError: the steps could not be trained.
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
    """Measure as many steps as the budget allows, at least `fewest`; also, how many held-out tokens a check counted."""
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
    loop.check()  # the check before the first step is shorter than later ones
    pace = Pace(
        step_seconds=[step.seconds for step in steps[1:] or steps],
        check_seconds=last_check - saved,
        sample_seconds=time.perf_counter() - last_check,
        save_seconds=saved - start,
    )
    return pace, checked


class _LoaderOfWhatIsHere(MixtureLoader):
    """Does not use the network. `here`: where earlier runs left what they fetched."""

    here: Path

    def _load(self, name: str) -> SourceDocuments:
        found = None if self._config.dataset_path else source_here(name, self._config, self.here)
        return found or super()._load(name)


def _data_here(config: TrainingConfig, folder: Path, cache: Path) -> tuple[TrainingConfig, PreparedData, list[str]]:
    """The config to rehearse, its data, and the missing datasets."""
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
    if names != wanted:  # other text has another vocabulary: make the model as wide as configured
        data.report = replace(data.report, fitted=False)
    return rehearsed, data, [name for name in wanted if name not in names]

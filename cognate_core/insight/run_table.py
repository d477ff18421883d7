"""What the table of all runs shows of each, and which runs match what a person looks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cognate_core.config.presets import Preset, nearest_preset
from cognate_core.contracts import RunStatus
from cognate_core.contracts.heldout import HeldoutCheck, HeldoutMeans, lowest_loss
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run, stored_config_of

CURVE_POINTS = 40  # of the small curve in a row
MOST_KEPT = 10_000

_learned: dict[tuple[Path, str, str | None], tuple[HeldoutMeans | None, list[float]]] = {}
"""The best means and the curve of ended runs, which no longer change."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run in the table of all runs.

    Attributes:
        best: the means at its check with the lowest held-out loss; None: not measured.
        curve: the held-out loss of the model with that check, check by check.
        preset: the one that its settings are nearest to.
    """

    run: Run
    best: HeldoutMeans | None
    curve: list[float]
    preset: Preset

    @property
    def datasets(self) -> list[str]:
        """What it reads, or the lab's task."""
        config = self.run.config
        return ["Arithmetic"] if config.task == "arithmetic" else list(config.dataset_sources)


def run_figures(log: ProgressReader, runs: Sequence[Run]) -> list[RunFigures]:
    """The figures of `runs`, in their order."""
    ended = {run.id: (log.path, run.id, run.finished_at) for run in runs if run.status.is_terminal}
    checks = log.heldout_checks(run.id for run in runs if ended.get(run.id) not in _learned)
    if len(_learned) > MOST_KEPT:
        _learned.clear()
    figures = []
    for run in runs:
        place = ended.get(run.id)
        learned = _learned.get(place) if place else None
        if learned is None:
            learned = _best_and_curve(checks.get(run.id, []))
            if place:
                _learned[place] = learned
        figures.append(RunFigures(run, *learned, _preset_of(run.stored_config)))
    return figures


def _best_and_curve(checks: Sequence[HeldoutCheck]) -> tuple[HeldoutMeans | None, list[float]]:
    best = lowest_loss(checks)
    losses = [
        check.means.loss
        for check in checks
        if best is not None and check.model_name == best.model_name and check.means.loss is not None
    ]
    if len(losses) > CURVE_POINTS:
        losses = [losses[place] for place in np.linspace(0, len(losses) - 1, CURVE_POINTS).round().astype(int)]
    return None if best is None else best.means, losses


@lru_cache(maxsize=2048)
def _preset_of(stored_config: str) -> Preset:
    return nearest_preset(stored_config_of(stored_config)[0])


def matching(
    figures: Iterable[RunFigures],
    text: str = "",
    *,
    statuses: Sequence[RunStatus] = (),
    datasets: Sequence[str] = (),
    presets: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> list[RunFigures]:
    """Those with every word of `text` in their name, tags, sweep or error, and one of each kind asked for; all `tags`.

    Args:
        presets: titles.
    """
    words = text.casefold().split()

    def matches(each: RunFigures) -> bool:
        run = each.run
        about = "\n".join((run.name, *run.tags, run.group_name or "", run.error or "")).casefold()
        return (
            all(word in about for word in words)
            and (not statuses or run.status in statuses)
            and (not datasets or not set(datasets).isdisjoint(each.datasets))
            and (not presets or each.preset.title in presets)
            and set(tags) <= set(run.tags)
        )

    return [each for each in figures if matches(each)]

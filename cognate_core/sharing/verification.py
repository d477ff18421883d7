"""Whether a repeated run gave the same result: losses step by step, held-out losses, and weights.

It reads the records and trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cognate_core.config import fields_that
from cognate_core.contracts import RunStatus
from cognate_core.errors import StorageError
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run

ROUNDING = {"fp32": 1e-3, "bf16": 1e-2}
"""How far two losses may differ, in nats per token, and still be the same within rounding.

Another processor, or another number of threads, adds the same numbers in another order. Measured in fp32, over 30
steps of a tiny model: two threads instead of one changed no loss by more than a ten-millionth of it, another seed by
up to a fiftieth. The bound leaves room because longer training amplifies rounding. The bound for bf16, which keeps 8 of
the 24 bits of a factor, is calculated, not measured.
"""

_ENDED = (RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_FAILURES, RunStatus.STOPPED)

Verdict = Literal["identical", "same within rounding", "different", "cannot be compared"]


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """One model of the original compared with its repetition. None: unknown."""

    name: str
    steps: int  # compared
    largest_difference: float | None  # of the loss at any step, in nats per token
    first_differing_step: int | None
    identical_losses: bool  # bit for bit, at every step of both
    largest_heldout_difference: float | None
    same_length: bool  # both have the same steps
    same_weights: bool | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of comparing two runs. `reason`: why, in a plain sentence."""

    verdict: Verdict
    reason: str
    same_data: bool | None
    other_settings: tuple[str, ...]  # names of settings that differ
    models: tuple[ModelComparison, ...]


def compare_runs(log: ProgressReader, store: ArtifactStore, original_id: str, repeated_id: str) -> Verification:
    """Whether `repeated_id` gave the same result as `original_id`. Models are paired in order.

    Raises:
        RunError: there is no such run.
    """
    original, repeated = log.run(original_id), log.run(repeated_id)
    pairs = list(zip(original.model_names, repeated.model_names, strict=False))
    models = tuple(_compared(log, store, (original, first), (repeated, second)) for first, second in pairs)
    hashes = [run.data_report["content_hash"] if run.data_report else None for run in (original, repeated)]
    same_data = None if None in hashes else hashes[0] == hashes[1]
    other = tuple(
        name for name in fields_that("compared") if getattr(original.config, name) != getattr(repeated.config, name)
    )
    verdict, reason = _verdict(original, repeated, same_data, models, _rounding(log, original_id))
    if other and verdict != "cannot be compared":
        titles = ", ".join(str(type(original.config).model_fields[name].title) for name in other)
        reason = f"{reason} The settings differ: {titles}."
    return Verification(verdict, reason, same_data, other, models)


def _compared(
    log: ProgressReader, store: ArtifactStore, first: tuple[Run, str], second: tuple[Run, str]
) -> ModelComparison:
    (original, name), (repeated, other_name) = first, second
    losses = log.losses(original.id, name), log.losses(repeated.id, other_name)
    heldout = _heldout(log, original.id, name), _heldout(log, repeated.id, other_name)
    hashes = _weights(log, store, original.id, name), _weights(log, store, repeated.id, other_name)
    common = sorted(losses[0].keys() & losses[1].keys())
    checked = heldout[0].keys() & heldout[1].keys()
    return ModelComparison(
        name=name,
        steps=len(common),
        largest_difference=_largest((losses[0][step], losses[1][step]) for step in common),
        first_differing_step=next((step for step in common if losses[0][step] != losses[1][step]), None),
        identical_losses=bool(common) and losses[0] == losses[1],
        largest_heldout_difference=_largest((heldout[0][key], heldout[1][key]) for key in checked),
        same_length=losses[0].keys() == losses[1].keys(),
        same_weights=None if None in hashes else hashes[0] == hashes[1],
    )


def _verdict(
    original: Run, repeated: Run, same_data: bool | None, models: tuple[ModelComparison, ...], rounding: float
) -> tuple[Verdict, str]:
    for run in (original, repeated):
        if run.status not in _ENDED:
            return "cannot be compared", f"{run.name} was not completed: it is {run.status}."
    if same_data is None:
        return "cannot be compared", "The training data of at least one of the runs are unknown."
    if not same_data:
        return "cannot be compared", "The two runs learned from different data, so their figures cannot be compared."
    if len(original.model_names) != len(repeated.model_names):
        return "cannot be compared", "The two runs have different numbers of models."
    for model in models:
        if not model.steps:
            return "cannot be compared", f"The two runs have no recorded step of {model.name} in common."
    gaps = {model.name: _gap(model) for model in models}
    worst = max(gaps, key=lambda name: gaps[name])
    if gaps[worst] > rounding:
        return (
            "different",
            f"The losses of {worst} differ by up to {gaps[worst]:.3g} nats per token. Rounding explains at most "
            f"{rounding:g}.",
        )
    if all(model.identical_losses and not _gap(model) for model in models):
        if all(model.same_weights for model in models):
            return "identical", "Every loss is the same bit for bit, and so are the weights."
        if any(model.same_weights is None for model in models):
            return (
                "same within rounding",
                "Every loss is the same bit for bit. The weights of a model are missing, so they could not be "
                "compared.",
            )
    if original.status != repeated.status or any(not model.same_length for model in models):
        return "cannot be compared", "One of the runs is longer. Up to the end of the shorter one, they agree."
    return (
        "same within rounding",
        f"The losses differ by at most {gaps[worst]:.3g} nats per token, which another processor or another number of "
        "threads explains. The weights are not the same bit for bit.",
    )


def _gap(model: ModelComparison) -> float:
    return max(model.largest_difference or 0.0, model.largest_heldout_difference or 0.0)


def _heldout(log: ProgressReader, run_id: str, model: str) -> dict[tuple[int, str], float | None]:
    return {(row["step"], row["dataset"]): row["loss"] for row in log.evaluations(run_id, model_name=model)}


def _largest(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    """The largest difference; infinite if only one of a pair is a number."""
    differences = [
        abs(one - other) if one is not None and other is not None else 0.0 if one is other else math.inf
        for one, other in pairs
    ]
    return max(differences, default=None)


def _weights(log: ProgressReader, store: ArtifactStore, run_id: str, model: str) -> str | None:
    """The hash of a model's weights on the disk; None if they are missing."""
    for each in log.models(run_id):
        if each.trained_as == model:
            paths = {row["kind"]: row["path"] for row in log.artifacts(each.id)}
            try:
                (row,) = store.describe({"weights": paths["weights"]})
            except (StorageError, KeyError):
                return None
            return str(row["sha256"])
    return None


def _rounding(log: ProgressReader, run_id: str) -> float:
    """The bound for the number format that a run was trained in."""
    formats = {model.details["training_stats"].get("precision", "fp32") for model in log.models(run_id)}
    return max((ROUNDING[each] for each in formats), default=ROUNDING["fp32"])

"""A run's progress, origin and time estimate."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal


def utc_now() -> str:
    """The current time as ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Phase(StrEnum):
    """The phases of a run, named as in the specification."""

    INITIALIZATION = "Training Initialization"
    DATASETS = "Dataset Preparation"
    TRAINING = "Model Training"
    COMPLETE = "Training Complete"
    CANCELLED = "Training Cancelled"
    FAILED = "Training Failed"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """A run's progress. `progress` goes from 0 to 1 over the whole run and never decreases."""

    progress: float
    message: str
    phase_name: str
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    timestamp: str = field(default_factory=utc_now)


Relation = Literal["copy", "fix", "twin", "branch", "verification"]
"""A derived run's relation to its parent: a copy of its settings to edit, a remedy applied, the gradient filter
switched, a branch from a checkpoint, or a repetition to compare."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The parent of a derived run. `branch_step`: of the checkpoint that a branch continues from."""

    parent_run_id: str
    relation: Relation
    branch_step: int | None = None


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """The time estimate from a rehearsal on this computer, from the first step to the last held-out check. It excludes
    downloading and preparing data.

    `busy`: another run was active at the time. `memory_bytes`: the peak of the rehearsing process.
    `quickest_step_seconds`: of a step that processes each token once, which pondering approaches as the model learns;
    None in old estimates, which did not measure it. `missing_data`: datasets that are not on this computer and were
    therefore left out.
    """

    low_seconds: float
    high_seconds: float
    step_seconds: float
    steps_measured: int
    memory_bytes: int
    threads: int
    busy: bool
    quickest_step_seconds: float | None = None
    missing_data: list[str] = field(default_factory=list)

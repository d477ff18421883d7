"""How far a run is, where it came from, and how long it should take."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal


def utc_now() -> str:
    """The time now, as ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Phase(StrEnum):
    """The named stretches of a run, as the specification names them."""

    INITIALIZATION = "Training Initialization"
    DATASETS = "Dataset Preparation"
    TRAINING = "Model Training"
    COMPLETE = "Training Complete"
    CANCELLED = "Training Cancelled"
    FAILED = "Training Failed"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a run is. `progress` runs from 0 to 1 over the whole run and never backwards."""

    progress: float
    message: str
    phase_name: str
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    timestamp: str = field(default_factory=utc_now)


Relation = Literal["copy", "fix", "twin", "branch", "verification"]
"""What a run is to the one that it was made of: the same settings to be changed, a remedy applied, the gradient filter
the other way, gone off from a checkpoint, or the same once more to compare."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that another one was made of. `branch_step`: of the checkpoint that a branch goes on from."""

    parent_run_id: str
    relation: Relation
    branch_step: int | None = None


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """What a rehearsal on this computer says of a run, from its first step to the last held-out check. Fetching and
    preparing data come on top.

    `busy`: another run was going at the time. Memory is the greatest that the rehearsing process had.
    `quickest_step_seconds`: of a step in which each token is gone over once, which pondering comes close to as the
    model learns; None in estimates from before this was measured. `missing_data`: datasets that are not on this
    computer and so had no part in it.
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

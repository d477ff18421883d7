"""The life of a run: its statuses, and which may follow which. Nothing else decides it; the database obeys this table.

    queued ──> preparing ──> training ──> completed, completed with failures, failed, diverged, crashed, interrupted
      │            │            │
      │            └────────────┴──> pausing ──> paused
      │                         ├──> stopping ──> stopped        (pausing ──> stopping ──> cancelling: stronger)
      └──> cancelled, paused    └──> cancelling ──> cancelled

What was paused, stopped, or ended by a mishap can be resumed: a person has it queued again.
"""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run is in its life. The values are the words that people read."""

    QUEUED = "queued"
    PREPARING = "preparing"
    TRAINING = "training"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed with failures"
    FAILED = "failed"
    CRASHED = "crashed"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"

    @property
    def is_active(self) -> bool:
        """True while somebody works on the run."""
        return self in _ACTIVE

    @property
    def is_terminal(self) -> bool:
        """True once the run has ended. Only a person who resumes it leads out of here."""
        return self in _TERMINAL

    @property
    def can_resume(self) -> bool:
        """True when a person may have it queued again; it goes on from its last checkpoint."""
        return self in _RESUMABLE


_S = RunStatus
_ACTIVE = frozenset({_S.PREPARING, _S.TRAINING, _S.PAUSING, _S.STOPPING, _S.CANCELLING})
_TERMINAL = frozenset(RunStatus) - _ACTIVE - {_S.QUEUED, _S.PAUSED}
_RESUMABLE = frozenset({_S.PAUSED, _S.STOPPED, _S.FAILED, _S.CRASHED, _S.INTERRUPTED})
_ENDS = _TERMINAL | {_S.PAUSED}  # what an execution may come to; what was asked for may have come too late

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    _S.QUEUED: frozenset({_S.PREPARING, _S.CANCELLED, _S.PAUSED}),  # paused: it was resumed, and taken out again
    _S.PREPARING: _ENDS | {_S.TRAINING, _S.PAUSING, _S.STOPPING, _S.CANCELLING},
    _S.TRAINING: _ENDS | {_S.PAUSING, _S.STOPPING, _S.CANCELLING},
    _S.PAUSING: _ENDS | {_S.STOPPING, _S.CANCELLING},
    _S.STOPPING: _ENDS | {_S.CANCELLING},
    _S.CANCELLING: _ENDS,
    **{status: frozenset({_S.QUEUED}) if status in _RESUMABLE else frozenset() for status in _ENDS},
}
"""What may follow each status."""


def sources(status: RunStatus) -> frozenset[RunStatus]:
    """What a run may be just before it becomes `status`."""
    return frozenset(source for source, targets in TRANSITIONS.items() if status in targets)

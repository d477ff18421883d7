"""The statuses of a run and their allowed transitions. This table is the only source; the database enforces it.

    queued ──> preparing ──> training ──> completed, completed with failures, failed, diverged, crashed, interrupted
      │            │            │
      │            └────────────┴──> pausing ──> paused
      │                         ├──> stopping ──> stopped        (pausing ──> stopping ──> cancelling: stronger)
      └──> cancelled, paused    └──> cancelling ──> cancelled

A paused or stopped run, or one that failed, crashed or was interrupted, can be resumed: it is then queued again.
"""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """A run's status. People read the values."""

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
        """True while a worker has the run."""
        return self in _ACTIVE

    @property
    def is_going(self) -> bool:
        """True while a worker has the run or it waits for one."""
        return self.is_active or self is RunStatus.QUEUED

    @property
    def is_terminal(self) -> bool:
        """True once the run has ended. Only resuming leaves this status."""
        return self in _TERMINAL

    @property
    def can_resume(self) -> bool:
        """True if it can be queued again; it then continues from its last checkpoint."""
        return self in _RESUMABLE


_S = RunStatus
_ACTIVE = frozenset({_S.PREPARING, _S.TRAINING, _S.PAUSING, _S.STOPPING, _S.CANCELLING})
_TERMINAL = frozenset(RunStatus) - _ACTIVE - {_S.QUEUED, _S.PAUSED}
_RESUMABLE = frozenset({_S.PAUSED, _S.STOPPED, _S.FAILED, _S.CRASHED, _S.INTERRUPTED})
_ENDS = _TERMINAL | {_S.PAUSED}  # how an execution may end; a request may have come too late

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    _S.QUEUED: frozenset(
        {_S.PREPARING, _S.CANCELLED, _S.PAUSED}
    ),  # paused: it was resumed, then removed from the queue
    _S.PREPARING: _ENDS | {_S.TRAINING, _S.PAUSING, _S.STOPPING, _S.CANCELLING},
    _S.TRAINING: _ENDS | {_S.PAUSING, _S.STOPPING, _S.CANCELLING},
    _S.PAUSING: _ENDS | {_S.STOPPING, _S.CANCELLING},
    _S.STOPPING: _ENDS | {_S.CANCELLING},
    _S.CANCELLING: _ENDS,
    **{status: frozenset({_S.QUEUED}) if status in _RESUMABLE else frozenset() for status in _ENDS},
}
"""The statuses that may follow each status."""


def sources(status: RunStatus) -> frozenset[RunStatus]:
    """The statuses from which a run may change to `status`."""
    return frozenset(source for source, targets in TRANSITIONS.items() if status in targets)

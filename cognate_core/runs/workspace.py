"""A data directory that this process owns: its log, its files, and its listeners."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ModelArtifacts, TrainingProgress
from cognate_core.errors import DiskFull, NotFound, StorageError
from cognate_core.files import require_space
from cognate_core.runs.accuracy import Measuring
from cognate_core.runs.broadcast import Broadcast
from cognate_core.runs.execution import Execution
from cognate_core.runs.home import Reserve
from cognate_core.runs.rate_finder import RateFinder
from cognate_core.runs.recovery import add_missing_runs, write_run_file
from cognate_core.runs.spare import SpareWorker
from cognate_core.service import COORDINATION_KEY
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import Run
from cognate_core.storage.trash import Trash

_log = logging.getLogger(__name__)

RECOVERY_KEY = "cognate-studio/recovery"
T = TypeVar("T")


class Workspace:
    """A data directory and its listeners. `RunManager` opens it."""

    home: Path
    log: ProgressLog
    store: ArtifactStore
    trash: Trash
    broadcast: Broadcast
    rate_finder: RateFinder
    read_only: str | None = None
    none_begins: str | None = None
    _reserve: Reserve
    _spare: SpareWorker
    _measuring: Measuring
    _telling: threading.Lock
    _saying_state: threading.Lock
    _lock: threading.Lock
    _ending: threading.RLock  # a run is deleted only after its end is fully written
    _executions: dict[str, Execution]
    _heartbeat_ends: threading.Event
    _started_at: str
    _address: str | None

    def introduce(self, run_id: str) -> None:
        """Tell `broadcast` the state of a run that it may not know yet. Raises NotFound if there is no such run."""
        run = self.log.run(run_id)
        self.broadcast.introduce(run_id, run.status, progress_of(run))

    def recovery_note(self) -> str | None:
        """What was rebuilt when the studio last opened a damaged database; None once a person has read it."""
        record = self.log.coordination(RECOVERY_KEY)
        return record["note"] if record else None

    def forget_recovery_note(self) -> None:
        """Mark the recovery note as read."""
        self.log.set_coordination(RECOVERY_KEY, {"note": None})

    def say_address(self, address: str) -> None:
        """Publish this manager's address in the coordination record, for other programs."""
        self._address = address
        self._say_state()

    def _with_reserve(self, write: Callable[[], T]) -> T:
        """The result of `write`. If the disk is full, free the reserve and try again."""
        try:
            return write()
        except DiskFull:
            self._reserve.give_up()
            return write()

    def _folder(self, run_id: str) -> Path:
        return self.home / "runs" / run_id

    def _in_this_home(self, run_id: str, config: TrainingConfig) -> TrainingConfig:
        """`config` with the run's own folder; the data directory may have been moved since it was queued."""
        return config.model_copy(update={"output_dir": str(self._folder(run_id))})

    def _require_space(self, *configs: TrainingConfig) -> None:
        from cognate_core.insight.estimates import disk_bytes  # loads torch

        what = "this run, with the checkpoints it keeps," if len(configs) == 1 else "this sweep, with its checkpoints,"
        require_space(self.home, disk_bytes(configs), what)
        self._reserve.keep()

    def _keep_run_file(self, run_id: str) -> None:
        """Save run.json, from which a run is rebuilt if the database is lost. A failure does not stop the run."""
        try:
            with self._ending:  # not while it is being deleted
                write_run_file(self.log, run_id, self._folder(run_id))
        except (OSError, StorageError) as error:
            _log.warning("The record beside run %s could not be written: %s", run_id, error)

    def _rebuild(self, damaged: Path | None) -> None:
        """Add runs that the database does not know, and leave a note about it."""
        added, problems = add_missing_runs(self.log, self.home / "runs")
        if damaged is None and not added and not problems:
            return
        sentences = [
            f"The database was damaged and is kept as {damaged.name}." if damaged else "",
            f"{added} run{'s were' if added != 1 else ' was'} rebuilt from {'their' if added != 1 else 'its'} folder.",
            *problems,
        ]
        self.log.set_coordination(RECOVERY_KEY, {"note": " ".join(filter(None, sentences))})

    def _announce(self, run_id: str) -> None:
        """Save run.json and notify listeners."""
        self._keep_run_file(run_id)
        self._tell(run_id)

    def _tell(self, run_id: str) -> None:
        """Notify listeners of a run's status. A lock around reading and sending keeps the order of statuses."""
        with self._telling:
            try:
                run = self.log.run(run_id)
            except (StorageError, NotFound) as error:  # the change itself is done
                _log.warning("Listeners could not be notified of run %s: %s", run_id, error)
                return
            self.broadcast.status(run_id, run.status, progress_of(run))

    def _kept_as(self, run_id: str, model: ModelArtifacts) -> str:
        """The id of a stored finished model."""
        kept = (each.id for each in self.log.models(run_id) if each.trained_as == model.model_name)
        return next(kept, model.model_id)

    def _newest_event_id(self) -> int:
        """The newest event id that the last process saved; 0 for none."""
        state = self.log.coordination(COORDINATION_KEY) or {}
        return int(state.get("newest_event_id", 0))

    def _say_state(self) -> None:
        with self._saying_state:  # else an older state might be written after a newer one
            executions = dict(self._executions)
            state = {
                "pid": os.getpid(),
                "database": str(self.log.path),
                "started_at": self._started_at,
                "active_runs": list(executions),
                "workers": {run_id: execution.pid for run_id, execution in executions.items()},
                "address": self._address,
                "newest_event_id": self.broadcast.newest_id,
                "open": not self._heartbeat_ends.is_set(),
            }
            try:
                self.log.set_coordination(COORDINATION_KEY, state)
            except StorageError as error:
                _log.warning("The heartbeat could not be written: %s", error)


def progress_of(run: Run) -> TrainingProgress:
    """A run's progress."""
    return TrainingProgress(run.progress, run.message, run.phase, run.step, run.total_steps)

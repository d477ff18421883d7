"""ReadOnlyManager: a RunManager that changes nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NoReturn, cast

from cognate_core.errors import RunError
from cognate_core.runs.accuracy import Measuring
from cognate_core.runs.home import database_path, owner_sentence
from cognate_core.runs.manager import RunManager
from cognate_core.runs.rate_finder import RateFinder
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.trash import Trash


class ReadOnlyManager(RunManager):
    """Reads a data directory that another process manages. It refuses every change and names that process.

    Args:
        why: the sentence to use instead, if no other process manages it.
    """

    def __init__(self, home: Path, why: str | None = None) -> None:
        self.home = home.resolve()
        self.log = cast(ProgressLog, ProgressReader(database_path(self.home)))  # no writing method is called here
        self.store, self.trash = ArtifactStore(self.home), Trash(self.home)
        self.read_only = why or owner_sentence(self.home)
        self._measuring, self.rate_finder = Measuring(), RateFinder(self.home)  # nobody starts them
        self._executions, self._lock = {}, threading.Lock()  # they are another process's
        self._run_ended, self._closed = threading.Condition(), False

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RunError(str(self.read_only))

    start = start_twin = start_branch = start_verification = start_sweep = cancel_group = _refuse
    pause = stop = cancel = resume = move_in_queue = rename_run = tag_runs = describe_model = _refuse
    measure_accuracy = cancel_measurement = _refuse
    remove_upload = delete_model = delete_run = restore = remove_for_good = empty_trash = forget_recovery_note = _refuse

    def say_address(self, address: str) -> None:
        """Does nothing: the record describes the other process."""

    def prepare_worker(self) -> None:
        """Does nothing: no run can start here."""

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

"""A spare worker: a process that loads its libraries and waits, so that the next run's first step comes sooner.

It ends with the studio, or after a while without a new run. It uses 265 MB of memory (measured), so none is started
when memory is short.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import uuid

import psutil

from cognate_core.runs.execution import LOAD
from cognate_core.runs.process import send_line, started_worker

_log = logging.getLogger(__name__)

LEAST_FREE_BYTES = 1_500_000_000  # available memory needed to start one


class SpareWorker:
    """At most one process. Its command line names a run, so the run that will use it gets its id from here.

    Safe to use from any thread.

    Args:
        seconds: how long it waits for a run.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._run_id = ""
        self._promised = False  # a run has got its id
        self._ended = False  # for good
        self._patience: threading.Timer | None = None

    def prepare(self) -> None:
        """Start one, unless one is already waiting or memory is short."""
        if psutil.virtual_memory().available < LEAST_FREE_BYTES:
            return
        with self._lock:
            if self._ended or (self._process is not None and self._process.poll() is None):
                return
            self._drop()
            self._run_id, self._promised = new_id(), False
            try:
                self._process = started_worker(self._run_id, subprocess.DEVNULL)
            except OSError as error:  # the start of a run will report it
                _log.warning("No worker could be started in advance: %s", error)
                return
            send_line(self._process, LOAD)
            self._patience = threading.Timer(self._seconds, self._lose_patience, (self._process,))
            self._patience.daemon = True
            self._patience.start()

    def new_run_id(self) -> str:
        """An id for a new run: the waiting process's id if it is still free."""
        with self._lock:
            if self._process is None or self._promised:
                return new_id()
            self._promised = True
            return self._run_id

    def take(self, run_id: str) -> subprocess.Popen[bytes] | None:
        """The process that waits for this run; None if it is gone or does not exist."""
        with self._lock:
            if self._process is None or run_id != self._run_id or self._process.poll() is not None:
                return None
            process, self._process = self._process, None
            self._drop()
            return process

    def give_back(self, run_id: str) -> None:
        """This run will not start: free its waiting process for the next run."""
        with self._lock:
            if run_id == self._run_id:
                self._promised = False

    def end(self) -> None:
        """End the waiting process for good; no other is started."""
        with self._lock:
            self._ended = True
            self._drop()

    def _lose_patience(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            if process is self._process:
                self._drop()

    def _drop(self) -> None:
        process, patience, self._process, self._patience = self._process, self._patience, None, None
        if patience is not None:
            patience.cancel()
        if process is not None:
            with process:  # leaving closes its pipes and waits for its end
                process.kill()


def new_id() -> str:
    """A run's id."""
    return uuid.uuid4().hex[:12]

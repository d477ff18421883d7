"""A worker process that has loaded its libraries and waits for the next run, whose first step then comes sooner.

It ends with the studio, and after a while in which nobody starts a run. Meanwhile it has 265 MB of memory for itself
(measured), so that there is none where memory is short.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import uuid
from contextlib import suppress

import psutil

from cognate_core.runs.execution import LOAD
from cognate_core.runs.process import started_worker

_log = logging.getLogger(__name__)

LEAST_FREE_BYTES = 1_500_000_000  # of memory that may be had, for this to take a part of it


class SpareWorker:
    """At most one process. Its command line names a run, so a run that is to have it takes its id from here.

    Any thread may ask.

    Args:
        seconds: how long it waits for a run.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._run_id = ""
        self._promised = False  # a run was given its id
        self._ended = False  # for good
        self._patience: threading.Timer | None = None

    def prepare(self) -> None:
        """Start one, unless one waits already or memory is short."""
        if psutil.virtual_memory().available < LEAST_FREE_BYTES:
            return
        with self._lock:
            if self._ended or (self._process is not None and self._process.poll() is None):
                return
            self._drop()
            self._run_id, self._promised = new_id(), False
            try:
                self._process = started_worker(self._run_id, subprocess.DEVNULL)
            except OSError as error:  # whoever starts a run hears of it; until then nobody needs to
                _log.warning("No worker could be started in advance: %s", error)
                return
            if self._process.stdin is not None:
                with suppress(BrokenPipeError):  # it is gone, which `take` notices
                    self._process.stdin.write(LOAD.encode() + b"\n")
                    self._process.stdin.flush()
            self._patience = threading.Timer(self._seconds, self._lose_patience, (self._process,))
            self._patience.daemon = True
            self._patience.start()

    def new_run_id(self) -> str:
        """An id for a new run: the first time, that of the process that waits."""
        with self._lock:
            if self._process is None or self._promised:
                return new_id()
            self._promised = True
            return self._run_id

    def take(self, run_id: str) -> subprocess.Popen[bytes] | None:
        """The process that waits for this run; None when there is none any more."""
        with self._lock:
            if self._process is None or run_id != self._run_id or self._process.poll() is not None:
                return None
            process, self._process = self._process, None
            self._drop()
            return process

    def give_back(self, run_id: str) -> None:
        """That run will not be: the next one may have the process that waits for it."""
        with self._lock:
            if run_id == self._run_id:
                self._promised = False

    def end(self) -> None:
        """End the process that waits; there is none after that."""
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
            with suppress(BrokenPipeError), process:  # leaving closes its pipes and waits for its end
                process.kill()


def new_id() -> str:
    """A run's id."""
    return uuid.uuid4().hex[:12]

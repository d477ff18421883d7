"""Sends progress and records to several places: to the database directly, to trackers in separate threads.

A tracker never blocks or ends the run: its records wait in a queue. If it fails or falls behind, it is closed with a
warning.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from cognate_core.contracts import Event, ModelArtifacts, ProgressEmitter, Record, RecordSink, TrainingProgress
from cognate_core.errors import CognateError
from cognate_core.tracking.tracker import Tracker

_log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
MOST_WAITING = 100_000  # records; a tracker this far behind is closed, before memory runs out
CLOSE_SECONDS = 60.0  # for trackers to finish at the end of a run
HURRIED_SECONDS = 1.0  # the same if the studio is closing

OpenTracker = Callable[[], Tracker]


class Tracking(ProgressEmitter):
    """The database's emitter and sink, followed by any trackers.

    Args:
        emitter, record: of the database. If they raise, the caller gets the error and trackers get nothing.
        trackers: displayed name -> function that opens the tracker, called in the tracker's thread.
    """

    def __init__(
        self, emitter: ProgressEmitter, record: RecordSink, trackers: Mapping[str, OpenTracker] | None = None
    ) -> None:
        self._emitter, self._record = emitter, record
        self._queues: Sequence[_TrackerQueue] = [
            _TrackerQueue(name, opens, record) for name, opens in (trackers or {}).items()
        ]

    def record(self, record: Record) -> None:
        """A RecordSink."""
        self._record(record)
        for queue in self._queues:
            queue.put(record)

    async def emit_progress(self, progress: TrainingProgress) -> None:
        await self._emitter.emit_progress(progress)
        for queue in self._queues:
            queue.put(progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        await self._emitter.emit_model_completed(artifacts)
        for queue in self._queues:
            queue.put(artifacts)

    def close(self, hurry: threading.Event) -> None:
        """Let the trackers write what is left, and wait for them: only briefly once `hurry` is set."""
        for queue in self._queues:
            queue.end()
        patience = time.monotonic() + CLOSE_SECONDS
        for queue in self._queues:
            while queue.is_working and time.monotonic() < patience:
                if hurry.is_set():
                    patience = min(patience, time.monotonic() + HURRIED_SECONDS)
                queue.wait(0.1)


class _TrackerQueue:
    """One tracker in its thread, and the queue of what it will get."""

    def __init__(self, name: str, opens: OpenTracker, warn: RecordSink) -> None:
        self._name, self._opens, self._warn = name, opens, warn
        self._waiting: deque[Record | TrainingProgress | ModelArtifacts] = deque()
        self._ended, self._given_up = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    def put(self, item: Record | TrainingProgress | ModelArtifacts) -> None:
        if self._given_up:
            return
        self._waiting.append(item)
        if len(self._waiting) > MOST_WAITING:
            self._give_up(f"it is {MOST_WAITING:,} records behind")

    def end(self) -> None:
        self._ended.set()

    @property
    def is_working(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _work(self) -> None:
        tracker = None
        try:
            tracker = self._opens()
            with asyncio.Runner() as runner:
                ended = False
                while not ended and not self._given_up:
                    ended = self._ended.wait(FLUSH_SECONDS)  # first: nothing comes after the end
                    if self._deliver(tracker, runner):
                        tracker.flush()
        except Exception as error:  # noqa: BLE001  (whatever a tracker does, the run continues)
            self._give_up(_reason(error))
            _log.warning("The tracker %s failed.", self._name, exc_info=error)
        if tracker is not None:
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001
                self._give_up(_reason(error))

    def _deliver(self, tracker: Tracker, runner: asyncio.Runner) -> bool:
        """Give the tracker what is waiting, of progress only the newest; returns whether there was anything."""
        progress, count = None, 0
        while self._waiting and not self._given_up:
            item = self._waiting.popleft()
            count += 1
            if isinstance(item, TrainingProgress):
                progress = item
            elif isinstance(item, ModelArtifacts):
                runner.run(tracker.emit_model_completed(item))
            else:
                tracker.record(item)
        if progress is not None:
            runner.run(tracker.emit_progress(progress))
        return count > 0

    def _give_up(self, reason: str) -> None:
        if self._given_up:
            return
        self._given_up = True
        self._waiting.clear()
        sentence = f"{self._name} no longer records this run: {reason}. The run continues; the studio has all figures."
        with suppress(CognateError):  # if the database fails, the run itself will report it
            self._warn(Event("warning", sentence))


def _reason(error: Exception) -> str:
    if isinstance(error, CognateError):
        return str(error).rstrip(".")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return f"{type(error).__name__}: {error}".rstrip(".")

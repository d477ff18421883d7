"""One stream of progress and records to several places: the database at once, trackers in threads of their own.

A tracker never keeps the run waiting and never ends it: what it is to get waits in a queue, and one that fails, or does
not keep up, is closed with a warning.
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
MOST_WAITING = 100_000  # records; a tracker that is so far behind is given up, before memory is
CLOSE_SECONDS = 60.0  # what trackers may take at the end of a run
HURRIED_SECONDS = 1.0  # when the studio is closing

OpenTracker = Callable[[], Tracker]


class Tracking(ProgressEmitter):
    """The database's emitter and sink, and whatever trackers there are behind them.

    Args:
        emitter, record: of the database. What they raise reaches the caller, and no tracker hears of it.
        trackers: what opens each, in its own thread, by the name that a person reads.
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
        """Have the trackers write what is left and wait for them, only briefly once `hurry` is set."""
        for queue in self._queues:
            queue.end()
        patience = time.monotonic() + CLOSE_SECONDS
        for queue in self._queues:
            while queue.is_working and time.monotonic() < patience:
                if hurry.is_set():
                    patience = min(patience, time.monotonic() + HURRIED_SECONDS)
                queue.wait(0.1)


class _TrackerQueue:
    """One tracker in its thread, and what waits for it."""

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
                    ended = self._ended.wait(FLUSH_SECONDS)  # before looking: nothing comes after the end
                    if self._deliver(tracker, runner):
                        tracker.flush()
        except Exception as error:  # noqa: BLE001  (whatever a tracker does, the run goes on)
            self._give_up(_reason(error))
            _log.warning("The tracker %s failed.", self._name, exc_info=error)
        if tracker is not None:
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001
                self._give_up(_reason(error))

    def _deliver(self, tracker: Tracker, runner: asyncio.Runner) -> bool:
        """Give the tracker what waits; whether there was something. Of progress only the newest counts."""
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
        sentence = f"{self._name} gets no more figures of this run: {reason}. The run goes on, and the studio has all."
        with suppress(CognateError):  # the database refuses: the run itself will tell
            self._warn(Event("warning", sentence))


def _reason(error: Exception) -> str:
    if isinstance(error, CognateError):
        return str(error).rstrip(".")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return f"{type(error).__name__}: {error}".rstrip(".")

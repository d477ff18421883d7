"""Broadcast: sends the events of runs to all listeners. It knows threads and event loops, but no sockets.

A publisher stores a message under a lock and never waits for a listener. Each event loop with listeners checks ten
times a second for new messages and passes them to all of them; a listener that falls too far behind is dropped.

A run's progress is sent at most twice a second, and less often if sending takes more than a twentieth of a processor's
time: a thousand listeners must not slow the training. The newest progress is always sent in the end, and a change of
status is sent at once.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cognate_core.contracts import ModelArtifacts, Phase, ProgressEmitter, RunStatus, TrainingProgress, utc_now
from cognate_core.errors import RunError

MOST_LISTENERS = 2000
RUNS_KEPT = 300  # plus all active and waiting runs
UPDATES_KEPT = 100  # of one run
LASTING_KEPT = 2000  # ends, models and changes of status, of all runs together
MOST_LETTERS = 2000  # of a sentence
MOST_WAITING = 1000  # messages that a listener may be behind
SEND_SECONDS = 10.0  # that a listener may take for one message
LOOK_SECONDS = 0.1
GAP_SECONDS, LONGEST_GAP_SECONDS = 0.5, 5.0  # between two messages about a run's progress
REST = 20.0  # wait this many times as long as sending took before the next progress
HANDED_AT_ONCE = 100  # listeners, before other tasks of their event loop get a turn
UNWRITTEN_IDS = 100_000  # more than are given between two heartbeats, each of which saves the newest id

_COMPLETE = frozenset({RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_FAILURES, RunStatus.STOPPED})
_ERROR = frozenset({RunStatus.FAILED, RunStatus.CRASHED, RunStatus.DIVERGED, RunStatus.INTERRUPTED})


class Message(NamedTuple):
    """One event of a run, as sent. Ordered by id."""

    id: int
    run_id: str
    text: str  # JSON


class Ending(NamedTuple):
    """Why a listener gets no more messages: a WebSocket close code (RFC 6455) and a sentence."""

    code: int
    sentence: str


TOO_SLOW = Ending(1013, "You read the messages too slowly. Reconnect with the last id to continue.")
CLOSING = Ending(1001, "The studio is closing.")


class Listener:
    """Yields its messages to `async for`, in order. `ended` is done when no more will come."""

    def __init__(
        self, run_id: str | None, first: Iterable[str], newest_id: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._run_id, self._newest_id, self._clock = run_id, newest_id, clock
        self._waiting = deque(first)
        self._most = len(self._waiting) + MOST_WAITING
        self._news = asyncio.Event()
        self._given_at: float | None = None  # when it took the message it is now sending

    @property
    def behind(self) -> int:
        """How many messages wait for it."""
        return len(self._waiting)

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> str:
        self._given_at = None
        while not self._waiting:
            if self.ended.done():
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self._given_at = self._clock()
        return self._waiting.popleft()

    def hear(self, messages: Iterable[Message]) -> None:
        """Queue the messages it wants. Never waits: a listener that is too far behind is dropped."""
        if self.ended.done():
            return
        self._waiting += [
            message.text
            for message in messages
            if message.id > self._newest_id and self._run_id in (None, message.run_id)
        ]
        stuck = self._given_at is not None and self._clock() - self._given_at > SEND_SECONDS
        if stuck or self.behind > self._most:
            self.end(TOO_SLOW)
        elif self._waiting:
            self._news.set()

    def end(self, ending: Ending) -> None:
        """Drop the listener."""
        if not self.ended.done():
            self._waiting.clear()
            self.ended.set_result(ending)
            self._news.set()


@dataclass(slots=True)
class _Known:
    """What is kept of one run."""

    lost: int  # newest id that is no longer kept
    status: RunStatus = RunStatus.PREPARING
    values: dict[str, Any] = field(default_factory=dict)  # of its newest progress
    state: Message | None = None  # the newest message with its status
    updates: deque[Message] = field(default_factory=deque)

    @property
    def goes_on(self) -> bool:
        """Whether the run is known to be active or queued."""
        return self.state is not None and self.status.is_going


@dataclass(slots=True)
class _Delivery:
    """The listeners of one event loop, and the messages for them."""

    listeners: dict[Listener, None] = field(default_factory=dict)
    inbox: list[Message] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class Broadcast:
    """Keeps the newest events and sends them to listeners.

    Ids start at the clock's milliseconds when it is opened, so they increase across restarts.

    Args:
        above: the newest id known from before, 0 for none: the clock may have been set back.
        most_listeners: at once.
        clock: seconds; never goes back.
    """

    def __init__(
        self, above: int = 0, most_listeners: int = MOST_LISTENERS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_listeners, self._clock = most_listeners, clock
        self._lock = threading.Lock()
        self._newest_id = max(time.time_ns() // 1_000_000, above + UNWRITTEN_IDS if above else 0)
        self._forgotten = self._newest_id  # newest id of runs that are no longer kept
        self._runs: OrderedDict[str, _Known] = OrderedDict()  # the latest to change is last
        self._lasting: deque[Message] = deque()
        self._waiting: dict[str, None] = {}  # runs whose newest progress was not sent yet
        self._next_release = -math.inf
        self._gap = GAP_SECONDS
        self._deliveries: dict[asyncio.AbstractEventLoop, _Delivery] = {}
        self._closed = False

    @property
    def newest_id(self) -> int:
        """The newest id given."""
        return self._newest_id

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return sum(len(delivery.listeners) for delivery in list(self._deliveries.values()))

    # Publishing: from any thread

    def progress(self, run_id: str, progress: TrainingProgress) -> None:
        """Publish a run's progress, unless it has ended."""
        with self._lock:
            run = self._run(run_id)
            if not run.status.is_active:
                return
            if run.status is RunStatus.PREPARING and progress.phase_name == Phase.TRAINING:
                run.status = RunStatus.TRAINING
            run.values = _values(progress)
            self._waiting[run_id] = None
            self._release_due()

    def status(self, run_id: str, status: RunStatus, progress: TrainingProgress) -> None:
        """Publish that a run is now `status`, unless it was already. `progress`: from the database."""
        with self._lock:
            run = self._run(run_id)
            if run.state is not None and run.status is status:
                return
            if run_id in self._waiting:
                self._release(run_id)  # the last step before an end
            self._change(run, status, progress)
            run.state = self._keep_lasting(run_id, run, _kind(status))

    def introduce(self, run_id: str, status: RunStatus, progress: TrainingProgress) -> None:
        """Learn the state of a run that has not changed since the opening. Only new listeners get it."""
        with self._lock:
            run = self._run(run_id)
            if run.state is None:
                self._change(run, status, progress)
                run.state = _message(self._newest_id, run_id, _kind(status), run)

    def model_completed(self, run_id: str, model_id: str, model_name: str) -> None:
        """Publish that a model of a run is finished."""
        with self._lock:
            run = self._run(run_id)
            if run_id in self._waiting:
                self._release(run_id)
            self._keep_lasting(
                run_id,
                run,
                "model_completed",
                message=_shown(f"{model_name} is finished"),
                timestamp=utc_now(),
                model_id=model_id,
                model_name=_shown(model_name),
            )

    def close(self) -> None:
        """Drop every listener."""
        with self._lock:
            self._closed = True

    # Listening: within an event loop

    @contextmanager
    def listening(self, after: int | None = None, run_id: str | None = None) -> Iterator[Listener]:
        """A listener, until the end of the block.

        Args:
            after: the last id it knows; it gets everything newer. None: it first gets the state of all active and
                waiting runs, or of `run_id`.
            run_id: it gets only this run's events.

        Raises:
            RunError: there are too many listeners, or the studio is closing.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise RunError(CLOSING.sentence)
            if self.listeners >= self._most_listeners:
                raise RunError(f"{self._most_listeners:,} programs are already listening. Close one, then reconnect.")
            first = self._state(run_id) if after is None else self._since(after, run_id)
            listener = Listener(run_id, first, self._newest_id, self._clock)
            delivery = self._deliveries.setdefault(loop, _Delivery())
            delivery.listeners[listener] = None
        if delivery.task is None:
            delivery.task = loop.create_task(self._deliver(delivery))
        try:
            yield listener
        finally:
            with self._lock:
                del delivery.listeners[listener]
                if not delivery.listeners:
                    del self._deliveries[loop]
                    delivery.task.cancel()

    async def _deliver(self, delivery: _Delivery) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with self._lock:
                self._release_due()
                messages, delivery.inbox = delivery.inbox, []
                listeners, closed = list(delivery.listeners), self._closed
            if not messages and not closed:
                continue
            began = time.thread_time()
            for place, listener in enumerate(listeners, 1):
                if closed:
                    listener.end(CLOSING)
                else:
                    listener.hear(messages)
                if place % HANDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)  # by now they have sent it, unless they had to wait
            with self._lock:
                self._gap = min(LONGEST_GAP_SECONDS, max(GAP_SECONDS, REST * (time.thread_time() - began)))

    def _state(self, run_id: str | None) -> list[str]:
        if run_id is not None:
            known = self._runs.get(run_id)
            return [known.state.text] if known is not None and known.state is not None else []
        states = (run.state for run in self._runs.values() if run.state is not None and run.goes_on)
        return [state.text for state in sorted(states)]

    def _since(self, after: int, run_id: str | None) -> list[str]:
        if run_id is None:
            lost = max([self._forgotten, *(run.lost for run in self._runs.values())])
        else:
            lost = self._runs[run_id].lost if run_id in self._runs else self._forgotten
        whole = lost <= after <= self._newest_id
        heard = after if after <= self._newest_id else 0  # an id that was never given means nothing
        kept = itertools.chain(self._lasting, *(run.updates for run in self._runs.values()))
        messages = sorted(each for each in kept if each.id > heard and run_id in (None, each.run_id))
        if whole:
            return [message.text for message in messages]
        begin = messages[0].id - 1 if messages else self._newest_id
        return [json.dumps({"type": "events_lost", "id": begin}), *(message.text for message in messages)]

    # Keeping: with the lock held

    def _run(self, run_id: str) -> _Known:
        if run_id not in self._runs:
            self._runs[run_id] = _Known(self._forgotten)
        self._runs.move_to_end(run_id)
        while len(self._runs) > RUNS_KEPT:
            ended = (each for each, known in self._runs.items() if each != run_id and not known.goes_on)
            gone_id = next(ended, None)
            if gone_id is None:
                break
            gone = self._runs.pop(gone_id)
            self._waiting.pop(gone_id, None)
            self._forgotten = max(self._forgotten, gone.lost, *(update.id for update in gone.updates))
        return self._runs[run_id]

    def _change(self, run: _Known, status: RunStatus, progress: TrainingProgress) -> None:
        """Set the status. Only the sentence comes from the database: its figures are a moment late."""
        run.status = status
        run.values = {**(run.values or _values(progress)), "message": _shown(progress.message), "timestamp": utc_now()}

    def _release_due(self) -> None:
        if self._waiting and self._clock() >= self._next_release:
            self._next_release = self._clock() + self._gap
            for run_id in list(self._waiting):
                self._release(run_id)

    def _release(self, run_id: str) -> None:
        del self._waiting[run_id]
        run = self._runs[run_id]
        run.state = self._publish(run_id, run, "training_update")
        run.updates.append(run.state)
        if len(run.updates) > UPDATES_KEPT:
            run.lost = max(run.lost, run.updates.popleft().id)

    def _keep_lasting(self, run_id: str, run: _Known, kind: str, **more: Any) -> Message:
        message = self._publish(run_id, run, kind, **more)
        self._lasting.append(message)
        if len(self._lasting) > LASTING_KEPT:
            gone = self._lasting.popleft()
            known = self._runs.get(gone.run_id)
            if known is None:
                self._forgotten = max(self._forgotten, gone.id)
            else:
                known.lost = max(known.lost, gone.id)
        return message

    def _publish(self, run_id: str, run: _Known, kind: str, **more: Any) -> Message:
        self._newest_id += 1
        message = _message(self._newest_id, run_id, kind, run, **more)
        for delivery in self._deliveries.values():
            delivery.inbox.append(message)
        return message


class WebSocketProgressEmitter(ProgressEmitter):
    """Publishes a run's progress and models to `broadcast`.

    Args:
        kept_as: the id of the stored model; after a resume, a model keeps its earlier id.
    """

    def __init__(
        self, broadcast: Broadcast, run_id: str, kept_as: Callable[[ModelArtifacts], str] = lambda model: model.model_id
    ) -> None:
        self._broadcast, self._run_id, self._kept_as = broadcast, run_id, kept_as

    async def emit_progress(self, progress: TrainingProgress) -> None:
        self._broadcast.progress(self._run_id, progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        self._broadcast.model_completed(self._run_id, self._kept_as(artifacts), artifacts.model_name)


def _kind(status: RunStatus) -> str:
    if status in _ERROR:
        return "training_error"
    return "training_complete" if status in _COMPLETE else "training_update"


def _message(message_id: int, run_id: str, kind: str, run: _Known, **more: Any) -> Message:
    event = {"id": message_id, "run_id": run_id, "type": kind, "status": run.status.value, **_UNKNOWN, **run.values}
    return Message(message_id, run_id, json.dumps({**event, **more}, separators=(",", ":")))


_UNKNOWN: dict[str, Any] = {
    "progress": 0.0,
    "message": "",
    "phase": "",
    "step": None,
    "total_steps": None,
    "loss": None,
    "learning_rate": None,
    "timestamp": None,
}


def _values(progress: TrainingProgress) -> dict[str, Any]:
    return {
        "progress": progress.progress,
        "message": _shown(progress.message),
        "phase": str(progress.phase_name),
        "step": progress.step,
        "total_steps": progress.total_steps,
        "loss": _finite(progress.loss),
        "learning_rate": _finite(progress.learning_rate),
        "timestamp": progress.timestamp,
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _shown(sentence: str) -> str:
    """`sentence` with lone surrogates as question marks, cut at MOST_LETTERS."""
    shown = sentence.encode(errors="replace").decode()
    return shown if len(shown) <= MOST_LETTERS else f"{shown[: MOST_LETTERS - 1]}…"

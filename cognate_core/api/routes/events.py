"""Events of runs as they happen: two WebSockets and their messages.

A socket first sends what is known: with `?after=ID` all events after that id, without it the state of each active or
waiting run. A client that reconnects with the last id it has seen misses nothing and gets nothing twice; if too much
has happened meanwhile, `events_lost` says so. Before the studio closes a socket, it sends a `closing` message with the
reason as a sentence. What a client sends is read and ignored.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field
from starlette.websockets import WebSocketDisconnect

from cognate_core.api.requests import GetManager
from cognate_core.contracts import RunStatus
from cognate_core.errors import NotFound, RunError
from cognate_core.runs.broadcast import Ending, Listener

router = APIRouter()

UNREADABLE, NO_SUCH_RUN, READ_ONLY, TOO_MANY, TOO_MUCH = 4400, 4404, 4409, 1013, 1008
MOST_RECEIVED = 64_000  # bytes that a client may send in a minute; they are ignored
MESSAGE_BYTES = 100  # that each message counts in addition
MOST_REASON_BYTES = 120  # of the reason in a WebSocket's last frame
GOODBYE_SECONDS = 1.0


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: int = Field(description="Increases with each event, across restarts. To continue after it: ?after=ID.")
    run_id: str
    status: RunStatus = Field(description="The status of the run after this event.")
    progress: float = Field(description="0 to 1 over the whole run.")
    message: str = Field(description="What the run is doing, or how it ended: a sentence for people.")
    phase: str
    step: int | None = Field(description="Of the model that is being trained.")
    total_steps: int | None
    loss: float | None = Field(description="Of the newest step, in nats per token; null: unknown or not a number.")
    learning_rate: float | None
    timestamp: str = Field(description="ISO 8601, UTC.")


class TrainingUpdate(_Event):
    """The progress of a run: at most twice a second, less often with many listeners. A change of status is sent at
    once: the run was queued, began, will be paused, stopped or cancelled, or is paused or cancelled."""

    type: Literal["training_update"]


class TrainingComplete(_Event):
    """A run has ended: completed, completed with failures, or stopped and saved."""

    type: Literal["training_complete"]


class TrainingError(_Event):
    """A run has failed, diverged, crashed, or was interrupted. `message` says what happened."""

    type: Literal["training_error"]


class ModelCompleted(_Event):
    """A model of a run is finished."""

    type: Literal["model_completed"]
    model_id: str
    model_name: str


class EventsLost(BaseModel):
    """Some events after `?after=` are no longer kept. Those kept after `id` follow."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["events_lost"]
    id: int


class Closing(BaseModel):
    """The studio closes this socket; `message` says why.

    Codes: 1001 the studio is closing; 1008 the client sent too much; 1013 the client is too slow, or too many listen;
    4400 `after` is not a number; 4404 there is no such run; 4409 another process manages the data folder.
    """

    model_config = ConfigDict(extra="forbid")

    type: Literal["closing"]
    code: int
    message: str


EVENTS: tuple[type[BaseModel], ...] = (
    TrainingUpdate,
    TrainingComplete,
    TrainingError,
    ModelCompleted,
    EventsLost,
    Closing,
)
"""Every message that the sockets may send."""


@router.websocket("/events")
async def events(websocket: WebSocket, manager: GetManager, after: str | None = None) -> None:
    """Events of all runs."""
    await _serve(websocket, manager, after, None)


@router.websocket("/runs/{run_id}/events")
async def run_events(websocket: WebSocket, manager: GetManager, run_id: str, after: str | None = None) -> None:
    """Events of one run. Its current state comes first, even if it has ended."""
    await _serve(websocket, manager, after, run_id)


async def _serve(websocket: WebSocket, manager: GetManager, after: str | None, run_id: str | None) -> None:
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        await _close(websocket, await _told(websocket, manager, after, run_id))


async def _told(websocket: WebSocket, manager: GetManager, after: str | None, run_id: str | None) -> Ending | None:
    """Send events until the socket ends. Returns why it ended; None if the client has gone."""
    if manager.read_only is not None:
        return Ending(READ_ONLY, manager.read_only)
    if after is not None and not (after.isascii() and after.isdecimal() and len(after) < 20):
        return Ending(UNREADABLE, "?after= must be an event's id, a whole number.")
    try:
        if run_id is not None:
            await asyncio.to_thread(manager.introduce, run_id)
        with manager.broadcast.listening(None if after is None else int(after), run_id) as listener:
            return await _follow(websocket, listener)
    except NotFound as error:
        return Ending(NO_SUCH_RUN, str(error))
    except RunError as error:
        return Ending(TOO_MANY, str(error))


async def _follow(websocket: WebSocket, listener: Listener) -> Ending | None:
    sending = asyncio.create_task(_send(websocket, listener))
    receiving = asyncio.create_task(_ignore(websocket))
    try:
        waited: set[asyncio.Future[Any]] = {sending, receiving, listener.ended}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if listener.ended.done():
            return listener.ended.result()
        return receiving.result() if receiving.done() else sending.result()
    finally:
        sending.cancel()
        receiving.cancel()


async def _send(websocket: WebSocket, listener: Listener) -> None:
    with suppress(WebSocketDisconnect):
        async for text in listener:
            await websocket.send_text(text)


async def _ignore(websocket: WebSocket) -> Ending | None:
    """Read what the client sends, until it disconnects or sends too much."""
    since, received = time.monotonic(), 0
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if time.monotonic() - since > 60.0:
            since, received = time.monotonic(), 0
        received += MESSAGE_BYTES + len(message.get("text") or message.get("bytes") or "")
        if received > MOST_RECEIVED:
            return Ending(TOO_MUCH, "Too much was sent. This socket only sends events; use the REST API for requests.")


async def _close(websocket: WebSocket, ending: Ending | None) -> None:
    if ending is None:
        return
    said = Closing(type="closing", code=ending.code, message=ending.sentence).model_dump()
    reason = ending.sentence.encode()[:MOST_REASON_BYTES].decode(errors="ignore")
    with suppress(TimeoutError, RuntimeError):  # it accepts nothing any more, or has gone
        async with asyncio.timeout(GOODBYE_SECONDS):
            await websocket.send_text(json.dumps(said))
            await websocket.close(ending.code, reason)

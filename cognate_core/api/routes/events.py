"""What happens to runs, as it happens: two WebSockets, and the messages that come over them.

Whatever is known when a socket opens comes first: with `?after=ID` all events after that id, without it how the runs
stand that go on or wait. A client that connects again with the last id that it has seen misses nothing and gets nothing
twice; where too much has happened meanwhile, `events_lost` says so. Before the studio closes a socket for a reason of
its own, a `closing` message has the whole sentence. What a client sends is read and ignored.
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
MOST_RECEIVED = 64_000  # bytes that a client may send in a minute, to be ignored
MESSAGE_BYTES = 100  # that a message counts in addition
MOST_REASON_BYTES = 120  # of the reason in a WebSocket's last frame
GOODBYE_SECONDS = 1.0


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: int = Field(description="Rises from event to event, over restarts, too. To go on after it: ?after=ID.")
    run_id: str
    status: RunStatus = Field(description="How the run stands with this event.")
    progress: float = Field(description="0 to 1 over the whole run.")
    message: str = Field(description="What is being done, or how the run ended: a sentence for people.")
    phase: str
    step: int | None = Field(description="Of the model that is being trained.")
    total_steps: int | None
    loss: float | None = Field(description="Of the newest step, in nats a token; null: not known, or no number.")
    learning_rate: float | None
    timestamp: str = Field(description="ISO 8601, UTC.")


class TrainingUpdate(_Event):
    """How far a run is, at most twice a second and less often when many listen; at once, when its status changed: it
    was queued, began, is to be paused, stopped or cancelled, is paused or cancelled."""

    type: Literal["training_update"]


class TrainingComplete(_Event):
    """A run has come to its end: completed, completed with failures, or stopped and saved."""

    type: Literal["training_complete"]


class TrainingError(_Event):
    """A run was ended by a mishap: failed, diverged, crashed, or interrupted. `message` says what happened."""

    type: Literal["training_error"]


class ModelCompleted(_Event):
    """A model of a run is finished."""

    type: Literal["model_completed"]
    model_id: str
    model_name: str


class EventsLost(BaseModel):
    """Not all that happened after `?after=` is kept any more. What is kept after `id` follows."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["events_lost"]
    id: int


class Closing(BaseModel):
    """The studio closes this socket, for the reason that `message` tells.

    Codes: 1001 the studio is closing; 1008 too much was sent; 1013 too slow, or too many listen; 4400 `after` is no
    number; 4404 there is no such run; 4409 another process manages the data folder.
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
"""Every message that may come over the sockets."""


@router.websocket("/events")
async def events(websocket: WebSocket, manager: GetManager, after: str | None = None) -> None:
    """What happens to all runs."""
    await _serve(websocket, manager, after, None)


@router.websocket("/runs/{run_id}/events")
async def run_events(websocket: WebSocket, manager: GetManager, run_id: str, after: str | None = None) -> None:
    """What happens to one run; first how it stands, also when it has ended."""
    await _serve(websocket, manager, after, run_id)


async def _serve(websocket: WebSocket, manager: GetManager, after: str | None, run_id: str | None) -> None:
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        await _close(websocket, await _told(websocket, manager, after, run_id))


async def _told(websocket: WebSocket, manager: GetManager, after: str | None, run_id: str | None) -> Ending | None:
    """Tell events until the end of it; why it ended, None when the client has gone."""
    if manager.read_only is not None:
        return Ending(READ_ONLY, manager.read_only)
    if after is not None and not (after.isascii() and after.isdecimal() and len(after) < 20):
        return Ending(UNREADABLE, "?after= wants the id of an event, a whole number.")
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
    """Read whatever the client sends, until it goes or sends too much."""
    since, received = time.monotonic(), 0
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if time.monotonic() - since > 60.0:
            since, received = time.monotonic(), 0
        received += MESSAGE_BYTES + len(message.get("text") or message.get("bytes") or "")
        if received > MOST_RECEIVED:
            return Ending(TOO_MUCH, "Too much was sent. This socket only tells; send requests to the other addresses.")


async def _close(websocket: WebSocket, ending: Ending | None) -> None:
    if ending is None:
        return
    said = Closing(type="closing", code=ending.code, message=ending.sentence).model_dump()
    reason = ending.sentence.encode()[:MOST_REASON_BYTES].decode(errors="ignore")
    with suppress(TimeoutError, RuntimeError):  # it takes nothing any more, or has gone
        async with asyncio.timeout(GOODBYE_SECONDS):
            await websocket.send_text(json.dumps(said))
            await websocket.close(ending.code, reason)

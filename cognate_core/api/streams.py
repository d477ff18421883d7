"""Answers that are sent while they are produced, and limits for work that keeps a processor busy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Stream(StreamingResponse):
    """Sends each of `pieces` at once, and stops when the client hangs up.

    Args:
        end: called at the end, however the answer ends.
    """

    def __init__(
        self, pieces: Iterator[bytes], end: Callable[[], object], *, status: int, headers: Mapping[str, str], kind: str
    ) -> None:
        super().__init__(pieces, status, headers, kind)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(ClientDisconnect):
                await super().__call__(scope, receive, send)
        finally:
            self._end()


class Slots:
    """Limits how much work runs at once. A request beyond that is refused with "try again", not kept waiting."""

    def __init__(self, count: int, sentence: str) -> None:
        self._free, self._sentence = threading.Semaphore(count), sentence

    @contextmanager
    def taken(self) -> Iterator[ExitStack]:
        """Take a slot until the block ends or, after `pop_all` on its ExitStack, until the new stack is closed.

        Raises:
            HTTPException: none is free (429).
        """
        if not self._free.acquire(blocking=False):
            raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, self._sentence, {"Retry-After": "2"})
        with ExitStack() as stack:
            stack.callback(self._free.release)
            yield stack


working = Slots(2, "The studio is already working on two such requests. Try again in a moment.")
"""For requests that run a model or read a whole dataset: training needs the other processors."""

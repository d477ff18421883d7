"""Answers that are sent while they are being made, and bounds for work that keeps a processor busy."""

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
    """Sends what `pieces` gives, each at once, and asks for none once the client has hung up.

    Args:
        end: what is let go then, whatever becomes of the answer.
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
    """Room for so much work at once. Who finds none is told to come again, and is not kept waiting."""

    def __init__(self, count: int, sentence: str) -> None:
        self._free, self._sentence = threading.Semaphore(count), sentence

    @contextmanager
    def taken(self) -> Iterator[ExitStack]:
        """Take one until the block ends, or, once its ExitStack is taken over with `pop_all`, until that is closed.

        Raises:
            HTTPException: there is none (429).
        """
        if not self._free.acquire(blocking=False):
            raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, self._sentence, {"Retry-After": "2"})
        with ExitStack() as stack:
            stack.callback(self._free.release)
            yield stack


working = Slots(2, "Two texts or tables are being worked out already. Try again in a moment.")
"""For what a model or a whole dataset is gone through for: training needs the other processors."""

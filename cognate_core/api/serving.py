"""The API on this computer for a single program: the command line uses it when no studio is named."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from cognate_core.api.application import SERVED_BELOW, create_api
from cognate_core.api.security.guard import Guard, Policy
from cognate_core.api.security.login import Links
from cognate_core.errors import StorageError
from cognate_core.runs import RunManager

START_SECONDS = 30.0
LAST_ANSWERS_SECONDS = 1  # for clients that still read an answer when serving ends


@contextmanager
def serving(manager: RunManager, *, any_file: bool = False) -> Iterator[tuple[str, str]]:
    """Serve the API of `manager` on a free port until the block ends. Yields its address and its only token.

    Args:
        any_file: whether settings may name any file on this computer: only where no other process asks.

    Raises:
        StorageError: this computer lets no program listen on 127.0.0.1.
    """
    token = secrets.token_urlsafe(32)
    app = Starlette(
        routes=[Mount(SERVED_BELOW, create_api(lambda: manager, any_file=any_file))],
        middleware=[Middleware(Guard, get_policy=lambda: Policy(token), links=Links())],
    )
    config = uvicorn.Config(
        app, log_config=None, log_level="critical", access_log=False, timeout_graceful_shutdown=LAST_ANSWERS_SECONDS
    )
    server = uvicorn.Server(config)
    try:
        listening = socket.create_server(("127.0.0.1", 0))
    except OSError as error:
        raise StorageError(f"This computer lets no program listen on 127.0.0.1 ({error}). Free a port.") from error
    with listening:
        thread = threading.Thread(target=server.run, args=([listening],), name="api", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", token  # early connections wait in the backlog
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)

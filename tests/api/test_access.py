"""Who is let in, cell by cell: where the studio listens, under which names, by which proxy, what is asked and shown.

A real server is asked by raw sockets. What each cell should be is told by `expected`, which knows nothing of the rules.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import BinaryIO

import pytest
import streamlit as st
import uvicorn

import app
from cognate_core.api import Guard, Links
from cognate_core.api.security import guard
from cognate_core.api.security.login import session_cookie
from cognate_core.errors import RunError
from tests.api.guard.asking import SERVER
from tests.waiting import LONG, until

TOKEN = "a-token-of-the-test"
NAME, FOREIGN = "studio.example", "evil.example"
HOSTS = ("127.0.0.1", "localhost", NAME, FOREIGN)
PROXIES = ("", "X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "Via: 1.1 a", "X-Real-IP: 203.0.113.9")
SOCKETS = ("/_stcore/stream", "/api/v1/events")
HEALTH = ("/_stcore/health", "/api/v1/health")
UPLOAD, LOGIN = "/_stcore/upload_file/s/f", "/login"
ROUTES = ("/", "/monitor?run=x", "/static/x.js", "/live?run=x", "/api/v1/runs", UPLOAD, LOGIN, *HEALTH, *SOCKETS)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
SHOWN = {
    "nothing": "",
    "a wrong token": "Authorization: Bearer wrong",
    "the cookie": "Cookie: " + "=".join(session_cookie(TOKEN)),
    "the token": f"Authorization: Bearer {TOKEN}",
}
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


@dataclass(frozen=True)
class Opened:
    """How a studio was started."""

    bind: str
    names: tuple[str, ...] = ()
    open: bool = False


PRIVATE, NAMED, BOUND = Opened("127.0.0.1"), Opened("127.0.0.1", (NAME,)), Opened("0.0.0.0", (NAME,))
OPEN = Opened("127.0.0.1", open=True)
NEVER = [Opened("0.0.0.0"), Opened("127.0.0.1", (NAME,), True), Opened("0.0.0.0", (NAME,), True)]
NEVER.append(Opened("0.0.0.0", open=True))


def expected(opened: Opened, host: str, proxy: str, route: str, method: str, shown: str) -> str:
    """ "in", "refused", or "login": the page that says where the link is, or the way on for a browser that is known."""
    if host not in ("127.0.0.1", "localhost", *opened.names):
        return "refused"
    if opened.open and proxy:
        return "refused"
    if route == LOGIN and method in ("GET", "HEAD", "POST"):
        return "login"
    if shown == "the token":
        return "in"
    reads = method in ("GET", "HEAD") or route == UPLOAD
    if route in HEALTH and reads:
        return "in"
    return "in" if reads and (opened.open or shown == "the cookie") else "refused"


@contextmanager
def started(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that is guarded as app.py says."""
    options = {"server.address": opened.bind, "server.allowedHosts": ["127.0.0.1", "localhost", *opened.names]}
    monkeypatch.setattr(st, "get_option", options.__getitem__)
    monkeypatch.setenv("COGNATE_TOKEN", TOKEN)
    monkeypatch.setenv("COGNATE_OPEN", str(int(opened.open)))
    policy = app.policy()
    server = uvicorn.Server(uvicorn.Config(Guard(SERVER, lambda: policy, Links()), log_config=None, access_log=False))
    with socket.create_server((opened.bind, 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(LONG)
            until(lambda: not thread.is_alive(), "the end of the server")


def status(answer: BinaryIO, method: str) -> int:
    """The status of the answer that comes next, which is read to its end."""
    found, length = int(answer.readline().split()[1]), 0
    while line := answer.readline().strip():
        name, _, value = line.decode().partition(": ")
        length = int(value) if name.lower() == "content-length" else length
    answer.read(0 if method == "HEAD" else length)
    return found


@pytest.mark.parametrize("opened", [PRIVATE, NAMED, BOUND, OPEN], ids=["private", "named", "bound elsewhere", "open"])
def test_each_cell_is_let_in_or_refused_on_purpose(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_AT_ONCE", "SOCKETS_AT_ONCE", "GUESSES_AT_ONCE"):
        monkeypatch.setattr(guard, name, 1e9)
    wrong, counts = list[str](), Counter[str]()
    with (
        started(opened, monkeypatch) as port,
        socket.create_connection(("127.0.0.1", port)) as kept,
        kept.makefile("rb") as answers,
    ):
        for cell in product(HOSTS, PROXIES, ROUTES, METHODS, SHOWN):
            host, proxy, route, method, shown = cell
            opens = route in SOCKETS and method == "GET"
            kind = () if method in ("GET", "HEAD") else ("Content-Type: application/json", "Content-Length: 0")
            lines = [f"{method} {route} HTTP/1.1", f"Host: {host}", proxy, SHOWN[shown], *kind]
            request = "\r\n".join([*filter(None, lines), *(UPGRADE if opens else ()), "", ""]).encode()
            if opens:
                with socket.create_connection(("127.0.0.1", port)) as own, own.makefile("rb") as answer:
                    own.sendall(request)
                    code = status(answer, method)
            else:
                kept.sendall(request)
                code = status(answers, method)
            should = expected(opened, *cell)
            at_login = route == LOGIN and code in (401, 303)
            was = "login" if at_login and should == "login" else "in" if code in (101, 200) else "refused"
            counts[was] += 1
            if was != should or (was == "refused" and code not in (401, 403)):
                wrong.append(f"{cell}: {code}, {should} was expected")
    assert wrong == []
    assert min(counts[each] for each in ("in", "refused", "login")) > 20 and counts.total() == 5280


@pytest.mark.parametrize("opened", NEVER, ids=str)
def test_some_are_never_started(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "this computer alone" if opened.open else "host names"
    with pytest.raises(RunError, match=why), started(opened, monkeypatch):
        pass

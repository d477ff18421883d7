"""The HTML that every page starts from: Streamlit's own, with our changes."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from pathlib import Path

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cognate_core.api import root_of

STREAMLIT_PAGE = Path(st.__file__).with_name("static") / "index.html"
ICON = Path(__file__).parent.parent / "icon.png"

CHANGES = {
    # Without it, Streamlit first looks for its server under the page's own address: two errors on each page.
    "<head>": '<head><script>window.__streamlit = {BACKEND_BASE_URL: new URL("ROOT", location).href}</script>',
    "<title>.*?</title>": "<title>Cognate Studio</title>",
    '<link rel="service-desc".*?>': "",
    "<noscript>.*?</noscript>": '<noscript>Cognate Studio needs JavaScript. Programs use <a href="ROOTapi">its API</a>.'
    "</noscript>",
}


@lru_cache(maxsize=8)  # an address may have any depth
def html(root: str) -> bytes:
    """The HTML of a page, with `root` as the relative path to the studio's root. A missing pattern changes nothing."""
    text = STREAMLIT_PAGE.read_text(encoding="utf-8")
    for pattern, ours in CHANGES.items():
        text = re.sub(pattern, ours.replace("ROOT", root), text, count=1, flags=re.DOTALL)
    return text.encode()


@cache
def _streamlit_etag() -> str:
    return FileResponse(STREAMLIT_PAGE, stat_result=STREAMLIT_PAGE.stat()).headers["etag"]


class Frame:
    """ASGI middleware that replaces Streamlit's page with ours, also at unknown addresses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        replaced = False

        async def send_ours(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                replaced = headers.get("etag") == _streamlit_etag()
                if replaced:
                    body = html(root_of(scope))
                    for name in ("etag", "last-modified", "content-encoding"):
                        del headers[name]
                    headers["content-type"], headers["content-length"] = "text/html; charset=utf-8", str(len(body))
                    await send({**message, "status": 200})
                    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
            if not replaced:
                await send(message)

        await self._app(scope, receive, send_ours)


def _icon(_: Request) -> Response:
    return FileResponse(ICON, headers={"Cache-Control": "no-cache"})


icon = Route("/favicon.png", _icon)
"""Replaces Streamlit's icon in app.py."""

"""The HTML in which every page begins: Streamlit's own, made ours."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from pages.components.layout import all_addresses

STREAMLIT_PAGE = Path(st.__file__).with_name("static") / "index.html"
ICON = Path(__file__).parent.parent / "icon.png"

CHANGES = {
    # Else Streamlit looks for its server below the page's own address first, and each page begins with two errors.
    "<head>": '<head><script>window.__streamlit = {BACKEND_BASE_URL: new URL(".", location).href}</script>',
    "<title>.*?</title>": "<title>Cognate Studio</title>",
    '<link rel="service-desc".*?>': "",
    "<noscript>.*?</noscript>": '<noscript>Cognate Studio needs JavaScript. Programs use <a href="/api">its API</a>.'
    "</noscript>",
}


@cache
def html() -> str:
    """The HTML. What a later Streamlit has no more is not changed."""
    text = STREAMLIT_PAGE.read_text(encoding="utf-8")
    for pattern, ours in CHANGES.items():
        text = re.sub(pattern, ours, text, count=1, flags=re.DOTALL)
    return text


def _page(_: Request) -> Response:
    return HTMLResponse(html(), headers={"Cache-Control": "no-cache"})


def _icon(_: Request) -> Response:
    return FileResponse(ICON, headers={"Cache-Control": "no-cache"})


routes = [*(Route(address, _page) for address in all_addresses()), Route("/favicon.png", _icon)]
"""What app.py serves instead of Streamlit."""

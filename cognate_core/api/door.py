"""The door of a studio that is reached from elsewhere: a page asks once for the token, a cookie remembers it."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response

PATH = "/door"
COOKIE = "cognate_pages"
MOST_BYTES = 4096  # of what the form sends


class Door:
    """What the cookie holds says nothing of the token, and is another one each time the studio is opened."""

    def __init__(self) -> None:
        self.pass_ = secrets.token_urlsafe(32)

    def page(self, sentence: str = "") -> Response:
        """What asks for the token."""
        policy = f"default-src 'none'; style-src '{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'"
        headers = {"Content-Security-Policy": f"{policy}; base-uri 'none'", "Cache-Control": "no-store"}
        return HTMLResponse(_PAGE.replace("SENTENCE", sentence), HTTPStatus.UNAUTHORIZED, headers)

    def opened(self, *, secure: bool) -> Response:
        """The way in, for somebody who has shown the token."""
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        answer.set_cookie(COOKIE, self.pass_, httponly=True, samesite="strict", secure=secure)
        return answer


async def given_token(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> str | None:
    """What was typed at the door; None when it is no such form."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
        if len(body) > MOST_BYTES:
            return None
    try:
        return parse_qs(body.decode("ascii"), max_num_fields=4).get("token", [""])[0].strip()
    except ValueError:
        return None


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
input,button{font:inherit;padding:.5rem}
input{width:100%;box-sizing:border-box;margin:.5rem 0}
"""
_STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Cognate Studio</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style>
<h1>Cognate Studio</h1><p>This studio is reached from another computer and asks for its token. On the studio's computer,
<code>cognate token</code> prints it.</p><p role="alert">SENTENCE</p>
<form method="post" action="{PATH}">
<label>Token <input name="token" type="password" autocomplete="current-password" autofocus required></label>
<button>Open the studio</button></form></html>"""

"""Login of a browser: by a link that works once, or by typing the token. A session cookie keeps it logged in."""

from __future__ import annotations

import hashlib
import hmac
import html
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response

from cognate_core.labels import policy_source

PATH = "/login"
MOST_BYTES = 8192  # of the form's body
MOST_WANTED = 2000  # characters of the address to return to
REMEMBERED_SECONDS = 365 * 24 * 3600
NOT_KEPT = {"Cache-Control": "no-store"}
USED = "This link no longer works: it has been used, or the studio was restarted."


class Links:
    """Login links. Each works once, until the studio ends."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def new(self) -> str:
        """The path of a new link, to append to the studio's address."""
        key = secrets.token_urlsafe(32)
        self._keys.add(key)
        return f"{PATH}?key={key}"

    def use(self, key: str) -> bool:
        """Whether a link has this key. The key then stops working."""
        known = key in self._keys
        self._keys.discard(key)
        return known


def session_cookie(token: str) -> tuple[str, str]:
    """Name and value of the session cookie, valid until the token changes.

    Neither reveals the token. Browsers send cookies to every port of a computer, so each token has its own cookie name.
    """
    name, value = (hmac.new(token.encode(), use, hashlib.sha256).hexdigest() for use in (b"cookie name", b"cookie"))
    return f"cognate_{name[:12]}", value


def root_of(scope: Mapping[str, Any]) -> str:
    """The relative path from the requested address up to the studio's root, behind any proxy."""
    return "../" * (scope["raw_path"].count(b"/") - 1) or "./"  # as the browser counts: not %2F


def login_page(scope: Mapping[str, Any], sentence: str = "", wanted: str | None = None) -> Response:
    """The login page.

    Args:
        wanted: where to go after login, below the studio's address. Default: the address in `scope`.
    """
    if wanted is None:
        query = scope.get("query_string", b"").decode("latin-1")
        path = scope["raw_path"].decode("latin-1").lstrip("/")
        wanted = "" if path == PATH[1:] else path + (f"?{query}" if query else "")
        wanted = wanted if len(wanted) <= MOST_WANTED else ""
    policy = f"default-src 'none'; style-src {policy_source(_STYLE)}; form-action 'self'; frame-ancestors 'none'"
    values = {"SENTENCE": sentence, "ACTION": root_of(scope) + PATH[1:], "WANTED": wanted}
    text = _PAGE
    for name, value in values.items():
        text = text.replace(name, html.escape(value))
    headers = {"Content-Security-Policy": f"{policy}; base-uri 'none'", **NOT_KEPT}
    return HTMLResponse(text, HTTPStatus.UNAUTHORIZED, headers)


def entered(token: str | None, wanted: str = "", *, secure: bool = False) -> Response:
    """Redirect to `wanted`; with a `token`, set the session cookie."""
    # Relative: never leads to another site, and works in a proxy's folder, too.
    answer = RedirectResponse(f"./{wanted}", HTTPStatus.SEE_OTHER, {**NOT_KEPT, "Referrer-Policy": "no-referrer"})
    if token:
        name, value = session_cookie(token)
        answer.set_cookie(
            name, value, REMEMBERED_SECONDS, path=None, httponly=True, samesite="lax", secure=secure
        )  # no path: it then applies to this address's folder, which a proxy may have moved
    return answer


async def filled_in(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> tuple[str, str]:
    """The token and the wanted address that the form sends; both empty if the body is not this form."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
        if len(body) > MOST_BYTES:
            return "", ""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=4)
    except ValueError:
        return "", ""
    return fields.get("token", [""])[0].strip(), fields.get("wanted", [""])[0]


_STYLE = """
:root{color-scheme:light dark;--accent:#00659f;--on-accent:#fff}
body{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:12vh auto;padding:0 1rem;background:#fff;color:#0f151b}
input,button{font:inherit;padding:.5rem .75rem;border-radius:.5rem;border:1px solid #8a949e}
input{display:block;width:100%;box-sizing:border-box;margin:.25rem 0 1rem;background:transparent;color:inherit}
button{background:var(--accent);color:var(--on-accent);border-color:var(--accent);cursor:pointer}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
[role=alert]:not(:empty){border-left:4px solid var(--accent);padding-left:.75rem}
@media(prefers-color-scheme:dark){:root{--accent:#56b4e9;--on-accent:#10151a}body{background:#10151a;color:#e8edf2}}
"""
_PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Cognate Studio</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>{_STYLE}</style>
<h1>Cognate Studio</h1><p>This studio is private. Open the link shown in its terminal. Each link works once: run
<code>cognate link</code> on the same computer for a new one.</p>
<form method="post" action="ACTION"><input name="wanted" type="hidden" value="WANTED">
<p role="alert">SENTENCE</p><label>Or enter the token (<code>cognate token</code> prints it)
<input name="token" type="password" autocomplete="current-password" autofocus required></label>
<button>Open the studio</button></form></html>"""

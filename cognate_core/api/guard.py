"""Who may speak to the studio: rules that every request and every socket passes before anything else sees it.

On this computer alone (the rule), pages and reading are open to it, and anything else of the API needs the token; a
page of another site, which a browser on this computer may also show, is refused by Host, Origin and Sec-Fetch-Site.
Reached from elsewhere, everything needs the token, pages too. It knows ASGI and nothing of runs or Streamlit.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cognate_core.api.problems import problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
READING = frozenset({"GET", "HEAD"})
CONTENT_TYPES = frozenset({"application/json", "application/octet-stream"})  # none of them can a foreign form send
TOKEN_COOKIE = "cognate_token"  # noqa: S105  (its name)
MOST_JSON_BYTES = 1_000_000
MOST_FILE_BYTES = 1_000_000_000
REQUESTS_A_SECOND, REQUESTS_AT_ONCE = 100.0, 400.0
GUESSES_A_SECOND, GUESSES_AT_ONCE = 0.2, 10.0


@dataclass(frozen=True, slots=True)
class Policy:
    """hosts: the names under which the studio is asked for. everything: whether reading and pages need the token, too.
    token: None while there is none, so that whatever needs it is refused."""

    token: str | None
    hosts: frozenset[str] = OWN_HOSTS
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request or the opening of a socket, as the rules see it."""

    method: str  # "GET" for a socket
    path: str
    headers: Headers
    query: str
    client: str
    scheme: str
    policy: Policy

    @property
    def of_api(self) -> bool:
        return self.path == "/api" or self.path.startswith("/api/")

    @property
    def changes(self) -> bool:
        """Whether more than reading is asked for."""
        return self.method not in READING


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    status: HTTPStatus
    sentence: str
    headers: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[Asked], Refusal | None]


def known_host(asked: Asked) -> Refusal | None:
    """The Host is one of the studio's names: another site's name may be made to point to this computer."""
    if len(asked.headers.getlist("host")) == 1 and _hostname(asked.headers["host"]) in asked.policy.hosts:
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "The studio is not served under this name. Ask for http://127.0.0.1.")


def own_origin(asked: Asked) -> Refusal | None:
    """A browser says which page asks: it must be one of the studio's own."""
    for origin in asked.headers.getlist("origin"):
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or parts.netloc != asked.headers.get("host"):
            return Refusal(HTTPStatus.FORBIDDEN, "Pages of other sites may not speak to the studio.")
    return None


def own_site(asked: Asked) -> Refusal | None:
    """What a page of another site embeds carries no Origin, but a browser says where it comes from. A link is let
    through: it leads the person here."""
    site = asked.headers.get("sec-fetch-site", "none")
    follows_link = asked.method == "GET" and asked.headers.get("sec-fetch-mode") == "navigate" and not asked.of_api
    if site in ("none", "same-origin") or follows_link:
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "Pages of other sites may not speak to the studio.")


def known_content(asked: Asked) -> Refusal | None:
    """What is sent to the API is declared as JSON or bytes: a form of another site can send neither."""
    if not asked.of_api or not asked.changes:
        return None
    declared = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared in CONTENT_TYPES or (asked.method == "DELETE" and not declared):
        return None
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send it as Content-Type: application/json.")


def token_given(asked: Asked) -> Refusal | None:
    """The token, for whatever is more than reading, and for everything when the studio is reached from elsewhere."""
    needed = asked.policy.everything or (asked.of_api and asked.changes)
    if not needed or has_token(asked):
        return None
    return Refusal(
        HTTPStatus.UNAUTHORIZED,
        "This needs the studio's token: send Authorization: Bearer TOKEN. On the studio's computer, `cognate token` "
        "prints it.",
        {"WWW-Authenticate": "Bearer"},
    )


def small_enough(asked: Asked) -> Refusal | None:
    """No more is sent than a request of its kind can need."""
    if not asked.of_api:
        return None
    length = asked.headers.get("content-length", "0")
    if not length.isdecimal():
        return Refusal(HTTPStatus.BAD_REQUEST, "Content-Length is no number.")
    return too_large(asked) if int(length) > most_bytes(asked) else None


RULES: tuple[Rule, ...] = (known_host, own_origin, own_site, known_content, small_enough, token_given)


class Guard:
    """ASGI middleware: lets through what every rule lets through, and at a rate that leaves room for training.

    Args:
        get_policy: asked once, at the first request; the server knows its own address only then.
    """

    def __init__(self, app: App, get_policy: Callable[[], Policy], rules: Iterable[Rule] = RULES) -> None:
        self._app, self._get_policy, self._rules = app, get_policy, tuple(rules)
        self._policy: Policy | None = None
        self._requests = Buckets(REQUESTS_A_SECOND, REQUESTS_AT_ONCE)
        self._guesses = Buckets(GUESSES_A_SECOND, GUESSES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        self._policy = self._policy or self._get_policy()
        asked = _asked(scope, self._policy)
        answer = self._answer(asked)
        if answer is None and asked.of_api and asked.changes:
            await self._with_bounds(asked, scope, receive, send)
        elif answer is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})  # before it opens: status 403
        else:
            await answer(scope, receive, send)

    async def _with_bounds(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, unless more comes than may: whatever length was declared."""
        received, started = 0, False

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= most_bytes(asked) else {"type": "http.disconnect"}

        async def bounded_send(message: Message) -> None:
            nonlocal started
            if started or received <= most_bytes(asked):  # what the app makes of a body that was cut off is not told
                started = True
                await send(message)

        try:
            await self._app(scope, bounded_receive, bounded_send)
        except Exception:
            if started or received <= most_bytes(asked):
                raise
        if not started and received > most_bytes(asked):
            refusal = too_large(asked)
            await problem(refusal.status, refusal.sentence)(scope, receive, send)

    def _answer(self, asked: Asked) -> Response | None:
        """What is said instead of the app's answer, None when the request goes on."""
        refusal = self._too_fast(asked) or next((no for rule in self._rules if (no := rule(asked))), None)
        if refusal is None:
            return _remembered(asked) if asked.policy.everything else None
        if refusal.status is HTTPStatus.UNAUTHORIZED:
            if _tokens(asked) and not self._guesses.take(asked.client):
                refusal = _SLOWER
            elif not asked.of_api and asked.method == "GET" and "text/html" in asked.headers.get("accept", ""):
                return HTMLResponse(_DOOR, HTTPStatus.UNAUTHORIZED, headers=_DOOR_HEADERS)
        return problem(refusal.status, refusal.sentence, None, **refusal.headers)

    def _too_fast(self, asked: Asked) -> Refusal | None:
        return _SLOWER if asked.of_api and not self._requests.take(asked.client) else None


class Buckets:
    """For each client a bucket of permissions: `most` at once, refilled at `rate` a second."""

    def __init__(self, rate: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # client -> what is left, when

    def take(self, client: str) -> bool:
        """Take one permission, if there is one."""
        now = self._clock()
        left, then = self._buckets.get(client, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        if len(self._buckets) > 10_000:  # whoever asks from so many addresses is not to fill the memory
            self._buckets.clear()
        self._buckets[client] = (max(0.0, left - 1.0), now)
        return left >= 1.0


def most_bytes(asked: Asked) -> int:
    """How large the body of a request may be."""
    file = asked.headers.get("content-type", "").startswith("application/octet-stream")
    return MOST_FILE_BYTES if file else MOST_JSON_BYTES


def has_token(asked: Asked) -> bool:
    """Whether the request shows the studio's token."""
    token = asked.policy.token
    return token is not None and any(hmac.compare_digest(given.encode(), token.encode()) for given in _tokens(asked))


def _tokens(asked: Asked) -> list[str]:
    """What the request shows as a token: in its header; for pages also in the cookie, or once in the address."""
    kind, _, value = asked.headers.get("authorization", "").partition(" ")
    given = [value.strip()] if kind.lower() == "bearer" else []
    if asked.policy.everything and not (asked.of_api and asked.changes):  # a cookie is sent by the browser unasked
        try:
            cookie = SimpleCookie(asked.headers.get("cookie", "")).get(TOKEN_COOKIE)
        except CookieError:
            cookie = None
        given += [cookie.value] if cookie else []
        given += [value for name, value in parse_qsl(asked.query) if name == "token"] if not asked.of_api else []
    return [value for value in given if value]


def _remembered(asked: Asked) -> Response | None:
    """Whoever shows the token in a page's address is sent on without it, and the browser remembers it."""
    query = parse_qsl(asked.query, keep_blank_values=True)
    if asked.of_api or asked.method != "GET" or asked.scheme == "ws" or "token" not in dict(query):
        return None
    rest = urlencode([(name, value) for name, value in query if name != "token"])
    answer = RedirectResponse(f"/{asked.path.lstrip('/')}" + (f"?{rest}" if rest else ""), HTTPStatus.SEE_OTHER)
    answer.set_cookie(TOKEN_COOKIE, asked.policy.token or "", httponly=True, samesite="strict")
    return answer


def _asked(scope: Scope, policy: Policy) -> Asked:
    client = scope.get("client")
    return Asked(
        method=scope.get("method", "GET"),
        path=scope["path"],
        headers=Headers(scope=scope),
        query=scope.get("query_string", b"").decode("latin-1"),
        client=client[0] if client else "",
        scheme=scope["scheme"] if scope["type"] == "http" else "ws",
        policy=policy,
    )


def _hostname(host: str) -> str | None:
    """The name in a Host header, without port; None when it is more than name and port."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    odd = parts.username is not None or parts.path or parts.query or parts.fragment
    return None if odd or parts.hostname is None else parts.hostname.rstrip(".")


def too_large(asked: Asked) -> Refusal:
    """More than is taken."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {most_bytes(asked):,} bytes are taken here. Send less."
    )


_SLOWER = Refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests. Wait a second, then go on.", {"Retry-After": "1"})
_DOOR_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"}
_DOOR = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Cognate Studio</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
input,button{font:inherit;padding:.5rem}input{width:100%;box-sizing:border-box;margin:.5rem 0}</style>
<h1>Cognate Studio</h1><p>This studio is reached from another computer and asks for its token. On the studio's computer,
<code>cognate token</code> prints it.</p>
<form><label>Token <input name="token" type="password" autocomplete="current-password" autofocus></label>
<button>Open the studio</button></form></html>"""

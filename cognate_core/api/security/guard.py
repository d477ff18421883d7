"""Who may use the studio: rules that every request and every socket must pass before anything else sees it.

Everything except the health check needs the token: a proxy that sends no proxy headers looks like the studio's owner,
and on a shared computer everybody reaches 127.0.0.1. A browser sends the session cookie of `login.py` instead. The
cookie allows reading, but no changes through the API. Host, Origin and Sec-Fetch-Site keep out pages of other sites
in the same browser. This module knows ASGI, but no runs, and of Streamlit only two addresses.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import Response

from cognate_core.api.problems import problem
from cognate_core.api.security import login
from cognate_core.api.security.buckets import Buckets

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
READING = frozenset({"GET", "HEAD"})
HEALTH = frozenset({"/api/v1/health", "/_stcore/health"})
PROXY_HEADERS = ("forwarded", "x-forwarded-", "via", "x-real-ip")
PAGES_UPLOADS = "/_stcore/upload_file/"  # uploads of a page; Streamlit checks a secret of the page there
CONTENT_TYPES = frozenset({"application/json", "application/octet-stream"})  # a form of another site can send neither
ONCE = ("host", "origin", "authorization", "content-type", "content-length", "sec-fetch-site")
MOST_JSON_BYTES = 1_000_000
MOST_FILE_BYTES = 4096 << 20  # written to the disk piece by piece
REQUESTS_A_SECOND, REQUESTS_AT_ONCE = 100.0, 400.0
SOCKETS_A_SECOND, SOCKETS_AT_ONCE = 100.0, 2000.0
GUESSES_A_SECOND, GUESSES_AT_ONCE = 0.2, 10.0
NOBODY_GUESSES = 32  # a token this long cannot be guessed, so no limit on guesses delays its owner
ON_EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}
"""Defaults that an answer may override: no page of another site may show or embed what is answered here."""


@dataclass(frozen=True, slots=True)
class Policy:
    """hosts: the names under which the studio is reached. open: whether everybody on this computer may use the pages
    and read. token: while it is empty, everything that needs it is refused."""

    token: str
    hosts: frozenset[str] = OWN_HOSTS
    open: bool = False

    @property
    def guessable(self) -> bool:
        return len(self.token) < NOBODY_GUESSES


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request or the opening of a socket, as the rules see it."""

    method: str  # "GET" for a socket
    path: str
    headers: Headers
    client: str
    policy: Policy

    @property
    def of_api(self) -> bool:
        return self.path == "/api" or self.path.startswith("/api/")

    @property
    def at_login(self) -> bool:
        return self.path == login.PATH and self.method in ("GET", "HEAD", "POST")

    @property
    def changes(self) -> bool:
        """Whether it asks for more than reading. Applies to every address, so that none is forgotten."""
        return self.method not in READING and not self.path.startswith(PAGES_UPLOADS) and not self.at_login

    @property
    def needs_token(self) -> bool:
        if self.at_login or (self.path in HEALTH and not self.changes):
            return False
        return self.changes or not self.policy.open


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused."""

    status: HTTPStatus
    sentence: str
    headers: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[Incoming], Refusal | None]


def said_once(asked: Incoming) -> Refusal | None:
    """Headers that the rules read come once: code behind the guard might use the second one."""
    if all(len(asked.headers.getlist(name)) <= 1 for name in ONCE):
        return None
    return Refusal(HTTPStatus.BAD_REQUEST, "A header of this request is repeated. Send it once.")


def from_near(asked: Incoming) -> Refusal | None:
    """An open studio answers only this computer, whatever address the server is bound to."""
    if not asked.policy.open or is_loopback(asked.client):
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "This studio answers only its own computer.")


def no_proxy(asked: Incoming) -> Refusal | None:
    """No proxy forwards requests to an open studio."""
    if not (asked.policy.open and any(name.startswith(PROXY_HEADERS) for name in asked.headers)):
        return None
    return Refusal(
        HTTPStatus.FORBIDDEN, "An open studio answers only its own computer. To use a proxy, start it without --open."
    )


def known_host(asked: Incoming) -> Refusal | None:
    """The Host is one of the studio's names: another site can point its own name to this computer."""
    if _hostname(asked.headers.get("host", "")) in asked.policy.hosts:
        return None
    return Refusal(
        HTTPStatus.FORBIDDEN,
        "The studio does not know this host name. Use the address it printed, or add the name with --host-name.",
    )


def own_origin(asked: Incoming) -> Refusal | None:
    """The page that a browser names as Origin is one of the studio's own."""
    host = asked.headers.get("host")
    if asked.headers.get("origin") in (None, f"http://{host}", f"https://{host}"):
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "Pages of other sites may not use the studio.")


def own_site(asked: Incoming) -> Refusal | None:
    """No page of another site embeds the studio: such requests carry no Origin, but Sec-Fetch-Site. A link from
    another site is allowed: it opens the studio by itself."""
    if asked.headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return None
    leads_here = (asked.headers.get("sec-fetch-mode"), asked.headers.get("sec-fetch-dest")) == ("navigate", "document")
    if leads_here and asked.method == "GET" and not asked.of_api:
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "Pages of other sites may not use the studio.")


def known_content(asked: Incoming) -> Refusal | None:
    """A change is declared as JSON or bytes: a form of another site can send neither."""
    declared = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not asked.changes or declared in CONTENT_TYPES or (asked.method == "DELETE" and not declared):
        return None
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send it as Content-Type: application/json.")


def small_enough(asked: Incoming) -> Refusal | None:
    """The declared length is within the limit for this kind of request."""
    length = asked.headers.get("content-length", "0")
    if not (asked.of_api or asked.changes):
        return None
    if not (length.isascii() and length.isdecimal() and len(length) < 20):
        return Refusal(HTTPStatus.BAD_REQUEST, "Content-Length must be a number.")
    return too_large(asked) if int(length) > most_bytes(asked) else None


def token_given(asked: Incoming) -> Refusal | None:
    """The token; for reading, the cookie is enough. It allows no changes, because a browser sends it unasked."""
    if not asked.needs_token or _is_token(shown_token(asked), asked.policy):
        return None
    if not asked.changes and _has_cookie(asked):
        return None
    return Refusal(
        HTTPStatus.UNAUTHORIZED,
        "This needs the studio's token: send Authorization: Bearer TOKEN. On the studio's computer, `cognate token` "
        "prints it.",
        {"WWW-Authenticate": "Bearer"},
    )


RULES: tuple[Rule, ...] = (
    said_once,
    from_near,
    no_proxy,
    known_host,
    own_origin,
    own_site,
    known_content,
    small_enough,
    token_given,
)


class Guard:
    """ASGI middleware: passes on requests that every rule allows, at a rate that leaves room for training.

    Args:
        get_policy: called once, at the first request: only then does the server know its own address.
        links: the login links.
    """

    def __init__(
        self, app: App, get_policy: Callable[[], Policy], links: login.Links, rules: Iterable[Rule] = RULES
    ) -> None:
        self._app, self._get_policy, self._links, self._rules = app, get_policy, links, tuple(rules)
        self._policy: Policy | None = None
        self._requests = Buckets(REQUESTS_A_SECOND, REQUESTS_AT_ONCE)
        self._sockets = Buckets(SOCKETS_A_SECOND, SOCKETS_AT_ONCE)
        self._guesses = Buckets(GUESSES_A_SECOND, GUESSES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        self._policy = self._policy or self._get_policy()
        asked = _asked(scope, self._policy)
        answer = self._answer(asked, scope)
        if scope["type"] == "websocket":
            if answer is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": "refused"})  # not open yet: status 403
            return
        if answer is None and asked.at_login:
            answer = await self._login(asked, scope, receive)
        closed = _closed_to_others(asked, send)
        if answer is not None:
            await answer(scope, receive, closed)
        elif asked.changes:
            await self._with_bounds(asked, scope, receive, closed)
        else:
            await self._app(scope, receive, closed)

    async def _with_bounds(self, asked: Incoming, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, unless the body is too large, whatever length was declared."""
        received, started = 0, False

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= most_bytes(asked) else {"type": "http.disconnect"}

        async def bounded_send(message: Message) -> None:
            nonlocal started
            if started or received <= most_bytes(asked):  # the app's answer to a cut-off body is dropped
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

    async def _login(self, asked: Incoming, scope: Scope, receive: Receive) -> Response:
        """The answer to an opened link or to a typed token."""
        token, secure = asked.policy.token, scope["scheme"] == "https"
        if asked.method == "POST":
            if asked.policy.guessable and not self._guesses.has(asked.client):
                return _told(SLOWER)
            given, wanted = await login.filled_in(receive)
            if _is_token(given, asked.policy):
                return login.entered(token, wanted, secure=secure)
            self._guesses.take(asked.client)
            return login.login_page(scope, "That is not the token.", wanted)
        key = QueryParams(scope["query_string"]).get("key", "")
        followed = asked.method == "GET" and not any(
            "pre" in asked.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-moz")
        )
        if followed and self._links.use(key):
            return login.entered(token, secure=secure)
        if _has_cookie(asked) or asked.policy.open:
            return login.entered(None)
        return login.login_page(scope, login.USED if key and followed else "")

    def _answer(self, asked: Incoming, scope: Scope) -> Response | None:
        """The answer instead of the app's; None if the request is passed on."""
        guessed = shown_token(asked) is not None and asked.needs_token and asked.policy.guessable
        if guessed and not self._guesses.has(asked.client):  # before the token is checked, or guessing would continue
            return _told(SLOWER)
        refusal = next((no for rule in self._rules if (no := rule(asked))), None)
        if refusal is None:
            buckets = self._sockets if scope["type"] == "websocket" else self._requests
            return _told(SLOWER) if asked.of_api and not buckets.take(asked.client) else None
        if refusal.status is HTTPStatus.UNAUTHORIZED:
            if guessed:
                self._guesses.take(asked.client)
            if asked.method == "GET" and "text/html" in asked.headers.get("accept", ""):
                return login.login_page(scope)
        return _told(refusal)


def most_bytes(asked: Incoming) -> int:
    """How large the body of a request may be."""
    file = asked.headers.get("content-type", "").startswith("application/octet-stream")
    return MOST_FILE_BYTES if file else MOST_JSON_BYTES


def too_large(asked: Incoming) -> Refusal:
    """More than is taken."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request is too large. Send at most {most_bytes(asked):,} bytes."
    )


def shown_token(asked: Incoming) -> str | None:
    """The token that the request sends."""
    kind, _, value = asked.headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def _is_token(given: str | None, policy: Policy) -> bool:
    return bool(policy.token and given) and hmac.compare_digest(str(given).encode(), policy.token.encode())


def _has_cookie(asked: Incoming) -> bool:
    if not asked.policy.token:
        return False
    name, value = login.session_cookie(asked.policy.token)
    sent = (part.strip().partition("=") for line in asked.headers.getlist("cookie") for part in line.split(";"))
    return any(each == name and hmac.compare_digest(held.encode(), value.encode()) for each, _, held in sent)


def _closed_to_others(asked: Incoming, send: Send) -> Send:
    """`send`, with the headers of every answer."""

    async def closed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in ON_EVERY_ANSWER.items():
                headers.setdefault(name, value)
            if asked.of_api:
                headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return closed


def _told(refusal: Refusal) -> Response:
    return problem(refusal.status, refusal.sentence, None, **refusal.headers)


def _asked(scope: Scope, policy: Policy) -> Incoming:
    client = scope.get("client")
    return Incoming(
        method=scope.get("method", "GET"),
        path=scope["path"],
        headers=Headers(scope=scope),
        client=client[0] if client else "",
        policy=policy,
    )


def is_loopback(address: str | None) -> bool:
    """Whether only this computer can reach an address."""
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return address == "localhost"


def _hostname(host: str) -> str | None:
    """The name in a Host header, without port; None if the header holds anything else."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    odd = parts.username is not None or parts.path or parts.query or parts.fragment
    return None if odd or parts.hostname is None else parts.hostname.removesuffix(".")


SLOWER = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS, "Too many requests. Wait a few seconds, then try again.", {"Retry-After": "5"}
)

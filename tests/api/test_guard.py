"""The guard: of each rule, that it refuses what breaks it alone, and that without this rule the same goes through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from cognate_core.api import guard
from cognate_core.api.buckets import MOST_CLIENTS, Buckets
from cognate_core.api.guard import RULES, Guard, Policy, Rule
from cognate_core.api.login import Links, session_cookie

TOKEN = "a-token-of-the-test"
HERE = "127.0.0.1:8501"
HOME = Policy(TOKEN)
AWAY = Policy(TOKEN, frozenset({"studio.lan"}))
OPEN = Policy(TOKEN, open=True)


async def answer(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"method": request.method, "path": request.scope["path"], "bytes": len(body)})


async def page(_: Request) -> Response:
    return HTMLResponse("a page", headers={"X-Frame-Options": "SAMEORIGIN"})


async def socket(connection: WebSocket) -> None:
    await connection.accept()
    await connection.send_text("open")
    await connection.close()


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]
SERVER = Starlette(
    routes=[
        Mount(
            "/api",
            routes=[
                WebSocketRoute("/v1/events", socket),
                Route("/{rest:path}", answer, methods=METHODS),
            ],
        ),
        WebSocketRoute("/_stcore/stream", socket),
        Route("/_stcore/upload_file/{rest:path}", answer, methods=METHODS),
        Route("/", page),
        Route("/{rest:path}", answer, methods=METHODS),
    ]
)


def asking(
    policy: Policy = HOME,
    rules: tuple[Rule, ...] = RULES,
    client: str = "127.0.0.1",
    links: Links | None = None,
    scheme: str = "http",
) -> TestClient:
    return TestClient(
        Guard(SERVER, lambda: policy, links or Links(), rules),
        base_url=f"{scheme}://{'studio.lan' if policy is AWAY else HERE}",
        client=(client, 50_000),
        follow_redirects=False,
    )


def known(policy: Policy = HOME) -> TestClient:
    """A browser that the studio knows."""
    client = asking(policy)
    client.cookies.set(*session_cookie(TOKEN))
    return client


@dataclass(frozen=True)
class Case:
    """A request that breaks one rule alone. `headers`: beside those of a sound request; None takes one away."""

    rule: Rule
    status: int
    method: str = "GET"
    path: str = "/api/v1/runs"
    headers: list[tuple[str, str | None]] = field(default_factory=list)
    content: bytes = b""
    policy: Policy = HOME
    client: str = "127.0.0.1"

    def ask(self, rules: tuple[Rule, ...]) -> Any:
        changed = {name.lower() for name, _ in self.headers}
        sound = [("Host", "studio.lan" if self.policy is AWAY else HERE), ("Authorization", f"Bearer {TOKEN}")]
        if self.method not in ("GET", "HEAD"):
            sound.append(("Content-Type", "application/json"))
        lines = [pair for pair in sound if pair[0].lower() not in changed]
        lines += [(name, value) for name, value in self.headers if value is not None]
        client = asking(self.policy, rules, self.client)
        del client.headers["user-agent"]
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in lines]
        return client.request(self.method, self.path, headers=encoded, content=self.content)


def case(rule: Rule, status: int, **values: Any) -> Any:
    headers = list(values.pop("headers", {}).items()) if isinstance(values.get("headers"), dict) else None
    if headers is not None:
        values["headers"] = headers
    words = " ".join(f"{name}={value}" for name, value in values.items() if name not in ("policy", "content"))
    return pytest.param(
        Case(rule, status, **values), id=f"{rule.__name__}-{words}"[:110].encode("ascii", "replace").decode()
    )


FOREIGN_HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "evil.example:8501",
    "localhost.evil.example",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "127.0.0.1:8501/x",
    "127.0.0.1,evil.example",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "0.0.0.0",
    "[::ffff:127.0.0.1]",
    "[::1",
    "127.0.0.1:port",
    "",
]
FOREIGN_ORIGINS = [
    "https://evil.example",
    "http://evil.example:8501",
    f"http://{HERE}.evil.example",
    "http://127.0.0.1:9999",
    "http://127.0.0.1",
    "http://localhost:8501",
    f"http://{HERE}/",
    f"ftp://{HERE}",
    "null",
    "http://[",
    "",
]
SIMPLE_CONTENT = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain; application/json",
    "application/json, text/plain",
    "application/jsonp",
    "",
    None,
]
ANY_PATH = ["/api/v1/runs", "/api", "/API/v1/runs", "/live", "/", "/_stcore/health", "/_stcore/upload_file"]

CASES = [
    case(guard.said_once, 400, headers=[("Host", HERE), ("Host", HERE)]),
    case(guard.said_once, 400, headers=[("Origin", f"http://{HERE}"), ("Origin", f"http://{HERE}")]),
    case(guard.said_once, 400, headers=[("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]),
    case(
        guard.said_once,
        400,
        method="POST",
        headers=[("Content-Type", "application/json"), ("Content-Type", "text/plain")],
    ),
    case(guard.from_near, 403, client="192.168.1.7", policy=OPEN),
    case(guard.from_near, 403, client="192.168.1.7", path="/", policy=OPEN),
    case(guard.from_near, 403, client="::ffff:10.0.0.1", policy=OPEN),
    case(guard.from_near, 403, client="", policy=OPEN),
    *(
        case(guard.no_proxy, 403, headers={name: "203.0.113.9"}, path=path, policy=OPEN)
        for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via", "X-Real-IP")
        for path in ("/", "/api/v1/runs", "/api/v1/health")
    ),
    *(case(guard.known_host, 403, headers={"Host": host}) for host in FOREIGN_HOSTS),
    case(guard.known_host, 403, headers={"Host": "evil.example"}, path="/"),
    case(guard.known_host, 403, headers={"Host": HERE}, policy=AWAY),
    *(case(guard.own_origin, 403, headers={"Origin": origin}) for origin in FOREIGN_ORIGINS),
    case(guard.own_origin, 403, headers={"Origin": "https://evil.example"}, path="/"),
    case(guard.own_origin, 403, headers={"Origin": "https://evil.example"}, method="DELETE"),
    *(
        case(
            guard.own_site,
            403,
            headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest},
            path=path,
        )
        for site in ("cross-site", "same-site", "none, cross-site")
        for mode, dest, path in (
            ("no-cors", "image", "/api/v1/runs"),
            ("no-cors", "script", "/plotly.min.js"),
            ("cors", "empty", "/live"),
            ("navigate", "iframe", "/"),
            ("navigate", "document", "/api/v1/runs"),
        )
    ),
    case(
        guard.own_site,
        403,
        method="POST",
        headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ),
    *(
        case(guard.known_content, 415, method=method, headers={"Content-Type": content})
        for method in ("POST", "PATCH")
        for content in SIMPLE_CONTENT
    ),
    *(
        case(guard.known_content, 415, method="POST", headers={"Content-Type": None}, path=path)
        for path in ANY_PATH[1:]
    ),
    case(guard.known_content, 415, method="DELETE", headers={"Content-Type": "text/plain"}),
    case(guard.small_enough, 413, method="POST", headers={"Content-Length": "1000001"}),
    case(guard.small_enough, 413, headers={"Content-Length": "1000001"}),
    case(
        guard.small_enough,
        413,
        method="POST",
        headers={"Content-Length": "1048576001", "Content-Type": "application/octet-stream"},
    ),
    *(
        case(guard.small_enough, 400, method="POST", headers={"Content-Length": length})
        for length in ("-1", "1e9", "+5", "²", "9" * 20)
    ),
    *(
        case(guard.token_given, 401, method=method, headers={"Authorization": given})
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
        for given in (None, "Bearer wrong")
    ),
    *(
        case(guard.token_given, 401, method="POST", headers={"Authorization": given})
        for given in (
            TOKEN,
            f"Basic {TOKEN}",
            "Bearer",
            "Bearer ",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer é",
        )
    ),
    *(case(guard.token_given, 401, method="POST", headers={"Authorization": None}, path=path) for path in ANY_PATH[1:]),
    case(guard.token_given, 401, method="POST", headers={"Authorization": None}, path=f"/api/v1/runs?token={TOKEN}"),
    *(
        case(
            guard.token_given,
            401,
            method=method,
            headers={"Authorization": None, "Cookie": "=".join(session_cookie(TOKEN))},
            path=path,
        )
        for method in ("POST", "DELETE")
        for path in ("/api/v1/runs", "/live")
    ),
    *(
        case(guard.token_given, 401, headers={"Authorization": None}, policy=policy, path=path)
        for policy in (HOME, AWAY)
        for path in ("/", f"/?token={TOKEN}", "/live", "/static/main.js", "/api", "/api/v1/", "/api/v1/runs", "/x")
    ),
    *(
        case(guard.token_given, 401, headers={"Authorization": None, "Cookie": cookie}, path="/")
        for cookie in (
            f"{session_cookie(TOKEN)[0]}={TOKEN}",
            f"{session_cookie(TOKEN)[0]}=",
            f"other={session_cookie(TOKEN)[1]}",
            "=".join(session_cookie(f"{TOKEN}x")),
            "",
        )
    ),
    case(
        guard.token_given, 401, headers={"Authorization": None}, method="PUT", path="/_stcore/upload_file/session/file"
    ),
    case(guard.token_given, 401, headers={"Authorization": None}, method="POST", path="/api/v1/health"),
    case(guard.token_given, 401, headers={"Authorization": None}, method="PUT", path="/login"),
    case(guard.token_given, 401, headers={"Authorization": None}, method="POST", policy=OPEN),
    case(guard.token_given, 401, method="POST", headers={"Authorization": "Bearer None"}, policy=Policy("")),
    case(guard.token_given, 401, method="POST", headers={"Authorization": "Bearer "}, policy=Policy("")),
]


@pytest.mark.parametrize("case", CASES)
def test_each_rule_refuses_what_breaks_it_alone_and_nothing_else_does(case: Case) -> None:
    refused = case.ask(RULES)
    assert refused.status_code == case.status
    assert refused.headers["content-type"] == "application/problem+json" and refused.json()["detail"]
    assert TOKEN not in refused.text
    without = case.ask(tuple(rule for rule in RULES if rule is not case.rule))
    assert without.status_code == 200


def test_every_rule_has_a_case() -> None:
    assert {each.values[0].rule for each in CASES} == set(RULES)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "127.0.0.1"},
        {"Host": "localhost:8501"},
        {"Host": "LOCALHOST:8501"},
        {"Host": "localhost."},
        {"Host": "[::1]:8501"},
        {"Host": "[::1]"},
        {"Host": HERE, "Origin": f"http://{HERE}"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    ],
    ids=str,
)
def test_what_breaks_no_rule_goes_through(headers: dict[str, str]) -> None:
    client = asking()
    for shows in ({"Authorization": f"Bearer {TOKEN}"}, {"Cookie": "a=b; " + "=".join(session_cookie(TOKEN)) + "; c"}):
        assert client.get("/api/v1/runs", headers={**headers, **shows}).status_code == 200
    change = {"Authorization": f"bearer {TOKEN}", "Content-Type": "application/json; charset=utf-8", **headers}
    assert client.post("/api/v1/runs", headers=change, content=b"{}").json()["bytes"] == 2
    del change["Content-Type"]
    assert client.delete("/api/v1/runs/x", headers=change).status_code == 200


def test_a_link_on_another_site_leads_to_a_page() -> None:
    follows = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert known().get("/monitor?run=x", headers=follows).status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/health", "/_stcore/health"])
def test_health_is_told_to_everybody(path: str) -> None:
    assert asking().get(path).status_code == asking(AWAY).head(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/monitor", "/live", "/api/v1/runs", "/static/main.js"])
def test_an_open_studio_asks_nobody_on_this_computer(path: str) -> None:
    assert asking(OPEN).get(path).status_code == 200
    assert asking(OPEN).get("/login?key=old").headers["location"] == "./"
    assert asking(OPEN, client="192.168.1.7").get(path).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/runs",
        "/./api/v1/runs",
        "/x/../api/v1/runs",
        "/API/v1/runs",
        "/api%2fv1%2fruns",
        "/%61pi/v1/runs",
        "/api/../api/v1/runs",
        "/_stcore/upload_file/../../api/v1/runs",
        "/_stcore/upload_file/%2e%2e/%2e%2e/api/v1/runs",
        "/_stcore%2fupload_file/x",
        "/login/",
        "/login/../api/v1/runs",
    ],
)
def test_no_other_spelling_of_an_address_leads_past_the_token(path: str) -> None:
    """Either the rules see a change there, or what answers is no part of the API."""
    client = asking()
    client.headers["content-type"] = "application/json"
    answered = client.post(f"http://{HERE}{path}", content=b"{}")
    if answered.status_code != 401:
        assert answered.json()["path"].startswith(guard.PAGES_UPLOADS)


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "_method"])
def test_no_header_turns_reading_into_a_change(header: str) -> None:
    answered = known().get("/api/v1/runs?_method=DELETE", headers={header: "DELETE"})
    assert answered.json()["method"] == "GET"


def test_a_field_for_files_of_a_page_goes_on_working() -> None:
    put = {"Content-Type": "multipart/form-data; boundary=x", "Origin": f"http://{HERE}"}
    assert known().put("/_stcore/upload_file/s/f", headers=put, content=b"x" * 2_000_000).json()["bytes"] == 2_000_000
    foreign = {**put, "Origin": "https://evil.example"}
    assert known().put("/_stcore/upload_file/s/f", headers=foreign, content=b"x").status_code == 403


# Sockets


@pytest.mark.parametrize("path", ["/api/v1/events", "/_stcore/stream"])
def test_a_socket_opens_for_own_pages_and_programs_alone(path: str) -> None:
    for headers in ({}, {"Origin": f"http://{HERE}"}):
        with known().websocket_connect(f"ws://{HERE}{path}", headers=headers) as connection:
            assert connection.receive_text() == "open"
    shown = {"Authorization": f"Bearer {TOKEN}"}
    with asking().websocket_connect(f"ws://{HERE}{path}", headers=shown) as connection:
        assert connection.receive_text() == "open"
    with pytest.raises(WebSocketDisconnect), asking().websocket_connect(f"ws://{HERE}{path}"):
        pass
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        with pytest.raises(WebSocketDisconnect), known().websocket_connect(f"ws://{HERE}{path}", headers=headers):
            pass


# Sizes and rates


def pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b"x" * 100_000


def test_a_body_of_undeclared_length_is_cut_off() -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    client = asking()
    assert client.post("/api/v1/runs", headers=headers, content=b"x" * 1_000_000).json()["bytes"] == 1_000_000, (
        "declared"
    )
    assert client.post("/api/v1/runs", headers=headers, content=pieces(10)).json()["bytes"] == 1_000_000
    refused = client.post("/api/v1/runs", headers=headers, content=pieces(11))
    assert refused.status_code == 413 and "1,000,000 bytes" in refused.json()["detail"]


def test_files_may_be_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_FILE_BYTES", 2_000_000)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/octet-stream"}
    assert asking().post("/api/v1/passports", headers=headers, content=pieces(20)).status_code == 200
    assert asking().post("/api/v1/passports", headers=headers, content=pieces(21)).status_code == 413


def test_asking_too_fast_is_refused_and_pages_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS_AT_ONCE", 3.0)
    monkeypatch.setattr(guard, "REQUESTS_A_SECOND", 0.0)
    client = known()
    codes = [client.get("/api/v1/runs").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    slow = client.get("/api/v1/runs")
    assert slow.headers["retry-after"] and "Wait" in slow.json()["detail"]
    assert client.get("/").status_code == 200


def test_what_a_foreign_page_asks_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS_AT_ONCE", 1.0)
    monkeypatch.setattr(guard, "REQUESTS_A_SECOND", 0.0)
    client = known()
    for _ in range(5):
        assert client.get("/api/v1/runs", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/api/v1/runs").status_code == 200


def test_opening_sockets_too_fast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SOCKETS_AT_ONCE", 1.0)
    monkeypatch.setattr(guard, "SOCKETS_A_SECOND", 0.0)
    client = known()
    with client.websocket_connect(f"ws://{HERE}/api/v1/events") as connection:
        connection.receive_text()
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"ws://{HERE}/api/v1/events"):
        pass
    with client.websocket_connect(f"ws://{HERE}/_stcore/stream") as connection:
        connection.receive_text()


@pytest.mark.parametrize("policy", [HOME, AWAY], ids=["at home", "away"])
def test_guessing_the_token_is_soon_refused_even_if_right(monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    monkeypatch.setattr(guard, "GUESSES_AT_ONCE", 3.0)
    monkeypatch.setattr(guard, "GUESSES_A_SECOND", 0.0)
    client = asking(policy)

    def start(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        code: int = client.post("/api/v1/runs", headers=headers, content=b"{}").status_code
        return code

    assert [start(TOKEN), start("a"), start("b"), start("c"), start("d"), start(TOKEN)] == [
        200,
        401,
        401,
        401,
        429,
        429,
    ]


def test_who_knows_a_long_token_never_waits_for_those_who_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "GUESSES_AT_ONCE", 1.0)
    monkeypatch.setattr(guard, "GUESSES_A_SECOND", 0.0)
    token = "t" * guard.NOBODY_GUESSES
    client = asking(Policy(token))
    codes = [
        client.get("/api/v1/runs", headers={"Authorization": f"Bearer {each}"}).status_code
        for each in ("a", "b", "c", token)
    ]
    assert codes == [401, 401, 401, 200]
    assert [client.post("/login", data={"token": each}).status_code for each in ("a", "b", token)] == [401, 401, 303]


def test_permissions_come_back_with_time_and_addresses_are_forgotten() -> None:
    now = 0.0
    buckets = Buckets(2.0, 2.0, clock=lambda: now)
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    assert buckets.take("b") and not buckets.has("a")
    now = 0.5
    assert buckets.has("a") and [buckets.take("a"), buckets.take("a")] == [True, False]
    now = 100.0
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    for number in range(MOST_CLIENTS + 5):
        assert [buckets.take(str(number)) for _ in range(2)] == [True, True]
    assert [number for number in range(MOST_CLIENTS + 5) if buckets.has(str(number))] == list(range(5)), "forgotten"


# How a browser is let in

HTML = {"Accept": "text/html,*/*"}


def is_let_in(client: TestClient) -> bool:
    address = client.base_url.copy_with(scheme="ws", path="/_stcore/stream")
    with suppress(WebSocketDisconnect), client.websocket_connect(str(address)) as connection:
        return client.get("/", headers=HTML).text == "a page" and connection.receive_text() == "open"
    return False


@pytest.mark.parametrize("policy", [HOME, AWAY], ids=["at home", "away"])
def test_a_link_lets_one_browser_in_and_it_stays(policy: Policy) -> None:
    links = Links()
    link = links.new()
    first, second = asking(policy, links=links), asking(policy, links=links)
    followed = first.get(link, headers=HTML)
    assert (followed.status_code, followed.headers["location"]) == (303, "./")
    cookie = followed.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "max-age=31536000" in cookie
    assert "path" not in cookie and "secure" not in cookie and TOKEN not in cookie
    assert is_let_in(first)
    again = second.get(link, headers=HTML)
    assert again.status_code == 401 and "This link no longer works" in again.text and "set-cookie" not in again.headers
    assert not is_let_in(second)
    assert first.get(link, headers=HTML).status_code == 303, "who is in need not read that"
    restarted = asking(policy)
    restarted.cookies.update(first.cookies)
    assert is_let_in(restarted)
    other = asking(Policy("another-token-of-16", policy.hosts))
    other.base_url, other.cookies = first.base_url, first.cookies
    assert not is_let_in(other)


def test_a_link_is_not_used_up_by_what_only_looks_at_it() -> None:
    links = Links()
    client, link = asking(links=links), links.new()
    assert client.head(link).status_code == 401
    for header in ({"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}, {"X-Moz": "prefetch"}):
        assert client.get(link, headers={**HTML, **header}).status_code == 401
    assert client.get("/login?key=guessed").status_code == client.get("/login?key=").status_code == 401
    assert not is_let_in(client)
    assert client.get(link).status_code == 303 and is_let_in(client)


def test_who_is_not_let_in_reads_where_the_link_is_and_nothing_else() -> None:
    page = asking().get("/monitor?run=x", headers=HTML)
    assert page.status_code == 401 and "cognate link" in page.text and "terminal" in page.text
    assert "script" not in page.text and "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


class Form(HTMLParser):
    """The form of a page: where it is sent, and what of it is filled in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action, self.fields = "", dict[str, str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found["action"]
        if tag == "input":
            self.fields[found["name"]] = found.get("value", "")


@pytest.mark.parametrize("below", ["", "/studio"], ids=["at the root", "below a folder of a proxy"])
@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("/", "/"),
        ("/monitor?run=X&y=%22%3E%3Cb%3E", "/monitor?run=X&y=%22%3E%3Cb%3E"),
        ("/a/b?c", "/a/b?c"),
        ("/api/v1/", "/api/v1/"),
        ("/%2F/evil.example", "/%2F/evil.example"),
        ("//evil.example/x", "/evil.example/x"),
        ("/login?key=old", "/"),
        ("/compare?runs=" + "a" * 3000, "/"),
    ],
)
def test_after_the_token_the_browser_is_where_it_wanted_to_be(below: str, asked: str, wanted: str) -> None:
    client = asking()
    page = client.get(f"http://{HERE}{asked}", headers=HTML)
    form = Form(page.text)
    address = urljoin(f"http://outside.example{below}{asked}", form.action)
    assert urlsplit(address).path.endswith("/login")
    wrong = client.post("/login", data={**form.fields, "token": "wrong"})
    assert wrong.status_code == 401 and "That is not the token" in wrong.text and "set-cookie" not in wrong.headers
    assert Form(wrong.text).fields == form.fields, "the address is kept"
    opened = client.post("/login", data={**form.fields, "token": f" {TOKEN} "}, headers={"Origin": f"http://{HERE}"})
    assert opened.status_code == 303 and TOKEN not in opened.headers["set-cookie"]
    at = f"http://outside.example{below}/login"
    assert urljoin(at, opened.headers["location"]) == f"http://outside.example{below}{wanted}"
    assert is_let_in(client)


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https://evil.example", "\\\\evil.example", "javascript:alert(1)", "x\r\nA: b"],
)
def test_no_wanted_address_leads_to_another_site(wanted: str) -> None:
    location = asking().post("/login", data={"token": TOKEN, "wanted": wanted}).headers["location"]
    assert location.startswith("./") and "\n" not in location


def test_the_cookie_changes_nothing() -> None:
    for method, path in (("POST", "/api/v1/runs"), ("DELETE", "/api/v1/runs/x"), ("POST", "/live")):
        refused = known().request(method, path, headers={"Content-Type": "application/json"})
        assert refused.status_code == 401


def test_the_form_is_for_own_pages_and_takes_no_more_than_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    client = asking()
    foreign = {"Origin": "https://evil.example"}
    assert client.post("/login", data={"token": TOKEN}, headers=foreign).status_code == 403
    assert client.post("/login", content=b"token=" + b"x" * 9000).status_code == 401
    assert client.post("/login", content=b"\xff").status_code == 401
    assert client.post("/login", content=b"token=" + TOKEN.encode() + b"&a" * 9).status_code == 401
    monkeypatch.setattr(guard, "GUESSES_AT_ONCE", 2.0)
    monkeypatch.setattr(guard, "GUESSES_A_SECOND", 0.0)
    client = asking()
    codes = [client.post("/login", data={"token": token}).status_code for token in ("a", "b", TOKEN)]
    assert codes == [401, 401, 429]


def test_by_https_the_cookie_is_for_https_alone() -> None:
    links = Links()
    client = asking(AWAY, links=links, scheme="https")
    assert "secure" in client.get(links.new()).headers["set-cookie"].lower()
    assert "secure" in client.post("/login", data={"token": TOKEN}).headers["set-cookie"].lower()


# What every answer says


@pytest.mark.parametrize("path", ["/", "/plotly.min.js", "/api/v1/runs"])
@pytest.mark.parametrize("host", [HERE, "evil.example"])
def test_no_answer_can_be_framed_embedded_or_taken_for_another_kind(path: str, host: str) -> None:
    headers = known().get(path, headers={"Host": host}).headers
    for name, value in guard.ON_EVERY_ANSWER.items():
        assert headers[name] == value or (path == "/" and name == "X-Frame-Options" and host == HERE)
    assert (headers.get("cache-control") == "no-store") == path.startswith("/api")


def test_refusals_are_sentences_that_a_program_can_read() -> None:
    refused = asking().post("/api/v1/runs", headers={"Content-Type": "application/json"}, content=b"{}")
    told = json.loads(refused.content)
    assert set(told) == {"title", "status", "detail", "problems"} and told["status"] == refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"

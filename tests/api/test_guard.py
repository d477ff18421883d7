"""The guard: of each rule, that it refuses what breaks it alone, and that without this rule the same goes through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from cognate_core.api import guard
from cognate_core.api.buckets import MOST_CLIENTS, Buckets
from cognate_core.api.door import COOKIE
from cognate_core.api.guard import RULES, Guard, Policy, Rule

TOKEN = "a-token-of-the-test"
HERE = "127.0.0.1:8501"
HOME = Policy(TOKEN)
AWAY = Policy(TOKEN, frozenset({"studio.lan"}), everything=True)


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


def asking(policy: Policy = HOME, rules: tuple[Rule, ...] = RULES, client: str = "127.0.0.1") -> TestClient:
    return TestClient(
        Guard(SERVER, lambda: policy, rules),
        base_url=f"http://{HERE if policy is HOME else 'studio.lan'}",
        client=(client, 50_000),
        follow_redirects=False,
    )


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
        sound = [("Host", HERE if self.policy is HOME else "studio.lan"), ("Authorization", f"Bearer {TOKEN}")]
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
    case(guard.from_near, 403, client="192.168.1.7"),
    case(guard.from_near, 403, client="192.168.1.7", path="/"),
    case(guard.from_near, 403, client="::ffff:10.0.0.1"),
    case(guard.from_near, 403, client=""),
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
        headers={"Content-Length": "1000000001", "Content-Type": "application/octet-stream"},
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
    case(guard.token_given, 401, method="POST", headers={"Authorization": None, "Cookie": f"{COOKIE}={TOKEN}"}),
    case(guard.token_given, 401, headers={"Authorization": None}, policy=AWAY),
    case(guard.token_given, 401, headers={"Authorization": None}, policy=AWAY, path="/"),
    case(guard.token_given, 401, headers={"Authorization": None}, policy=AWAY, path=f"/?token={TOKEN}"),
    case(guard.token_given, 401, headers={"Authorization": None, "Cookie": f"{COOKIE}={TOKEN}"}, policy=AWAY),
    case(
        guard.token_given,
        401,
        headers={"Authorization": None},
        policy=AWAY,
        method="PUT",
        path="/_stcore/upload_file/session/file",
    ),
    case(
        guard.token_given, 401, method="POST", headers={"Authorization": "Bearer None"}, policy=Policy(None, AWAY.hosts)
    ),
    case(guard.token_given, 401, method="POST", headers={"Authorization": "Bearer "}, policy=Policy("", AWAY.hosts)),
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
    assert client.get("/api/v1/runs", headers=headers).status_code == 200
    change = {"Authorization": f"bearer {TOKEN}", "Content-Type": "application/json; charset=utf-8", **headers}
    assert client.post("/api/v1/runs", headers=change, content=b"{}").json()["bytes"] == 2
    del change["Content-Type"]
    assert client.delete("/api/v1/runs/x", headers=change).status_code == 200


def test_a_link_on_another_site_leads_to_a_page() -> None:
    follows = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert asking().get("/", headers=follows).status_code == 200


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
        "/door",
        "/door/../api/v1/runs",
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
    answered = asking().get("/api/v1/runs?_method=DELETE", headers={header: "DELETE"})
    assert answered.json()["method"] == "GET"


def test_a_field_for_files_of_a_page_goes_on_working() -> None:
    put = {"Content-Type": "multipart/form-data; boundary=x", "Origin": f"http://{HERE}"}
    assert asking().put("/_stcore/upload_file/s/f", headers=put, content=b"x" * 2_000_000).json()["bytes"] == 2_000_000
    foreign = {**put, "Origin": "https://evil.example"}
    assert asking().put("/_stcore/upload_file/s/f", headers=foreign, content=b"x").status_code == 403


# Sockets


@pytest.mark.parametrize("path", ["/api/v1/events", "/_stcore/stream"])
def test_a_socket_opens_for_own_pages_and_programs_alone(path: str) -> None:
    client = asking()
    for headers in ({}, {"Origin": f"http://{HERE}"}):
        with client.websocket_connect(f"ws://{HERE}{path}", headers=headers) as connection:
            assert connection.receive_text() == "open"
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"ws://{HERE}{path}", headers=headers):
            pass


def test_a_socket_from_elsewhere_needs_the_token() -> None:
    client = asking(AWAY)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://studio.lan/api/v1/events"):
        pass
    with client.websocket_connect(
        "ws://studio.lan/api/v1/events", headers={"Authorization": f"Bearer {TOKEN}"}
    ) as connection:
        assert connection.receive_text() == "open"


# Sizes and rates


def pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b"x" * 100_000


def test_a_body_of_undeclared_length_is_cut_off() -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    client = asking()
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
    client = asking()
    codes = [client.get("/api/v1/runs").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    slow = client.get("/api/v1/runs")
    assert slow.headers["retry-after"] and "Wait" in slow.json()["detail"]
    assert client.get("/").status_code == 200


def test_what_a_foreign_page_asks_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS_AT_ONCE", 1.0)
    monkeypatch.setattr(guard, "REQUESTS_A_SECOND", 0.0)
    client = asking()
    for _ in range(5):
        assert client.get("/api/v1/runs", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/api/v1/runs").status_code == 200


def test_opening_sockets_too_fast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SOCKETS_AT_ONCE", 1.0)
    monkeypatch.setattr(guard, "SOCKETS_A_SECOND", 0.0)
    client = asking()
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


# The door


def test_a_page_from_elsewhere_asks_for_the_token_and_remembers_it() -> None:
    client = asking(AWAY)
    html = {"Accept": "text/html"}
    door = client.get("/", headers=html)
    assert door.status_code == 401 and "asks for its token" in door.text
    assert "script" not in door.text and "default-src 'none'" in door.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in door.headers["content-security-policy"]
    wrong = client.post("/door", data={"token": "wrong"})
    assert wrong.status_code == 401 and "That is not the token" in wrong.text and "set-cookie" not in wrong.headers
    opened = client.post("/door", data={"token": f" {TOKEN} "}, headers={"Origin": "http://studio.lan"})
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in opened.headers["set-cookie"]
    assert client.get("/", headers=html).text == "a page"
    assert client.get("/api/v1/runs").status_code == 200
    with client.websocket_connect("ws://studio.lan/_stcore/stream") as connection:
        assert connection.receive_text() == "open"
    assert client.put("/_stcore/upload_file/s/f", content=b"x").status_code == 200


def test_the_cookie_changes_nothing() -> None:
    client = asking(AWAY)
    client.post("/door", data={"token": TOKEN})
    for method, path in (("POST", "/api/v1/runs"), ("DELETE", "/api/v1/runs/x"), ("POST", "/live")):
        refused = client.request(method, path, headers={"Content-Type": "application/json"})
        assert refused.status_code == 401


def test_the_cookie_of_one_opening_is_nothing_in_the_next() -> None:
    first, second = asking(AWAY), asking(AWAY)
    first.post("/door", data={"token": TOKEN})
    assert first.get("/").status_code == 200
    second.cookies.update(first.cookies)
    assert second.get("/").status_code == 401


def test_the_door_is_for_own_pages_and_takes_no_more_than_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    client = asking(AWAY)
    foreign = {"Origin": "https://evil.example"}
    assert client.post("/door", data={"token": TOKEN}, headers=foreign).status_code == 403
    assert client.post("/door", content=b"token=" + b"x" * 5000).status_code == 401
    assert client.post("/door", content=b"\xff").status_code == 401
    assert client.post("/door", content=b"token=" + TOKEN.encode() + b"&a" * 9).status_code == 401
    assert asking().post("/door", data={"token": TOKEN}).status_code == 415  # at home there is none
    monkeypatch.setattr(guard, "GUESSES_AT_ONCE", 2.0)
    monkeypatch.setattr(guard, "GUESSES_A_SECOND", 0.0)
    client = asking(AWAY)
    codes = [client.post("/door", data={"token": token}).status_code for token in ("a", "b", TOKEN)]
    assert codes == [401, 401, 429]


def test_at_a_door_served_by_https_the_cookie_is_for_https_alone() -> None:
    client = TestClient(Guard(SERVER, lambda: AWAY), base_url="https://studio.lan", follow_redirects=False)
    assert "secure" in client.post("/door", data={"token": TOKEN}).headers["set-cookie"].lower()


# What every answer says


@pytest.mark.parametrize("path", ["/", "/plotly.min.js", "/api/v1/runs"])
@pytest.mark.parametrize("host", [HERE, "evil.example"])
def test_no_answer_can_be_framed_embedded_or_taken_for_another_kind(path: str, host: str) -> None:
    headers = asking().get(path, headers={"Host": host}).headers
    for name, value in guard.ON_EVERY_ANSWER.items():
        assert headers[name] == value or (path == "/" and name == "X-Frame-Options" and host == HERE)
    assert (headers.get("cache-control") == "no-store") == path.startswith("/api")


def test_refusals_are_sentences_that_a_program_can_read() -> None:
    refused = asking().post("/api/v1/runs", headers={"Content-Type": "application/json"}, content=b"{}")
    told = json.loads(refused.content)
    assert set(told) == {"title", "status", "detail", "problems"} and told["status"] == refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"

"""Sockets, sizes, rates, and guessing the token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.websockets import WebSocketDisconnect

from cognate_core.api.security import guard
from cognate_core.api.security.buckets import MOST_CLIENTS, Buckets
from cognate_core.api.security.guard import Policy
from tests.api.guard.asking import AWAY, HERE, HOME, TOKEN, asking, known


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
    assert asking().post("/api/v1/archives", headers=headers, content=pieces(20)).status_code == 200
    assert asking().post("/api/v1/archives", headers=headers, content=pieces(21)).status_code == 413


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

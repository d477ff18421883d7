"""Whether the hub can be reached: by real connections on this computer, and by what the system says of a network."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from huggingface_hub import constants

from cognate_core.data import hub
from cognate_core.data.hub import hub_problem
from tests.browser.studio import free_port
from tests.waiting import LONG, MOMENT


@pytest.fixture(autouse=True)
def _switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # it was read when the client was imported
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "CONNECT_SECONDS", LONG)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def test_one_that_listens_can_be_reached_itself_or_by_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", at(port))
        assert hub_problem() is None
        monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        assert hub_problem() is None
        monkeypatch.setenv("no_proxy", "hub.invalid")
    wanted: list[tuple[str, int]] = []

    def refuse(where: tuple[str, int], _: float) -> Any:
        wanted.append(where)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert hub_problem() == "hub.invalid cannot be reached"
    assert wanted == [("hub.invalid", 80)]


def test_where_nobody_listens_it_is_said_without_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", at(free_port()))
    assert hub_problem() == "127.0.0.1 cannot be reached"


def test_without_a_network_no_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name(where: tuple[str, int], _: float) -> Any:
        assert where == ("huggingface.co", 443)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(socket, "create_connection", no_name)
    assert hub_problem() == "huggingface.co was not found (is this computer connected to a network?)"


def test_one_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: object) -> Any:
        over.wait(LONG)
        raise TimeoutError

    monkeypatch.setattr(hub, "CONNECT_SECONDS", MOMENT)
    monkeypatch.setattr(socket, "create_connection", hang)
    try:
        assert (hub_problem() or "").endswith(" did not answer within 0.1 seconds")
    finally:
        over.set()


@pytest.mark.parametrize("by", ["the client", "the environment"])
def test_one_that_is_switched_off_is_not_asked(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    if by == "the client":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("it was asked"))
    assert hub_problem() == "the hub is switched off on this computer (HF_HUB_OFFLINE is set)"

"""A studio with a trained model, and a client of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from cognate_core.api.serving import serving
from cognate_core.client import Client
from cognate_core.client import events as client_events
from cognate_core.runs import RunManager
from tests.api.conftest import mock_service


@pytest.fixture(scope="module")
def manager(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunManager]:
    """A studio with two trained models, whose new runs end at once."""
    home = tmp_path_factory.mktemp("client") / "home"
    shutil.copytree(trained_home, home)
    with closing(RunManager(home, executor="thread", build_service=mock_service)) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(manager: RunManager) -> Iterator[tuple[str, str]]:
    with serving(manager) as known:
        yield known


@pytest.fixture(scope="module")
def studio(address: tuple[str, str]) -> Iterator[Client]:
    with Client(*address) as opened:
        yield opened


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[httpx2.Request]:
    """What is sent by HTTP; on its way it asks for at most three items of a list."""
    requests, send = list[httpx2.Request](), httpx2.HTTPTransport.handle_request

    def noticed(self: httpx2.HTTPTransport, request: httpx2.Request) -> httpx2.Response:
        if "limit" in request.url.params:
            request.url = request.url.copy_set_param("limit", 3)
        requests.append(request)
        return send(self, request)

    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", noticed)
    return requests


@pytest.fixture
def kept_back(monkeypatch: pytest.MonkeyPatch) -> list[httpx2.Headers]:
    """The headers of what is sent by HTTP or to a socket: it goes nowhere, and the sender hears that all is well."""
    headers = list[httpx2.Headers]()

    def answer(_: object, request: httpx2.Request) -> httpx2.Response:
        headers.append(request.headers)
        return httpx2.Response(200, json={"status": "ok"})

    @contextmanager
    def connect(*_: object, additional_headers: dict[str, str], **__: object) -> Iterator[Iterator[str]]:
        headers.append(httpx2.Headers(additional_headers))
        yield iter(['{"id": 1, "type": "training_update"}'])

    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", answer)
    monkeypatch.setattr(client_events, "connect", connect)
    return headers

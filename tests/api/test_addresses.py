"""Whatever is in the schema is answered the same with a slash at its end, and by HEAD wherever it is by GET."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from cognate_core.api import create_api
from cognate_core.runs import RunManager
from tests.api.conftest import model_called

PATHS: dict[str, dict[str, Any]] = create_api(lambda: RunManager(Path())).openapi()["paths"]
OPERATIONS = [(method, path) for path, methods in PATHS.items() for method in methods]
READ = [path for path, methods in PATHS.items() if "get" in methods]


@pytest.fixture
def client(trained: RunManager) -> TestClient:
    return TestClient(create_api(lambda: trained), base_url="http://127.0.0.1", raise_server_exceptions=False)


def there(path: str, trained: RunManager) -> str:
    """The path of something that is there."""
    name = "Synthetic" if "/datasets/" in path else "first-run"
    model = trained.log.model(model_called(trained, "lab" if path.endswith("/table") else "text"))
    known = {"run_id": model.run_id, "model_id": model.id, "name": name, "kind": "weights"}
    return filled(path, known)


def filled(path: str, known: dict[str, str]) -> str:
    return re.sub("{([a-z_]+)}", lambda match: known.get(match[1], "nobody"), path)


def by_a_route(answer: Response) -> bool:
    """Whether something there answered, if only with why it cannot."""
    return not answer.is_error or answer.json()["detail"] not in ("Not Found", "Method Not Allowed")


def test_there_are_routes() -> None:
    assert len(OPERATIONS) > 60 and len(READ) > 25


@pytest.mark.parametrize("path", [*READ, "/", "/v1", "/v1/openapi.json"])
def test_head_is_answered_as_get_without_its_body(path: str, client: TestClient, trained: RunManager) -> None:
    address = there(path, trained)
    got, head = client.get(address, follow_redirects=False), client.head(address, follow_redirects=False)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert by_a_route(got) and head.headers.keys() == got.headers.keys()
    assert head.headers.get("content-type") == got.headers.get("content-type")


@pytest.mark.parametrize("path", [path for path in PATHS if path not in READ])
def test_where_nothing_can_be_read_head_is_refused_as_get_is(path: str, client: TestClient) -> None:
    address = filled(path, {})
    head = client.head(address)
    assert (head.status_code, client.get(address).status_code) == (405, 405)
    assert head.headers["allow"] == client.get(address).headers["allow"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_slash_at_the_end_changes_nothing(method: str, path: str, client: TestClient, trained: RunManager) -> None:
    address = there(path, trained) if method in ("get", "head") else filled(path, {})
    plain, slash = (client.request(method, f"{address}{end}", follow_redirects=False) for end in ("", "/"))
    assert (slash.status_code, slash.headers.keys()) == (plain.status_code, plain.headers.keys())
    assert by_a_route(plain)
    if plain.is_error and method != "head":
        assert slash.json() == plain.json()


@pytest.mark.parametrize("address", ["/v1", "/v1/", "/", ""])
def test_each_way_to_the_page_leads_there(address: str, client: TestClient) -> None:
    page = client.get(address)
    assert page.status_code == 200 and "SwaggerUIBundle" in page.text


@pytest.mark.parametrize("address", ["/v1/runs//", "/v1//runs", "/v1/nothing/"])
def test_other_addresses_are_not_found(address: str, client: TestClient) -> None:
    assert client.get(address).status_code == 404


def test_events_are_told_with_a_slash_too(client: TestClient) -> None:
    with client.websocket_connect("/v1/events/") as socket:
        socket.close()

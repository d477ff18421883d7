"""Only this computer's own pages may speak to the studio. Asked by raw sockets, as a hostile page or program would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cognate_core.runs import database_path
from cognate_core.storage.progress_reader import ProgressReader
from tests.browser.studio import ROOT, Studio, running_studio
from tests.faults.times import Tally
from tests.waiting import LONG, until

FOREIGN = "evil.example"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running_studio(tmp_path_factory.mktemp("network") / "home") as studio:
        yield studio


def answer(studio: Studio, method: str, path: str, **headers: str) -> int:
    """The status with which the server answers; a header's underscores stand for hyphens."""
    port = urlsplit(studio.url).port
    lines = {"Host": f"127.0.0.1:{port}", "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    return raw_answer(
        studio,
        "".join([f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items()), "\r\n"]),
    )


def raw_answer(studio: Studio, request: str) -> int:
    """The status with which the server answers just these letters."""
    with socket.create_connection(("127.0.0.1", urlsplit(studio.url).port), timeout=LONG) as connection:
        connection.sendall(request.encode())
        first_line = connection.makefile("rb").readline()
    return int(first_line.split()[1])


WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec_WebSocket_Protocol": "streamlit",
}
OWN_ROUTES = ("/live?run=x", "/live?runs=x,y", "/plotly.min.js")


@pytest.mark.parametrize("path", OWN_ROUTES)
def test_own_routes_answer_this_computers_names_and_origin_alone(studio: Studio, path: str) -> None:
    own = studio.shown
    assert answer(studio, "GET", path) == 401
    assert answer(studio, "GET", path, **own) in (200, 404)  # 404: there is no such run
    assert answer(studio, "GET", path, **own, Origin=studio.url) in (200, 404)
    assert answer(studio, "GET", path, **own, Host=FOREIGN) == 403
    assert answer(studio, "GET", path, **own, Host=f"127.0.0.1.{FOREIGN}") == 403
    assert answer(studio, "GET", path, **own, Origin=f"https://{FOREIGN}") == 403
    assert answer(studio, "GET", path, **own, Origin="null") == 403


@pytest.mark.parametrize("path", OWN_ROUTES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed_by_own_routes(studio: Studio, method: str, path: str) -> None:
    assert answer(studio, method, path) in (401, 415)
    sound = {"Content_Type": "application/json", "Content_Length": "0", **studio.shown}
    assert answer(studio, method, path, **sound) == 405


def test_the_pages_socket_opens_for_this_computers_names_and_origin_alone(studio: Studio, tally: Tally) -> None:
    path, own = "/_stcore/stream", {**WEBSOCKET, **studio.shown}
    assert answer(studio, "GET", path, **own, Origin=studio.url) == 101
    refused = [
        answer(studio, "GET", path, **WEBSOCKET, Origin=studio.url),
        answer(studio, "GET", path, **own, Origin=f"https://{FOREIGN}"),
        answer(studio, "GET", path, **own, Host=FOREIGN),
        answer(studio, "GET", path, **own, Host=FOREIGN, Origin=f"https://{FOREIGN}"),
    ]
    tally("no token, foreign Host or Origin at the page's socket", tried=4, survived=refused.count(403))
    assert refused == [403] * 4


def test_the_server_listens_on_this_computer_alone(studio: Studio) -> None:
    port = urlsplit(studio.url).port
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("only Linux tells who listens where in this way")
    addresses = [line.split()[1] for line in listening.read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert [address.split(":")[0] for address in addresses if int(address.split(":")[1], 16) == port] == ["0100007F"]


# The API

CHANGES = [
    ("POST", "/api/v1/runs"),
    ("POST", "/api/v1/estimates"),
    ("POST", "/api/v1/archives"),
    ("PATCH", "/api/v1/runs/x"),
    ("DELETE", "/api/v1/runs/x"),
    ("OPTIONS", "/api/v1/runs"),
    ("TRACE", "/api/v1/runs"),
]
READS = ["/api", "/api/v1/", "/api/v1/health", "/api/v1/runs", "/api/v1/openapi.json"]


@pytest.mark.parametrize("path", READS)
def test_reading_is_for_this_computers_names_and_origin_alone(studio: Studio, path: str) -> None:
    own = studio.shown
    assert answer(studio, "GET", path) == (200 if path.endswith("/health") else 401)
    assert answer(studio, "GET", path, **own) in (200, 307)
    assert answer(studio, "GET", path, **own, Origin=studio.url) in (200, 307)
    assert answer(studio, "GET", path, **own, Host=FOREIGN) == 403
    assert answer(studio, "GET", path, **own, Origin=f"https://{FOREIGN}") == 403
    assert answer(studio, "GET", path, **own, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors") == 403


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_nothing_is_changed_without_the_token(studio: Studio, method: str, path: str) -> None:
    sound = {"Content_Type": "application/json", "Content_Length": "2"}
    token = studio.shown
    before = len(runs_in(studio))
    assert answer(studio, method, path) in (401, 415)
    assert answer(studio, method, path, **sound) == 401
    assert answer(studio, method, path, **sound, Authorization="Bearer wrong") == 401
    assert answer(studio, method, path, **{**sound, "Content_Type": "text/plain"}, **token) == 415
    assert answer(studio, method, path, **sound, **token, Origin=f"https://{FOREIGN}") == 403
    assert answer(studio, method, path, **sound, **token, Host=FOREIGN) == 403
    assert answer(studio, method, path, **{**sound, "Content_Length": "9999999999"}, **token) == 413
    assert len(runs_in(studio)) == before


def test_with_the_token_a_run_is_started_and_deleted(studio: Studio) -> None:
    json_headers = {**studio.shown, "Content-Type": "application/json"}

    def ask(method: str, path: str, body: dict[str, object] | None = None) -> tuple[int, dict[str, Any]]:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{studio.url}/api/v1{path}", content, json_headers, method=method)
        with urllib.request.urlopen(request, timeout=LONG) as answered:
            told = answered.read()
            return answered.status, json.loads(told) if told else {}

    status, run = ask("POST", "/runs", {"name": "by the API", "settings": {"dataset_sources": "Synthetic"}})
    assert status == 201 and runs_in(studio) == [run["id"]]
    ask("POST", f"/runs/{run['id']}/cancel")
    until(lambda: ask("GET", f"/runs/{run['id']}")[1]["status"] == "cancelled", "the end of the run")
    assert ask("DELETE", f"/runs/{run['id']}")[0] == 204
    assert runs_in(studio) == []


@pytest.mark.parametrize(
    "path",
    ["//api/v1/runs", "/API/v1/runs", "/./api/v1/runs", "/api%2fv1%2fruns", "/x/..%2fapi/v1/runs", "/%61pi/v1/runs"],
)
def test_no_other_spelling_leads_past_the_rules(studio: Studio, path: str) -> None:
    for method in ("POST", "DELETE"):
        assert answer(studio, method, path, Content_Type="application/json", Content_Length="2") in (400, 401)
    assert answer(studio, "GET", path, Origin=f"https://{FOREIGN}") == 403


def test_requests_that_are_read_in_two_ways_are_refused(studio: Studio, tally: Tally) -> None:
    port = urlsplit(studio.url).port
    host, token = f"Host: 127.0.0.1:{port}\r\n", f"Authorization: Bearer {studio.token}\r\n"
    kind = "Content-Type: application/json\r\n"
    start = f"POST /api/v1/runs HTTP/1.1\r\n{host}"
    requests = {
        "no Host": "GET /api/v1/runs HTTP/1.0\r\n\r\n",
        "two Hosts": f"GET /api/v1/runs HTTP/1.1\r\n{host}Host: {FOREIGN}\r\n\r\n",
        "two tokens": f"{start}{token}Authorization: Bearer x\r\n{kind}Content-Length: 2\r\n\r\n{{}}",
        "two kinds": f"{start}{token}{kind}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}",
        "two lengths": f"{start}{token}{kind}Content-Length: 2\r\nContent-Length: 9\r\n\r\n{{}}",
        "length and pieces": f"{start}{kind}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "another host in the address": f"GET http://{FOREIGN}/api/v1/runs HTTP/1.1\r\nHost: {FOREIGN}\r\n\r\n",
    }
    codes = {what: raw_answer(studio, request) for what, request in requests.items()}
    tally(
        "requests that two readers would read in two ways",
        tried=len(codes),
        survived=sum(c >= 400 for c in codes.values()),
    )
    assert all(400 <= code < 500 for code in codes.values()), codes
    assert runs_in(studio) == []


def test_answers_of_pages_and_api_cannot_be_framed(studio: Studio) -> None:
    for path in ("/", "/plotly.min.js", "/api/v1/", "/api/v1/health", "/_stcore/health"):
        with urllib.request.urlopen(shown(studio, path), timeout=LONG) as answered:
            assert "frame-ancestors 'none'" in answered.headers["Content-Security-Policy"]
            assert answered.headers["X-Frame-Options"] == "DENY"
            assert answered.headers["X-Content-Type-Options"] == "nosniff"


def test_the_token_is_told_nowhere(studio: Studio) -> None:
    """Neither by an answer, nor in what the server wrote: its log, its database, its folder but for the one file."""
    token = studio.token
    for path in ("/", *READS[1:], "/api/v1/coordination", "/api/v1/presets", "/api/v1/config/schema", "/api/v1/x"):
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(shown(studio, path), timeout=LONG) as answered:
            assert token.encode() not in answered.read()
    answer(
        studio, "POST", f"/api/v1/runs?token={token}", Authorization=f"Bearer {token}", Content_Type="application/json"
    )
    written = [studio.home.parent / f"{studio.home.name}.log", *(p for p in studio.home.rglob("*") if p.is_file())]
    holding = [path.name for path in written if token.encode() in path.read_bytes()]
    assert holding == ["token"]
    assert (studio.home / "token").stat().st_mode & 0o077 == 0


def shown(studio: Studio, path: str) -> urllib.request.Request:
    """A request that shows the token."""
    return urllib.request.Request(f"{studio.url}{path}", headers=studio.shown)


def runs_in(studio: Studio) -> list[str]:
    return [run.id for run in ProgressReader(database_path(studio.home)).runs()]


# Elsewhere

AWAY = ["--server.address", "0.0.0.0", "--server.allowedHosts", "127.0.0.1", "--server.allowedHosts", "studio.lan"]
TOKEN = "a-token-of-the-test"


def command(port: int, *options: str) -> list[str]:
    fixed = ["--server.headless", "true", "--server.port", str(port)]
    return [sys.executable, "-m", "streamlit", "run", "app.py", *fixed, *options]


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_being_reached_from_other_computers_without_a_token_is_refused(tmp_path: Path, address: str) -> None:
    ended = subprocess.run(
        command(8599, "--server.address", address),
        cwd=ROOT,
        env={**os.environ, "COGNATE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert ended.returncode != 0
    assert "needs a token of your own" in ended.stderr + ended.stdout


def test_from_elsewhere_everything_needs_the_token(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**os.environ, "COGNATE_HOME": str(tmp_path / "home"), "COGNATE_TOKEN": TOKEN}
    log = tmp_path / "home.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command(port, *AWAY), cwd=ROOT, env=variables, stdout=output, stderr=output) as process,
    ):
        studio = Studio(f"http://127.0.0.1:{port}", tmp_path / "home", process, 0.0)

        def listens() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=LONG):
                return True
            return False

        try:
            until(listens, "the start of the studio")
            own = {"Authorization": f"Bearer {TOKEN}"}
            for path in ("/", "/live?run=x", "/api/v1/runs", f"/?token={TOKEN}"):
                assert answer(studio, "GET", path) == 401
                assert answer(studio, "GET", path, **own) in (200, 404)
            assert answer(studio, "GET", "/", Authorization="Bearer wrong") == 401
            assert answer(studio, "GET", "/_stcore/stream", **WEBSOCKET, Origin=studio.url) == 403
            assert answer(studio, "GET", "/_stcore/stream", **WEBSOCKET, Origin=studio.url, **own) == 101
            assert answer(studio, "GET", "/", Host="studio.lan", **own) == 200
            assert answer(studio, "GET", "/", Host=FOREIGN, **own) == 403
        finally:
            process.terminate()
    assert not (studio.home / "token").exists()
    assert TOKEN not in log.read_text()

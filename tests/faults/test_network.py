"""Only this computer's own pages may speak to the studio. Asked by raw sockets, as a hostile page or program would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.studio import ROOT, Studio, running_studio
from tests.faults.times import Tally

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
    request = "".join(
        [f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items()), "\r\n"]
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
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
    assert answer(studio, "GET", path) in (200, 404)  # 404: there is no such run
    assert answer(studio, "GET", path, Origin=studio.url) in (200, 404)
    assert answer(studio, "GET", path, Host=FOREIGN) == 403
    assert answer(studio, "GET", path, Host=f"127.0.0.1.{FOREIGN}") == 403
    assert answer(studio, "GET", path, Origin=f"https://{FOREIGN}") == 403
    assert answer(studio, "GET", path, Origin="null") == 403


@pytest.mark.parametrize("path", OWN_ROUTES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed_by_own_routes(studio: Studio, method: str, path: str) -> None:
    assert answer(studio, method, path) == 405


def test_the_pages_socket_opens_for_this_computers_names_and_origin_alone(studio: Studio, tally: Tally) -> None:
    path = "/_stcore/stream"
    assert answer(studio, "GET", path, **WEBSOCKET, Origin=studio.url) == 101
    refused = [
        answer(studio, "GET", path, **WEBSOCKET, Origin=f"https://{FOREIGN}"),
        answer(studio, "GET", path, **WEBSOCKET, Host=FOREIGN),
        answer(studio, "GET", path, **WEBSOCKET, Host=FOREIGN, Origin=f"https://{FOREIGN}"),
    ]
    tally("foreign Host or Origin at the page's socket", tried=3, survived=sum(code == 403 for code in refused))
    assert refused == [403, 403, 403]


def test_the_server_listens_on_this_computer_alone(studio: Studio) -> None:
    port = urlsplit(studio.url).port
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("only Linux tells who listens where in this way")
    addresses = [line.split()[1] for line in listening.read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert [address.split(":")[0] for address in addresses if int(address.split(":")[1], 16) == port] == ["0100007F"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_being_reached_from_other_computers_is_refused(tmp_path: Path, address: str) -> None:
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true", "--server.port", "8599"]
    ended = subprocess.run(
        [*command, "--server.address", address],
        cwd=ROOT,
        env={**os.environ, "COGNATE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "has no password" in ended.stderr + ended.stdout

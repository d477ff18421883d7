"""Which token is shown, and to whom."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx2
import pytest

from cognate_core.client import Client
from cognate_core.contracts import utc_now
from cognate_core.errors import ConfigError, Unreachable
from cognate_core.runs import RunManager, database_path
from cognate_core.service import COORDINATION_KEY
from cognate_core.storage.progress_log import ProgressLog
from tests.api.client.servers import TOKEN, other_server, say


def tokens_from(client: Client, kept_back: list[httpx2.Headers]) -> list[str | None]:
    """What goes with a question and with the command to hear events."""
    kept_back.clear()
    with client:
        client.health()
        next(client.events())
    return [headers.get("authorization") for headers in kept_back]


class TestToken:
    @pytest.fixture
    def kept(self, open_manager: Callable[..., RunManager]) -> str:
        studio = open_manager()
        studio.say_address("http://127.0.0.1:8501")
        (studio.home / "token").write_text(TOKEN)
        return TOKEN

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:8501", "http://localhost:8501", "http://[::1]:8501/studio", "127.0.0.1:8501"]
    )
    def test_of_the_data_directory_is_for_this_computer(
        self, kept: str, url: str, kept_back: list[httpx2.Headers]
    ) -> None:
        assert tokens_from(Client(url), kept_back) == [f"Bearer {kept}"] * 2

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.org:8501",
            "http://192.168.1.5:8501",
            "http://127.0.0.1.example.org:8501",
            "http://localhost.example.org:8501",
            "https://0.0.0.0:8501",
            "http://127.0.0.1@example.org:8501",
            "http://127.0.0.1:8502",
            "http://localhost",
        ],
    )
    def test_of_the_data_directory_goes_to_no_other_computer_or_program(
        self, kept: str, url: str, kept_back: list[httpx2.Headers]
    ) -> None:
        try:
            asking = Client(url)
        except ConfigError:
            return
        assert tokens_from(asking, kept_back) == [None] * 2
        assert TOKEN not in str([headers.raw for headers in kept_back])

    def test_does_not_go_to_who_took_the_port_of_a_studio_that_was_killed(
        self, tmp_path: Path, kept_back: list[httpx2.Headers]
    ) -> None:
        home, url = tmp_path / "home", "http://127.0.0.1:8501"
        home.mkdir()
        (home / "token").write_text(TOKEN)
        record = {"open": True, "address": url, "pid": os.getpid(), "started_at": utc_now()}
        with closing(ProgressLog(database_path(home))) as log:
            log.set_coordination(COORDINATION_KEY, record)
            assert tokens_from(Client(url), kept_back) == [f"Bearer {TOKEN}"] * 2
            for changed in ({"pid": 2**22 + 1}, {"started_at": "2001-01-01T00:00:00+00:00"}):  # its number is another's
                log.set_coordination(COORDINATION_KEY, {**record, **changed})
                assert tokens_from(Client(url), kept_back) == [None] * 2

    def test_is_not_made_by_asking(self, tmp_path: Path, kept_back: list[httpx2.Headers]) -> None:
        assert tokens_from(Client("http://127.0.0.1:1"), kept_back) == [None] * 2
        assert not (tmp_path / "home").exists()

    def test_that_was_chosen_goes_wherever_it_was_meant_to(
        self, kept: str, monkeypatch: pytest.MonkeyPatch, kept_back: list[httpx2.Headers]
    ) -> None:
        monkeypatch.setenv("COGNATE_TOKEN", "chosen-by-a-person-here")
        assert tokens_from(Client("http://example.org"), kept_back) == ["Bearer chosen-by-a-person-here"] * 2
        given = Client("http://example.org", "given-by-the-program")
        assert tokens_from(given, kept_back) == ["Bearer given-by-the-program"] * 2

    def test_does_not_follow_to_another_host(self) -> None:
        came = list[str]()

        def notice(handler: BaseHTTPRequestHandler) -> None:
            came.append(str(handler.headers))
            say(handler, 200, b"{}")

        with (
            other_server(notice) as elsewhere,
            other_server(lambda handler: say(handler, 307, b"", Location=elsewhere)) as url,
            Client(url, TOKEN) as asking,
            pytest.raises(Unreachable, match="is not a Cognate Studio"),
        ):
            asking.health()
        assert came == []

    def test_goes_past_no_proxy_on_this_computer(
        self, address: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        with Client(*address) as asking:
            assert asking.health()["status"] == "ok"
            assert next(asking.events(next(iter(asking.runs()))["id"]))["id"]

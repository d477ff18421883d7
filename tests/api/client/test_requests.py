"""What is asked of a studio, and what is said when it refuses or is none."""

from __future__ import annotations

import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx2
import pytest
import uvicorn

from cognate_core.client import Client, connection
from cognate_core.config import TrainingConfig
from cognate_core.errors import ConfigError, DatasetUnavailable, DiskFull, NotFound, RunError, StorageError, Unreachable
from cognate_core.runs import RunManager
from tests.api.client.servers import TOKEN, Answer, other_server, problem, say
from tests.waiting import LONG


class TestRuns:
    def test_a_run_is_started_found_renamed_and_thrown_away(
        self, studio: Client, manager: RunManager, tiny_config: TrainingConfig
    ) -> None:
        run = studio.start("First", config=tiny_config.model_dump(mode="json"), settings={"max_steps": 3}, models=2)
        assert (run["name"], run["model_names"], run["config"]["max_steps"]) == ("First", ["First 1", "First 2"], 3)
        assert manager.wait(run["id"], LONG)
        assert studio.run(run["id"])["status"] == "completed"
        assert studio.rename(run["id"], "Second")["name"] == "Second"
        assert next(row["name"] for row in studio.runs(status="completed")) == "Second"
        assert studio.tag(run["id"], ["demo"])["tags"] == ["demo"]
        assert [row["id"] for row in studio.runs(tag="demo")] == [run["id"]]
        studio.delete(run["id"])
        with pytest.raises(NotFound, match="There is no such run"):
            studio.run(run["id"])
        (entry,) = [each for each in studio.trash() if each["name"] == "Second"]
        assert studio.restore(entry["id"])["restored_id"] == run["id"]
        assert studio.run(run["id"])["name"] == "Second"

    def test_one_key_starts_one_run(self, studio: Client, tiny_config: TrainingConfig) -> None:
        toml = tiny_config.to_toml()
        first = studio.start("Keyed", config=toml, key="mine")
        assert studio.start("Keyed", config=toml, key="mine")["id"] == first["id"]
        assert studio.start("Keyed", config=toml)["id"] != first["id"]

    def test_lists_come_whole_however_many_pages_they_have(self, studio: Client, sent: list[httpx2.Request]) -> None:
        (lab,) = [run for run in studio.runs() if run["name"] == "The lab run"]
        sent.clear()
        assert [row["step"] for row in studio.metrics(lab["id"], after_step=0)] == list(range(1, 9))
        assert [request.url.params.get("after") for request in sent] == [None, "3", "6"]


class TestProblems:
    def test_of_settings_come_with_their_fields(self, studio: Client) -> None:
        with pytest.raises(ConfigError, match="must be 1 to") as caught:
            studio.start("Wrong", preset="first-run", settings={"max_steps": 0})
        assert list(caught.value.problems) == ["max_steps"]

    def test_of_a_run_that_has_ended(self, studio: Client) -> None:
        ended = next(run for run in studio.runs(status="completed"))
        with pytest.raises(RunError, match="completed"):
            studio.pause(ended["id"])

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(404, NotFound), (409, RunError), (502, DatasetUnavailable), (503, StorageError), (507, DiskFull)],
    )
    def test_come_as_the_errors_that_they_were(self, status: int, kind: type[Exception]) -> None:
        answering = other_server(problem(status, "Why it is so."))
        with answering as url, Client(url, TOKEN) as asking, pytest.raises(kind) as caught:
            asking.health()
        assert type(caught.value) is kind
        assert str(caught.value) == "Why it is so."

    def test_a_wrong_token_is_said_and_not_shown(self, address: tuple[str, str]) -> None:
        with Client(address[0], TOKEN) as asking, pytest.raises(RunError, match="does not accept this token") as caught:
            asking.coordination()
        assert TOKEN not in str(caught.value)
        with Client(address[0], TOKEN) as asking, pytest.raises(RunError, match="cognate token"):
            next(asking.events())


class TestNoStudio:
    def test_where_nothing_listens(self) -> None:
        with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as taken:
            free = taken.server_address[1]
        advice = r"Nothing answers there\. Start the studio with `cognate run`"
        with Client(f"http://127.0.0.1:{free}", TOKEN) as asking, pytest.raises(Unreachable, match=advice):
            asking.health()

    @pytest.mark.parametrize(
        "answer",
        [
            lambda handler: say(handler, 200, b"<html>Welcome</html>", Content_Type="text/html"),
            lambda handler: say(handler, 200, b"[1]", Content_Type="application/json"),
            lambda handler: say(handler, 404, b"<html>Not here</html>"),
            lambda handler: say(handler, 500, b'{"error": 1}'),
        ],
        ids=["a page", "another shape", "nothing there", "another problem"],
    )
    def test_where_something_else_answers(self, answer: Answer) -> None:
        refused = pytest.raises(Unreachable, match="is not a Cognate Studio of this version")
        with other_server(answer) as url, Client(url, TOKEN) as asking, refused:
            asking.health()

    def test_that_never_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.1)
        waiting = threading.Event()
        with other_server(lambda _: waiting.wait(LONG)) as url, Client(url, TOKEN) as asking:
            with pytest.raises(Unreachable, match="took too long"):
                asking.health()
            waiting.set()

    def test_an_answer_that_is_lost_is_asked_for_once_more(self) -> None:
        asked = list[str]()

        def second(handler: BaseHTTPRequestHandler) -> None:
            asked.append(handler.command)
            if len(asked) > 1:
                say(handler, 200, b'{"status": "ok"}')

        with other_server(second) as url, Client(url, TOKEN) as asking:
            assert asking.health() == {"status": "ok"}
            asked.clear()
            with pytest.raises(Unreachable, match="broke"):
                asking.pause("x")  # it may have been done: nothing is sent twice that may not be
        assert asked == ["POST"]

    @pytest.mark.parametrize(("idle", "different"), [(LONG, 1), (0.0, 3)])
    def test_a_connection_that_rested_is_not_used_again(
        self, monkeypatch: pytest.MonkeyPatch, idle: float, different: int
    ) -> None:
        """The other side may be closing it at this moment, and nobody knows what then becomes of a request."""
        assert uvicorn.Config("").timeout_keep_alive / 2 > connection.IDLE_SECONDS
        monkeypatch.setattr(connection, "IDLE_SECONDS", idle)
        connections = set[Any]()

        def keep(handler: BaseHTTPRequestHandler) -> None:
            handler.close_connection = False
            connections.add(handler.client_address)
            say(handler, 200, b'{"status": "ok"}', Connection="keep-alive")

        with other_server(keep) as url, Client(url, TOKEN) as asking:
            for _ in range(3):
                asking.health()
        assert len(connections) == different

    def test_that_asks_to_wait_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slept = list[float]()
        monkeypatch.setattr(connection, "sleep", slept.append)

        def third(handler: BaseHTTPRequestHandler) -> None:
            if len(slept) < 2:
                say(handler, 429, b"{}", Retry_After="1")
            else:
                say(handler, 200, b'{"status": "ok"}')

        with other_server(third) as url, Client(url, TOKEN) as asking:
            assert asking.health() == {"status": "ok"}
        assert slept == [1.0, 1.0]

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "http://me:secret@127.0.0.1", "http://[::1"])
    def test_at_an_address_that_is_none(self, url: str) -> None:
        with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:8501"):
            Client(url)

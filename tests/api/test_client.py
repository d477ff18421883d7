"""The Python client, against a real server on this computer, and against servers that are none of ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from websockets.sync.client import connect

from cognate_core.api.serving import serving
from cognate_core.client import Client, connection
from cognate_core.client import events as client_events
from cognate_core.config import TrainingConfig
from cognate_core.contracts import utc_now
from cognate_core.errors import ConfigError, DatasetUnavailable, DiskFull, NotFound, RunError, StorageError, Unreachable
from cognate_core.runs import RunManager, database_path
from cognate_core.service import COORDINATION_KEY
from cognate_core.storage.progress_log import ProgressLog
from tests.api.conftest import mock_service, model_called
from tests.waiting import LONG

TOKEN = "a-token-that-nobody-guesses"


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


Answer = Callable[[BaseHTTPRequestHandler], object]


@contextmanager
def other_server(answer: Answer) -> Iterator[str]:
    """The address of a server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            is_asked = bool(self.raw_requestline) and self.parse_request()
            self.close_connection = True  # unless the answer says otherwise
            if is_asked:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer(self)
                self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def problem(status: int, detail: str, fields: str = "{}") -> Answer:
    body = f'{{"title": "", "status": {status}, "detail": "{detail}", "problems": {fields}}}'.encode()
    return lambda handler: say(handler, status, body, Content_Type="application/problem+json")


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
        studio.delete(run["id"])
        with pytest.raises(NotFound, match="There is no run with this address"):
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
        with Client(address[0], TOKEN) as asking, pytest.raises(RunError, match="does not take this token") as caught:
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
        refused = pytest.raises(Unreachable, match="is no Cognate Studio of this version")
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


def tokens_from(client: Client, kept_back: list[httpx2.Headers]) -> list[str | None]:
    """What goes with a question and with the wish to hear events."""
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
            pytest.raises(Unreachable, match="is no Cognate Studio"),
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


class TestFiles:
    @pytest.fixture
    def model_id(self, manager: RunManager) -> str:
        return model_called(manager, "text")

    def test_a_file_is_saved_and_checked(self, studio: Client, model_id: str, tmp_path: Path) -> None:
        for row in studio.artifacts(model_id):
            file = tmp_path / row["name"]
            studio.download_artifact(model_id, row["kind"], file)
            assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
        assert len(list(tmp_path.iterdir())) == len(studio.artifacts(model_id))

    @pytest.mark.parametrize("there", [1, 1000, None], ids=["a byte", "a part", "all"])
    def test_what_is_there_is_not_fetched_again(
        self, studio: Client, model_id: str, tmp_path: Path, sent: list[httpx2.Request], there: int | None
    ) -> None:
        (row,) = [row for row in studio.artifacts(model_id) if row["kind"] == "weights"]
        studio.download_artifact(model_id, "weights", tmp_path / "whole")
        content = (tmp_path / "whole").read_bytes()
        (tmp_path / f"again.{row['sha256'][:16]}.part").write_bytes(content[:there])
        sent.clear()
        studio.download_artifact(model_id, "weights", tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == content
        asked = [request.headers.get("range") for request in sent]
        assert asked == ([None] if there is None else [None, f"bytes={there}-"])

    def test_a_part_that_is_damaged_is_noticed_and_thrown_away(
        self, studio: Client, model_id: str, tmp_path: Path
    ) -> None:
        (row,) = [row for row in studio.artifacts(model_id) if row["kind"] == "weights"]
        part = tmp_path / f"weights.{row['sha256'][:16]}.part"
        part.write_bytes(b"x" * 100)
        with pytest.raises(StorageError, match=r"is not what training wrote\. Download it again\."):
            studio.download_artifact(model_id, "weights", tmp_path / "weights")
        assert list(tmp_path.iterdir()) == []
        studio.download_artifact(model_id, "weights", tmp_path / "weights")

    def test_an_archive_and_a_report_are_whole_or_not_there(
        self, studio: Client, model_id: str, tmp_path: Path
    ) -> None:
        studio.save_archive(model_id, tmp_path / "all.zip")
        assert (tmp_path / "all.zip").read_bytes().startswith(b"PK")
        with pytest.raises(NotFound):
            studio.save_report("gone", tmp_path / "report.html")
        with pytest.raises(StorageError, match="cannot be written"):
            studio.save_archive(model_id, tmp_path / "no folder" / "all.zip")
        assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]

    def test_a_file_of_this_computer_that_is_not_there_is_named(self, studio: Client, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"The file gone.zip cannot be opened \(No such file"):
            studio.open_passport(tmp_path / "gone.zip")


class TestTryingModels:
    def test_a_text_comes_in_pieces_and_ends_with_its_figures(self, studio: Client, manager: RunManager) -> None:
        *pieces, end = studio.generate(model_called(manager, "text"), "2 and 2 is", max_tokens=5, seed=1)
        assert sum(len(piece["ids"]) for piece in pieces) == end["tokens"]
        explained = studio.explain(model_called(manager, "text"), "2 and 2 is", [i for p in pieces for i in p["ids"]])
        assert (
            "".join(word["text"] for word in explained["words"] if word["written"]).strip()
            == "".join(piece["text"] for piece in pieces).strip()
        )

    def test_a_text_that_nobody_reads_on_leaves_room_for_others(self, studio: Client, manager: RunManager) -> None:
        for _ in range(4):  # two may be written at once
            pieces = studio.generate(model_called(manager, "text"), "2 and 2 is", max_tokens=200)
            assert next(pieces)
            pieces.close()

    def test_of_the_lab(self, studio: Client, manager: RunManager) -> None:
        lab = model_called(manager, "lab")
        table = studio.table(lab)
        found = studio.calculate(lab, 1, 2)
        assert (found["answer"] == str(found["truth"])) is (table["right"][1][2 - table["first_b"]] == "1")


class TestEvents:
    def test_of_a_run_end_with_it(self, studio: Client, tiny_config: TrainingConfig) -> None:
        run = studio.start("Heard", config=tiny_config.to_toml())
        events = list(studio.events(run["id"]))
        assert events[-1]["type"] == "training_complete"
        assert {event["run_id"] for event in events} == {run["id"]}
        ids = [event["id"] for event in events]
        assert ids == sorted(ids)

    def test_go_on_after_a_break_where_they_were(
        self, studio: Client, manager: RunManager, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_events, "RECONNECT_SECONDS", (0.01,) * 5)
        broken = list[str]()

        @contextmanager
        def breaking(url: str, **more: Any) -> Iterator[Iterator[Any]]:
            broken.append(url)
            with connect(url, **more) as socket:

                def messages() -> Iterator[Any]:
                    yield next(iter(socket))
                    raise ConnectionResetError("The cable was pulled.")

                yield messages()

        monkeypatch.setattr(client_events, "connect", breaking)
        heard = studio.events(after=manager.broadcast.newest_id)  # it asks when the first is wanted: none gets lost
        run = studio.start("Broken", config=tiny_config.to_toml())
        kinds = list[str]()
        for event in heard:
            if event["run_id"] == run["id"]:
                kinds.append(event["type"])
                if event["type"] == "training_complete":
                    break
        assert "model_completed" in kinds
        assert len(broken) > 2
        assert all("?after=" in url for url in broken[1:])

    def test_of_a_studio_that_is_gone_end_with_a_sentence(
        self, studio: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_events, "RECONNECT_SECONDS", (0.01,) * 3)
        tried = list[str]()

        def refuse(url: str, **_: Any) -> Any:
            tried.append(url)
            raise ConnectionRefusedError("Nobody is there.")

        monkeypatch.setattr(client_events, "connect", refuse)
        with pytest.raises(Unreachable, match="Nothing answers there"):
            next(studio.events())
        assert len(tried) == 4

    def test_of_a_run_that_is_not_there(self, studio: Client) -> None:
        with pytest.raises(NotFound, match="There is no run with this address"):
            next(studio.events("gone"))

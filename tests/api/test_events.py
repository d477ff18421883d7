"""The sockets of events: every end told once, nothing lost or twice over a reconnect, and sentences for refusals."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from cognate_core.api import create_api
from cognate_core.api.routes import events as module
from cognate_core.api.routes.events import EVENTS
from cognate_core.config import TrainingConfig
from cognate_core.contracts import ModelTrainer, ProgressCallback, RunStatus, TrainingProgress
from cognate_core.errors import Diverged, TrainingError
from cognate_core.runs import broadcast as broadcast_module
from cognate_core.runs import database_path
from cognate_core.runs.broadcast import Broadcast
from cognate_core.runs.execution import Outcome, RunContext, ThreadExecution
from cognate_core.runs.manager import RunManager
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.service import TrainingService
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests import waiting
from tests.waiting import LONG

OpenManager = Callable[..., RunManager]
Said = dict[str, Any]
ENDS = {"training_complete", "training_error"}
MODELS = {str(model.model_fields["type"].annotation.__args__[0]): model for model in EVENTS}  # type: ignore[union-attr]


class GatedTrainer(MockModelTrainer):
    """The mock, once the test lets it go; until then it hears what is asked of it."""

    def __init__(self, failing: dict[str, Exception] | None = None) -> None:
        super().__init__(failing)
        self.go = threading.Event()

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        progress_callback(0, config.max_steps, 2.0, config.learning_rate)
        while not self.go.wait(0.005):
            progress_callback(0, config.max_steps, 2.0, config.learning_rate)
        return await super().train_model(model_name, config, progress_callback)


def building(trainer: ModelTrainer) -> Callable[[RunContext], TrainingService]:
    def build(context: RunContext) -> TrainingService:
        return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)

    return build


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setattr(broadcast_module, "LOOK_SECONDS", 0.002)


@pytest.fixture
def trainer() -> Iterator[GatedTrainer]:
    trainer = GatedTrainer()
    yield trainer
    trainer.go.set()


@pytest.fixture
def studio(open_manager: OpenManager, trainer: GatedTrainer) -> RunManager:
    return open_manager(build_service=building(trainer))


def client_of(manager: RunManager) -> TestClient:
    return TestClient(create_api(lambda: manager), base_url="http://127.0.0.1")


@pytest.fixture
def client(studio: RunManager) -> TestClient:
    return client_of(studio)


@pytest.fixture
def start(studio: RunManager, tiny_config: TrainingConfig) -> Callable[..., str]:
    return lambda *names: studio.start(tiny_config, names[0], names)


def receive(socket: WebSocketTestSession) -> Said:
    said: Said = json.loads(socket.receive_text())
    MODELS[said["type"]].model_validate(said)
    return said


def until(socket: WebSocketTestSession, wanted: Callable[[Said], bool]) -> list[Said]:
    """What comes up to the first that is wanted, with it."""
    said = [receive(socket)]
    while not wanted(said[-1]):
        said.append(receive(socket))
    return said


def is_end(said: Said) -> bool:
    return said["type"] in ENDS


def shows(*statuses: str) -> Callable[[Said], bool]:
    return lambda said: said["status"] in statuses


def refusal(client: TestClient, address: str) -> tuple[int, str]:
    """The code and the sentence with which a socket is closed at once."""
    with client.websocket_connect(address) as socket:
        said = receive(socket)
        assert said["type"] == "closing"
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == said["code"]
    assert said["message"].startswith(closed.value.reason) and closed.value.reason
    return said["code"], said["message"]


def test_a_run_from_its_start_to_its_end(
    studio: RunManager, client: TestClient, trainer: GatedTrainer, start: Callable[..., str]
) -> None:
    with client.websocket_connect("/v1/events") as socket:
        run_id = start("a")
        said = until(socket, shows("training"))
        trainer.go.set()
        said += until(socket, is_end)
    assert {each["run_id"] for each in said} == {run_id}
    ids = [each["id"] for each in said]
    assert ids == sorted(set(ids))
    statuses = [each["status"] for each in said]
    assert list(dict.fromkeys(statuses)) == ["queued", "preparing", "training", "completed"]
    assert [each["type"] for each in said if each["type"] != "training_update"] == [
        "model_completed",
        "training_complete",
    ]
    model = next(each for each in said if each["type"] == "model_completed")
    assert (model["model_id"], model["model_name"]) == (studio.log.models()[0].id, "a")
    last = said[-1]
    assert (last["progress"], last["message"], last["phase"]) == (1.0, "Training is complete", "Training Complete")
    newest = [each for each in said if each["step"] is not None][-1]
    assert (newest["step"], newest["total_steps"], newest["loss"]) == (5, 5, 0.2), "the last step comes through"


def _pause(studio: RunManager, run_id: str) -> None:
    assert studio.pause(run_id)


def _stop(studio: RunManager, run_id: str) -> None:
    assert studio.stop(run_id)


def _cancel(studio: RunManager, run_id: str) -> None:
    assert studio.cancel(run_id)


@pytest.mark.parametrize(
    ("ask", "kind", "statuses"),
    [
        (_pause, "training_update", ["pausing", "paused"]),
        (_stop, "training_complete", ["stopping", "stopped"]),
        (_cancel, "training_update", ["cancelling", "cancelled"]),
    ],
    ids=["pause", "stop", "cancel"],
)
def test_what_a_person_asks_is_told_and_how_it_ended(
    studio: RunManager,
    client: TestClient,
    start: Callable[..., str],
    ask: Callable[[RunManager, str], None],
    kind: str,
    statuses: list[str],
) -> None:
    with client.websocket_connect("/v1/events") as socket:
        run_id = start("a")
        until(socket, shows("training"))
        ask(studio, run_id)
        said = until(socket, shows(statuses[-1]))
    assert [each for each in dict.fromkeys(each["status"] for each in said) if each != "training"] == statuses
    assert said[-1]["type"] == kind
    assert studio.wait(run_id, LONG)
    with client.websocket_connect(f"/v1/runs/{run_id}/events?after={said[-2]['id']}") as socket:
        assert receive(socket) == said[-1]
    assert studio.broadcast.newest_id == said[-1]["id"], "nothing follows the end"


@pytest.mark.parametrize(
    ("failing", "names", "kind", "status", "sentence"),
    [
        ({"a": TrainingError("It broke.")}, ["a"], "training_error", "failed", "It broke."),
        ({"a": Diverged("The loss is no number.")}, ["a"], "training_error", "diverged", "The loss is no number."),
        (
            {"a": TrainingError("It broke.")},
            ["a", "b"],
            "training_complete",
            "completed with failures",
            "Some models failed. a: It broke.",
        ),
    ],
)
def test_a_failure_is_told_in_a_sentence_and_once(
    open_manager: OpenManager,
    tiny_config: TrainingConfig,
    failing: dict[str, Exception],
    names: list[str],
    kind: str,
    status: str,
    sentence: str,
) -> None:
    studio = open_manager(build_service=building(MockModelTrainer(failing)))
    with client_of(studio).websocket_connect("/v1/events") as socket:
        run_id = studio.start(tiny_config, "a", names)
        (end,) = [each for each in until(socket, is_end) if is_end(each)]
    assert studio.wait(run_id, LONG)
    assert (end["type"], end["status"], end["message"]) == (kind, status, sentence)
    assert studio.broadcast.newest_id == end["id"]


def test_a_crash_is_told(studio: RunManager, client: TestClient, start: Callable[..., str], monkeypatch: Any) -> None:
    sentence = "The training process ended without an explanation (exit code 3)."
    monkeypatch.setattr(ThreadExecution, "run", lambda _: Outcome(RunStatus.CRASHED, sentence, sentence))
    with client.websocket_connect("/v1/events") as socket:
        start("a")
        end = until(socket, is_end)[-1]
    assert (end["type"], end["status"], end["message"]) == ("training_error", "crashed", sentence)


def test_what_waits_is_told_and_what_is_taken_out_and_resumed(
    studio: RunManager, client: TestClient, start: Callable[..., str], trainer: GatedTrainer
) -> None:
    first, second = start("a"), start("b")
    with client.websocket_connect(f"/v1/runs/{second}/events") as socket:
        assert receive(socket)["status"] == "queued"
        assert studio.cancel(second)
        cancelled = receive(socket)
        assert (cancelled["status"], cancelled["message"]) == ("cancelled", "Cancelled before it began")
    with client.websocket_connect(f"/v1/runs/{first}/events") as socket:
        until(socket, shows("training"))
        studio.pause(first)
        until(socket, shows("paused"))
        studio.resume(first)
        trainer.go.set()
        said = until(socket, is_end)
    assert list(dict.fromkeys(each["status"] for each in said)) == ["queued", "preparing", "training", "completed"]


def test_a_run_that_the_last_studio_left_is_told_to_be_interrupted_and_ids_go_on(
    open_manager: OpenManager, trainer: GatedTrainer, tiny_config: TrainingConfig
) -> None:
    studio = open_manager(build_service=building(trainer))
    run_id = studio.start(tiny_config, "a", ["a"])
    waiting = studio.start(tiny_config, "b", ["b"])
    with client_of(studio).websocket_connect("/v1/events") as socket:
        last = until(socket, shows("training"))[-1]["id"]
        studio.close()
        with suppress(WebSocketDisconnect):
            while (said := receive(socket))["type"] != "closing":
                last = said["id"]
            assert said["code"] == 1001
    trainer.go.clear()
    again = open_manager(build_service=building(trainer))
    assert again.broadcast.newest_id > last
    with client_of(again).websocket_connect(f"/v1/events?after={last}") as socket:
        assert receive(socket)["type"] == "events_lost", "what happened after the last heartbeat is not known"
        until(socket, lambda said: said["run_id"] == waiting and said["status"] == "training")
    with client_of(again).websocket_connect(f"/v1/runs/{run_id}/events") as socket:
        end = receive(socket)
    assert (end["type"], end["status"]) == ("training_error", "interrupted")
    assert end["message"] == "The studio was closed while this run was going"
    trainer.go.set()


def test_a_run_that_was_going_when_the_studio_was_killed_is_an_error_after_the_start(
    open_manager: OpenManager, studio: RunManager, start: Callable[..., str], trainer: GatedTrainer
) -> None:
    trainer.go.set()
    run_id = start("a")
    assert studio.wait(run_id, LONG)
    before = studio.broadcast.newest_id
    studio.close()
    with closing(sqlite3.connect(database_path(studio.home))) as database, database:
        database.execute("UPDATE runs SET status = 'training'")
    again = open_manager(build_service=building(trainer))
    with client_of(again).websocket_connect(f"/v1/events?after={before}") as socket:
        assert receive(socket)["type"] == "events_lost"
        said = receive(socket)
    assert (said["run_id"], said["type"], said["status"]) == (run_id, "training_error", "interrupted")


def test_connecting_again_at_any_point_loses_and_doubles_nothing(
    studio: RunManager, client: TestClient, start: Callable[..., str], trainer: GatedTrainer
) -> None:
    begin = studio.broadcast.newest_id
    trainer.go.set()
    for name in ("a", "b"):
        assert studio.wait(start(name), LONG)
    with client.websocket_connect(f"/v1/events?after={begin}") as socket:
        whole = until(socket, is_end) + until(socket, is_end)
    for place in range(len(whole) - 1):
        with client.websocket_connect(f"/v1/events?after={whole[place]['id']}") as socket:
            assert [receive(socket) for _ in whole[place + 1 :]] == whole[place + 1 :]
    run_id = whole[-1]["run_id"]
    own = [each for each in whole if each["run_id"] == run_id]
    with client.websocket_connect(f"/v1/runs/{run_id}/events?after={begin}") as socket:
        assert [receive(socket) for _ in own] == own


def test_a_client_that_goes_and_comes_while_it_happens_misses_nothing(
    studio: RunManager, client: TestClient, start: Callable[..., str], trainer: GatedTrainer
) -> None:
    begin = last = studio.broadcast.newest_id
    run_id = start("a", "b", "c")
    heard: list[Said] = []
    while not (heard and is_end(heard[-1])):
        with client.websocket_connect(f"/v1/runs/{run_id}/events?after={last}") as socket:
            heard += [receive(socket)]
            last = heard[-1]["id"]
        if heard[-1]["status"] == "training":
            trainer.go.set()
    with client.websocket_connect(f"/v1/runs/{run_id}/events?after={begin}") as socket:
        assert until(socket, is_end) == heard


def test_a_run_that_ended_long_ago_says_so_at_once(
    studio: RunManager, open_manager: OpenManager, start: Callable[..., str], trainer: GatedTrainer
) -> None:
    trainer.go.set()
    run_id = start("a")
    assert studio.wait(run_id, LONG)
    studio.close()
    with client_of(open_manager(build_service=building(trainer))).websocket_connect(
        f"/v1/runs/{run_id}/events"
    ) as socket:
        said = receive(socket)
    assert (said["type"], said["status"], said["progress"]) == ("training_complete", "completed", 1.0)


def test_refusals_are_sentences(studio: RunManager, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = (4404, "There is no such run. It may have been deleted.")
    assert refusal(client, "/v1/runs/none/events") == unknown
    assert refusal(client, "/v1/runs/none/events?after=5") == unknown
    for after in ("x", "-1", "1.5", "", "²", "9" * 50):
        assert refusal(client, f"/v1/events?after={after}") == (
            4400,
            "?after= must be an event's id, a whole number.",
        )
    looking = ReadOnlyManager(studio.home)
    code, sentence = refusal(client_of(looking), "/v1/events")
    assert code == 4409 and sentence == looking.read_only
    monkeypatch.setattr(studio, "broadcast", Broadcast(most_listeners=0))
    assert refusal(client, "/v1/events") == (1013, "0 programs are already listening. Close one, then reconnect.")


def test_what_a_client_sends_is_ignored_until_it_is_too_much(studio: RunManager, client: TestClient) -> None:
    with client.websocket_connect("/v1/events") as socket:
        for number in range(100):
            socket.send_text(f"message {number}")
        studio.broadcast.status("r", RunStatus.QUEUED, TrainingProgress(0.0, "Waiting", ""))
        assert receive(socket)["status"] == "queued"
        socket.send_bytes(bytes(module.MOST_RECEIVED))
        assert receive(socket)["code"] == 1008
    waiting.until(lambda: studio.broadcast.listeners == 0, "that it is forgotten")


def test_who_does_not_read_is_told_why_it_is_let_go(
    studio: RunManager, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast_module, "MOST_WAITING", 3)
    with client.websocket_connect("/v1/events") as socket:
        for number in range(10):  # all before it is looked for news again
            studio.broadcast.status(str(number), RunStatus.QUEUED, TrainingProgress(0.0, "Waiting", ""))
        said = until(socket, lambda said: said["type"] == "closing")[-1]
    assert (said["code"], said["message"]) == tuple(broadcast_module.TOO_SLOW)


def test_who_goes_is_forgotten(studio: RunManager, client: TestClient) -> None:
    for _ in range(3):
        with client.websocket_connect("/v1/events"):
            assert waiting.until(lambda: studio.broadcast.listeners, "that it listens") == 1
        waiting.until(lambda: studio.broadcast.listeners == 0, "that it is forgotten")


@pytest.mark.parametrize("model", EVENTS, ids=lambda model: model.__name__)
def test_every_message_has_a_description(model: type[BaseModel]) -> None:
    schema = TypeAdapter(model).json_schema()
    assert schema["description"] and "type" in schema["required"]


def test_a_real_run_in_its_own_process(open_manager: OpenManager, tiny_config: TrainingConfig) -> None:
    studio = open_manager(executor="process")
    with client_of(studio).websocket_connect("/v1/events") as socket:
        run_id = studio.start(tiny_config, "real", ["real"])
        said = until(socket, is_end)
    assert said[-1]["type"] == "training_complete"
    (model,) = [each for each in said if each["type"] == "model_completed"]
    assert model["model_id"] == studio.log.models(run_id)[0].id
    assert model["step"] == 5 and model["loss"] == pytest.approx(studio.log.metrics(run_id)[-1]["loss"])

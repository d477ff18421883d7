"""The RunManager: every run ends in the right state, whatever is pressed or breaks, and whenever the studio closes.

Almost all runs here train nothing: a trainer that waits for the test stands in, so that each moment can be chosen.
"""

import asyncio
import hashlib
import json
import math
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from sqlite_utils import Database

from cognate_core import runs
from cognate_core.config import TrainingConfig
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import (
    Evaluation,
    Event,
    ModelTrainer,
    Phase,
    PonderHistogram,
    ProgressCallback,
    Record,
    RecordSink,
    RunStatus,
    Sample,
    StepMetrics,
    TrainingProgress,
)
from cognate_core.errors import (
    DISK_FULL,
    ConfigError,
    DataError,
    DiskFull,
    Diverged,
    OutOfMemory,
    PauseRequested,
    RunError,
    StopRequested,
    StorageError,
    TrainingError,
)
from cognate_core.files import replace_durably
from cognate_core.insight.estimates import estimate
from cognate_core.mocks import MockDatasetLoader, MockModelTrainer, MockProgressEmitter
from cognate_core.records import record_to_json
from cognate_core.runs import manager as manager_module
from cognate_core.runs.execution import BuildService, Outcome, RunContext, ThreadExecution, build_real_service
from cognate_core.runs.home import RESERVE_BYTES, database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.runs.recovery import write_run_file
from cognate_core.runs.timing import Timing
from cognate_core.service import COORDINATION_KEY, TrainingService, seeds_from
from cognate_core.storage import progress_log
from cognate_core.storage import trash as trash_module
from cognate_core.storage.database import DatabaseWriter
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from cognate_core.storage.trash import TrashEntry
from cognate_core.training.checkpoint import load_checkpoint
from tests.surgery import change_database
from tests.waiting import LONG, MOMENT, beside, until

pytestmark = pytest.mark.usefixtures("one_thread")

OpenManager = Callable[..., RunManager]


class PatientTrainer(ModelTrainer):
    """Trains each model until it is let go or interrupted, then writes one file. Says what happens to each model.

    When it is paused, it leaves the shape of a checkpoint.
    """

    def __init__(self, deaf: bool = False) -> None:
        self.deaf = deaf  # hears of an interruption only when it is let go
        self.failing = False
        self.order: list[str] = []  # the models in the order in which they began
        self.seeds: list[int] = []  # of each in the order
        self.outcome: dict[str, str] = {}
        self.most_at_once = 0
        self._training = 0
        self._all_let_go = False
        self._lock = threading.Lock()
        self._events: dict[tuple[str, str], threading.Event] = {}

    def began(self, name: str) -> threading.Event:
        return self._event("began", name)

    def ended(self, name: str) -> threading.Event:
        return self._event("ended", name)

    def let_go(self, *names: str) -> None:
        for name in names:
            self._event("let go", name).set()

    def let_all_go(self) -> None:
        with self._lock:
            self._all_let_go = True
            for (what, _), event in self._events.items():
                if what == "let go":
                    event.set()

    def _event(self, what: str, name: str) -> threading.Event:
        with self._lock:
            event = self._events.setdefault((what, name), threading.Event())
            if what == "let go" and self._all_let_go:
                event.set()
            return event

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self._train, model_name, config, progress_callback)

    def _train(self, name: str, config: TrainingConfig, progress_callback: ProgressCallback) -> dict[str, Any]:
        folder = Path(config.output_dir) / name
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self.order.append(name)
            self.seeds.append(config.seed)
            self._training += 1
            self.most_at_once = max(self.most_at_once, self._training)
        self.began(name).set()
        status = "cancelled"
        try:
            status = self._train_until_let_go(name, progress_callback)
        except PauseRequested:
            status = "paused"
            leave_checkpoint(folder)
            raise
        finally:
            with self._lock:
                self._training -= 1
                self.outcome[name] = status
            self.ended(name).set()
        if self.failing:
            raise TrainingError("It would not learn.")
        (folder / "weights.bin").write_bytes(name.encode() * 1000)
        return {
            "parameter_count": 0,
            "training_status": status,
            "artifacts": {"weights": str(folder / "weights.bin")},
            "training_stats": {"steps": 1, "mock": True},
            "datasets_used": ["mock"],
            "grokfast_enabled": False,
            "act_enabled": False,
            "ltm_enabled": False,
        }

    def _train_until_let_go(self, name: str, progress_callback: ProgressCallback) -> str:
        let_go = self._event("let go", name)
        if self.deaf:
            let_go.wait()
        try:
            done = False
            while not done:
                done = let_go.wait(0.005)  # before the callback: what was asked before letting go is heard
                progress_callback(1, 10, 1.0, 1e-3)
        except StopRequested:
            return "stopped"
        return "completed"


def services_with(trainer: ModelTrainer) -> BuildService:
    def build(context: RunContext) -> TrainingService:
        return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)

    return build


class RecordingTrainer(MockModelTrainer):
    """Trains nothing, and keeps figures where the real one does: in the database and in the model's own log."""

    def __init__(self, record: RecordSink) -> None:
        super().__init__()
        self._record = record

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        folder = Path(config.output_dir) / model_name
        folder.mkdir(parents=True, exist_ok=True)
        files = {"weights": folder / "weights.bin", "training_log": folder / "training_log.jsonl"}
        files["weights"].write_bytes(model_name.encode() * 1000)
        with files["training_log"].open("w") as log:
            for record in figures_of(model_name, config.max_steps):
                log.write(json.dumps(record_to_json(record)) + "\n")
                self._record(record)
        result = await super().train_model(model_name, config, progress_callback)
        return {**result, "artifacts": {kind: str(path) for kind, path in files.items()}}


def recording_service(context: RunContext) -> TrainingService:
    """A build_service whose models have figures."""
    trainer = RecordingTrainer(context.record)
    return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)


def figures_of(model: str, steps: int) -> Iterator[Record]:
    """What a trainer records; the loss of the second step is no number."""
    yield Event("warning", "The model is very small.", model, 0)
    for step in range(steps + 1):
        if step:
            loss = math.nan if step == 2 else 5.0 / step
            yield StepMetrics(model, step, loss, 1e-3, 1.5, math.nan, 100, 0.1, step / 10, ponder_steps=2.5)
        if step in (0, steps):
            yield Event("info", "Checkpoint saved in 0.1 s", model, step)
            yield PonderHistogram(model, step, [0, 3, 7])
            yield Evaluation(model, step, "Synthetic", 4.0 - step / 10, 50)
            yield Evaluation(model, step, "GSM8K", 4.5 - step / 10, 60)
            yield Sample(model, step, "Synthetic", "What is 1 + 1?", "2?", "2")


def measured(log: ProgressReader, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """All that was measured of a run, by table; the number of a row, which only its order gives, is left out."""
    tables = {
        "metrics": log.metrics(run_id),
        "evaluations": log.evaluations(run_id),
        "ponder histograms": log.ponder_histograms(run_id),
        "samples": log.samples(run_id),
        "events": log.events(run_id),
    }
    return {
        table: [{column: value for column, value in row.items() if column != "id"} for row in rows]
        for table, rows in tables.items()
    }


class BlockedBuild:
    """A build_service that is still at it, as the first import of torch is, until it is let go."""

    def __init__(self, trainer: ModelTrainer) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.context: RunContext | None = None
        self._build = services_with(trainer)

    def __call__(self, context: RunContext) -> TrainingService:
        self.context = context
        self.begun.set()
        assert self.let_go.wait(LONG)
        return self._build(context)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of `open_manager`."""
    return tmp_path / "home"


@pytest.fixture
def trainer(open_manager: OpenManager) -> Iterator[PatientTrainer]:
    """Let go at the end, before the managers are closed."""
    trainer = PatientTrainer()
    yield trainer
    trainer.let_all_go()


@pytest.fixture
def studio(open_manager: OpenManager, trainer: PatientTrainer) -> RunManager:
    """One run at a time, trained by `trainer`."""
    return open_manager(build_service=services_with(trainer))


@pytest.fixture
def start(tiny_config: TrainingConfig) -> Callable[..., str]:
    """`start(manager, "a")`: start a run of this name with one model of this name; its id."""

    def start_one(manager: RunManager, name: str, *more_models: str, start_key: str | None = None) -> str:
        return manager.start(tiny_config, name, [name, *more_models], start_key)

    return start_one


def end_of(manager: RunManager, run_id: str) -> Run:
    """The run once it has ended."""
    manager.wait(run_id, LONG)
    run = manager.log.run(run_id)
    assert run.status.is_terminal, f"still {run.status}: {run.message}"
    assert run.finished_at is not None
    return run


def paused(manager: RunManager, run_id: str) -> Run:
    """Ask a run to pause; it, once it rests."""
    assert manager.pause(run_id)
    assert manager.wait(run_id, LONG)
    run = manager.log.run(run_id)
    assert run.status is RunStatus.PAUSED, f"it is {run.status}: {run.message}"
    return run


def begin(trainer: PatientTrainer, name: str, lives: int = 1) -> None:
    """Wait until training of a model has begun, for the second time if there were two lives."""
    assert trainer.began(name).wait(LONG), f"{name} never began"
    until(lambda: trainer.order.count(name) >= lives)


def leave_checkpoint(model_folder: Path, step: int = 5) -> None:
    """The shape of a checkpoint: enough for who only asks whether there is one."""
    checkpoint = model_folder / "checkpoints" / f"step-{step:08d}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "manifest.json").write_text("{}")


def add_waiting(log: ProgressLog, home: Path, config: TrainingConfig, run_id: str) -> None:
    """A queued run as an earlier process left it."""
    folder = home / "runs" / run_id
    config = config.with_overrides({"output_dir": str(folder)})
    log.create_run(run_id, run_id, config, [run_id], folder, None)


def status_of(manager: RunManager, run_id: str) -> RunStatus:
    return manager.log.run(run_id).status


class TestQueue:
    def test_runs_go_one_after_the_other_in_the_order_of_their_starts(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        ids = {name: start(studio, name) for name in "abcd"}
        for position, name in enumerate("abcd"):
            begin(trainer, name)
            assert all(status_of(studio, ids[later]) is RunStatus.QUEUED for later in "abcd"[position + 1 :])
            trainer.let_go(name)
        assert [end_of(studio, run_id).status for run_id in ids.values()] == [RunStatus.COMPLETED] * 4
        assert trainer.order == list("abcd")
        assert trainer.most_at_once == 1

    def test_two_at_once_when_two_are_allowed(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), max_parallel=2)
        ids = {name: start(studio, name) for name in "abcd"}
        begin(trainer, "a")
        begin(trainer, "b")
        assert [status_of(studio, ids[name]) for name in "cd"] == [RunStatus.QUEUED] * 2
        trainer.let_go("b")
        begin(trainer, "c")
        assert status_of(studio, ids["d"]) is RunStatus.QUEUED
        trainer.let_all_go()
        assert {end_of(studio, run_id).status for run_id in ids.values()} == {RunStatus.COMPLETED}
        assert trainer.most_at_once == 2

    def test_a_completed_run_says_so_and_has_its_models(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a", "b"))
        assert (run.status, run.phase, run.progress) == (RunStatus.COMPLETED, Phase.COMPLETE, 1.0)
        assert (run.error, run.error_details) == (None, None)
        assert run.started_at is not None
        assert run.created_at <= run.started_at <= (run.finished_at or "")
        assert Path(run.folder).parent == home / "runs"
        assert [model.name for model in studio.log.models(run.id)] == ["b", "a"]

    def test_what_is_done_is_shown_while_it_is_done(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        until(lambda: studio.log.run(run_id).step == 1)
        run = studio.log.run(run_id)
        assert (run.status, run.phase, run.total_steps) == (RunStatus.TRAINING, Phase.TRAINING, 10)
        assert run.message == "Training a"

    def test_the_last_step_is_known_when_the_run_has_ended(
        self, open_manager: OpenManager, start: Callable[..., str], tiny_config: TrainingConfig
    ) -> None:
        studio = open_manager(build_service=services_with(MockModelTrainer()))
        run = end_of(studio, start(studio, "a"))
        assert (run.step, run.total_steps) == (tiny_config.max_steps, tiny_config.max_steps)

    def test_waiting_says_whether_the_run_has_ended(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert not studio.wait(run_id, timeout=0)
        trainer.let_go("a")
        assert studio.wait(run_id, LONG)

    def test_no_thread_is_left_behind(self, home: Path, trainer: PatientTrainer, start: Callable[..., str]) -> None:
        before = set(threading.enumerate())
        studio = RunManager(home, executor="thread", build_service=services_with(trainer))
        trainer.let_all_go()
        for name in "abc":
            end_of(studio, start(studio, name))
        studio.close()
        assert set(threading.enumerate()) <= before


class TestStartKey:
    def test_pressed_twice_is_one_run_also_after_its_end(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a", start_key="press")
        assert start(studio, "again", start_key="press") == run_id
        trainer.let_all_go()
        end_of(studio, run_id)
        assert start(studio, "again", start_key="press") == run_id
        assert [run.name for run in studio.log.runs()] == ["a"]
        assert trainer.order == ["a"]

    def test_twenty_presses_at_once_are_one_run(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), max_parallel=20)
        together = threading.Barrier(20)

        def press(_: int) -> str:
            together.wait()
            return start(studio, "a", start_key="press")

        with ThreadPoolExecutor(20) as pool:
            ids = set(pool.map(press, range(20)))
        assert [run.id for run in studio.log.runs()] == list(ids)
        trainer.let_all_go()
        end_of(studio, ids.pop())
        assert trainer.order == ["a"]

    def test_twenty_runs_at_once_are_each_trained_once(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), max_parallel=3)
        trainer.let_all_go()
        names = [f"model {number}" for number in range(20)]
        with ThreadPoolExecutor(20) as pool:
            ids = list(pool.map(lambda name: start(studio, name), names))
        assert {end_of(studio, run_id).status for run_id in ids} == {RunStatus.COMPLETED}
        assert sorted(trainer.order) == sorted(names)
        assert trainer.most_at_once <= 3


class TestStopAndCancel:
    def test_stop_keeps_the_model(self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]) -> None:
        run_id = start(studio, "a", "never begun")
        begin(trainer, "a")
        assert studio.stop(run_id)
        run = end_of(studio, run_id)
        assert (run.status, run.message) == (RunStatus.STOPPED, "Stopped and saved")
        model = studio.log.models(run_id)[0]
        assert (model.name, model.status) == ("a", "stopped")
        assert studio.store.path(studio.log.artifacts(model.id)[0]["path"]).is_file()
        assert trainer.order == ["a"]

    def test_cancel_keeps_no_model(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a", "never begun")
        begin(trainer, "a")
        assert studio.cancel(run_id)
        assert end_of(studio, run_id).status is RunStatus.CANCELLED
        assert studio.log.models(run_id) == []
        assert trainer.order == ["a"]

    @pytest.mark.parametrize("how", [RunManager.stop, RunManager.cancel])
    def test_a_queued_run_never_begins(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        how: Callable[[RunManager, str], bool],
    ) -> None:
        first, second, third = (start(studio, name) for name in "abc")
        begin(trainer, "a")
        assert how(studio, second)
        run = end_of(studio, second)
        assert (run.status, run.started_at) == (RunStatus.CANCELLED, None)
        assert not how(studio, second)
        trainer.let_all_go()
        assert end_of(studio, first).status is RunStatus.COMPLETED
        assert end_of(studio, third).status is RunStatus.COMPLETED
        assert trainer.order == ["a", "c"]

    def test_a_run_that_does_not_hear_yet_is_shown_as_ending(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        trainer.deaf = True
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.stop(run_id)
        assert status_of(studio, run_id) is RunStatus.STOPPING
        assert studio.cancel(run_id)  # the person has changed their mind
        assert status_of(studio, run_id) is RunStatus.CANCELLING
        assert studio.stop(run_id)
        assert status_of(studio, run_id) is RunStatus.CANCELLING, "a stop does not take a cancel back"
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.CANCELLED
        assert studio.log.models(run_id) == []

    @pytest.mark.parametrize(
        ("ask", "outcome"),
        [
            (["cancel"], RunStatus.CANCELLED),
            (["stop"], RunStatus.STOPPED),
            (["stop", "cancel"], RunStatus.CANCELLED),
            (["cancel", "stop"], RunStatus.CANCELLED),
            (["pause"], RunStatus.PAUSED),
            (["pause", "stop"], RunStatus.STOPPED),
            (["stop", "pause"], RunStatus.STOPPED),
            (["stop", "pause", "cancel"], RunStatus.CANCELLED),
            (["cancel", "pause"], RunStatus.CANCELLED),
        ],
    )
    def test_what_is_asked_before_there_is_a_service_is_obeyed(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        ask: list[str],
        outcome: RunStatus,
    ) -> None:
        build = BlockedBuild(trainer)
        studio = open_manager(build_service=build)
        run_id = start(studio, "a")
        assert build.begun.wait(LONG)
        for each in ask:
            assert getattr(studio, each)(run_id)
        build.let_go.set()
        assert studio.wait(run_id, LONG)
        assert status_of(studio, run_id) is outcome
        assert trainer.order == []

    @pytest.mark.parametrize("ended_as", ["completed", "failed", "stopped", "cancelled"])
    def test_a_run_that_has_ended_stays_as_it_is(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], ended_as: str
    ) -> None:
        trainer.failing = ended_as == "failed"
        run_id = start(studio, "a")
        if ended_as in ("stopped", "cancelled"):
            begin(trainer, "a")
            assert studio.stop(run_id) if ended_as == "stopped" else studio.cancel(run_id)
        trainer.let_all_go()
        ended = end_of(studio, run_id)
        assert ended.status == ended_as
        assert not studio.pause(run_id)
        assert not studio.stop(run_id)
        assert not studio.cancel(run_id)
        assert studio.log.run(run_id) == ended

    @pytest.mark.parametrize("how", [RunManager.pause, RunManager.stop, RunManager.cancel])
    def test_what_is_asked_is_shown_before_the_run_can_end_by_it(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        how: Callable[[RunManager, str], bool],
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        write, person = studio.log.set_status, threading.current_thread()

        def the_person_is_slow(wanted: str, status: RunStatus, **columns: Any) -> bool:
            if threading.current_thread() is person:
                assert not studio.wait(wanted, MOMENT), "it ended before what was asked was written"
            return write(wanted, status, **columns)

        monkeypatch.setattr(studio.log, "set_status", the_person_is_slow)
        assert how(studio, run_id), "it was obeyed"
        assert studio.wait(run_id, LONG)

    def test_it_is_waited_until_the_end_was_told_to_everybody(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        write, too_early = studio.log.set_status, list[set[Future[bool]]]()

        def written_and_not_told_yet(wanted: str, status: RunStatus, **columns: Any) -> bool:
            done = write(wanted, status, **columns)
            too_early.append(wait([pool.submit(studio.wait, wanted, LONG)], MOMENT).done)
            return done

        with ThreadPoolExecutor(1) as pool:
            monkeypatch.setattr(studio.log, "set_status", written_and_not_told_yet)
            trainer.let_all_go()
            assert studio.wait(run_id, LONG)
        assert too_early == [set()]

    def test_an_unknown_run_is_told_as_a_sentence(self, studio: RunManager) -> None:
        for ask in (studio.pause, studio.stop, studio.cancel, studio.resume, studio.delete_run):
            with pytest.raises(RunError, match="There is no run with this address"):
                ask("gone")

    def test_asked_from_a_coroutine(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        # "A page may ask from any thread and at any moment"; a notebook and an API ask from within an event loop.
        async def ask() -> bool:
            return studio.cancel(run_id)

        run_id = start(studio, "a")
        begin(trainer, "a")
        assert asyncio.run(ask())
        assert end_of(studio, run_id).status is RunStatus.CANCELLED

    def test_cancel_of_a_queued_run_that_begins_at_this_moment(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        start(studio, "a")
        run_id = start(studio, "b")
        begin(trainer, "a")
        read = studio.log.run
        person = threading.current_thread()

        def read_then_the_turn_comes(wanted: str) -> Run:
            run = read(wanted)
            if threading.current_thread() is person and run.status is RunStatus.QUEUED:
                trainer.let_go("a")
                begin(trainer, "b")
            return run

        monkeypatch.setattr(studio.log, "run", read_then_the_turn_comes)
        assert studio.cancel(run_id)
        monkeypatch.setattr(studio.log, "run", read)
        assert end_of(studio, run_id).status is RunStatus.CANCELLED
        if trainer.began("b").is_set():
            assert trainer.ended("b").wait(LONG), "it is shown as cancelled, and trains on"
            assert trainer.outcome["b"] == "cancelled"
        assert studio.log.models(run_id) == []

    def test_cancel_that_overtakes_a_stop(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        build = BlockedBuild(trainer)
        studio = open_manager(build_service=build)
        run_id = start(studio, "a")
        assert build.begun.wait(LONG)
        read = studio.log.run

        def read_then_another_cancels(wanted: str) -> Run:
            run = read(wanted)
            monkeypatch.setattr(studio.log, "run", read)
            assert studio.cancel(wanted)
            return run

        monkeypatch.setattr(studio.log, "run", read_then_another_cancels)
        assert studio.stop(run_id)
        build.let_go.set()
        assert end_of(studio, run_id).status is RunStatus.CANCELLED

    def test_who_waits_for_a_queued_run_hears_of_its_cancel(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        start(studio, "a")
        run_id = start(studio, "b")
        begin(trainer, "a")
        read, person, looked = studio.log.run, threading.current_thread(), threading.Event()

        def read_and_say_so(wanted: str) -> Run:
            run = read(wanted)
            if threading.current_thread() is not person:
                looked.set()
            return run

        monkeypatch.setattr(studio.log, "run", read_and_say_so)
        waiting = beside(lambda: studio.wait(run_id))
        assert looked.wait(LONG)
        assert studio.cancel(run_id)
        assert waiting.result(LONG)


class TestPauseAndResume:
    def test_a_paused_run_rests_is_not_at_its_end_and_lets_the_next_one_go(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id, other = start(studio, "a"), start(studio, "b")
        begin(trainer, "a")
        run = paused(studio, run_id)
        assert not run.status.is_terminal
        assert (run.message, run.error, run.finished_at) == ("Paused", None, None)
        assert trainer.outcome["a"] == "paused"
        assert studio.log.models(run_id) == []
        assert studio.resume_step(run_id) == 5
        begin(trainer, "b")
        assert not studio.pause(run_id), "it rests already"
        assert not studio.cancel(run_id)
        assert studio.log.run(run_id) == run
        trainer.let_all_go()
        assert end_of(studio, other).status is RunStatus.COMPLETED
        assert trainer.order == ["a", "b"], "it does not go on by itself"

    def test_a_resumed_run_waits_behind_the_others_and_then_completes(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        first, second, third = (start(studio, name) for name in "abc")
        begin(trainer, "a")
        paused(studio, first)
        begin(trainer, "b")
        studio.resume(first)
        assert status_of(studio, first) is RunStatus.QUEUED
        assert studio.log.queued_run_ids() == [third, first]
        trainer.let_all_go()
        run = end_of(studio, first)
        assert (run.status, run.error) == (RunStatus.COMPLETED, None)
        assert trainer.order == ["a", "b", "c", "a"]
        assert [model.name for model in studio.log.models(first)] == ["a"]
        assert end_of(studio, second).status is RunStatus.COMPLETED

    def test_the_seconds_of_all_lives_are_added_up_and_rest_is_no_work(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
    ) -> None:
        now = [100.0]
        studio = open_manager(build_service=services_with(trainer), timing=Timing(clock=lambda: now[0]))
        run_id = start(studio, "a")
        assert studio.log.run(run_id).worked_seconds is None
        begin(trainer, "a")
        now[0] = 107.0
        assert paused(studio, run_id).worked_seconds == 7.0
        now[0] = 1000.0
        studio.resume(run_id)
        begin(trainer, "a", lives=2)
        now[0] = 1003.0
        trainer.let_all_go()
        assert end_of(studio, run_id).worked_seconds == 10.0

    def test_a_completed_model_is_not_trained_again_and_seeds_stay_by_position(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], tiny_config: TrainingConfig
    ) -> None:
        run_id = start(studio, "a", "b", "c")
        trainer.let_go("a")
        begin(trainer, "b")
        paused(studio, run_id)
        (first,) = studio.log.models(run_id)
        studio.resume(run_id)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED
        assert trainer.order == ["a", "b", "b", "c"]
        of_a, of_b, of_c = islice(seeds_from(tiny_config.seed), 3)
        assert trainer.seeds == [of_a, of_b, of_b, of_c]
        assert [model.name for model in studio.log.models(run_id)] == ["c", "b", "a"]
        assert studio.log.model(first.id) == first

    @pytest.mark.parametrize(
        ("ask", "shown", "outcome"),
        [
            (["pause"], RunStatus.PAUSING, RunStatus.PAUSED),
            (["pause", "pause"], RunStatus.PAUSING, RunStatus.PAUSED),
            (["pause", "stop"], RunStatus.STOPPING, RunStatus.STOPPED),
            (["stop", "pause"], RunStatus.STOPPING, RunStatus.STOPPED),
            (["pause", "cancel"], RunStatus.CANCELLING, RunStatus.CANCELLED),
            (["cancel", "pause"], RunStatus.CANCELLING, RunStatus.CANCELLED),
            (["pause", "stop", "cancel"], RunStatus.CANCELLING, RunStatus.CANCELLED),
            (["cancel", "stop", "pause"], RunStatus.CANCELLING, RunStatus.CANCELLED),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    def test_of_several_wishes_the_strongest_holds(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        ask: list[str],
        shown: RunStatus,
        outcome: RunStatus,
    ) -> None:
        trainer.deaf = True
        run_id = start(studio, "a")
        begin(trainer, "a")
        for each in ask:
            assert getattr(studio, each)(run_id)
        assert status_of(studio, run_id) is shown
        trainer.let_all_go()
        assert studio.wait(run_id, LONG)
        assert status_of(studio, run_id) is outcome
        assert [model.status for model in studio.log.models(run_id)] == (
            ["stopped"] if outcome is RunStatus.STOPPED else []
        )

    @pytest.mark.parametrize("models", ["a", "ab"])
    def test_stopped_while_it_is_prepared_again_it_saves_what_it_had_learned(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str], models: str
    ) -> None:
        build = BlockedBuild(trainer)
        studio = open_manager(build_service=build)
        build.let_go.set()
        run_id = start(studio, *models)
        begin(trainer, "a")
        paused(studio, run_id)
        build.begun.clear()
        build.let_go.clear()
        studio.resume(run_id)
        assert build.begun.wait(LONG)
        assert studio.stop(run_id)
        build.let_go.set()
        run = end_of(studio, run_id)
        assert (run.status, run.message) == (RunStatus.STOPPED, "Stopped and saved")
        assert [(model.name, model.status) for model in studio.log.models(run_id)] == [("a", "stopped")]
        assert trainer.order == ["a", "a"]

    def test_stopped_while_its_pause_is_being_saved_it_saves_the_model(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        class StoppedMeanwhile(PatientTrainer):
            def _train_until_let_go(self, name: str, progress_callback: ProgressCallback) -> str:
                try:
                    return super()._train_until_let_go(name, progress_callback)
                except PauseRequested:
                    assert studio.stop(run_id)
                    raise

        trainer = StoppedMeanwhile()
        studio = open_manager(build_service=services_with(trainer))
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.pause(run_id)
        assert end_of(studio, run_id).status is RunStatus.STOPPED
        assert [(model.name, model.status) for model in studio.log.models(run_id)] == [("a", "stopped")]

    def test_a_wish_of_an_earlier_life_is_forgotten(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.stop(run_id)
        assert end_of(studio, run_id).status is RunStatus.STOPPED
        studio.resume(run_id)
        begin(trainer, "a", lives=2)
        paused(studio, run_id)
        studio.resume(run_id)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED

    def test_a_stopped_model_that_goes_on_stays_the_same_model(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.stop(run_id)
        assert end_of(studio, run_id).status is RunStatus.STOPPED
        (stopped,) = studio.log.models(run_id)
        studio.resume(run_id)
        assert studio.log.run(run_id).finished_at is None
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED
        (model,) = studio.log.models(run_id)
        assert (model.id, model.details["model_id"]) == (stopped.id, stopped.id)
        assert (stopped.status, model.status) == ("stopped", "completed")
        assert len(studio.log.artifacts(model.id)) == 1

    def test_a_resumed_run_no_longer_shows_why_it_had_failed(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        trainer.failing = True
        trainer.let_all_go()
        run_id = start(studio, "a")
        failed = end_of(studio, run_id)
        assert (failed.status, failed.error) == (RunStatus.FAILED, "It would not learn.")
        trainer.failing = False
        studio.resume(run_id)
        run = end_of(studio, run_id)
        assert (run.status, run.error, run.error_details) == (RunStatus.COMPLETED, None, None)
        assert run.started_at == failed.started_at, "it began once"

    @pytest.mark.parametrize(
        "state", ["queued", "training", "completed", "cancelled", "diverged", "completed with failures"]
    )
    def test_what_cannot_be_resumed_is_told_as_a_sentence_and_stays_as_it_is(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str], state: str
    ) -> None:
        failing: dict[str, Exception] = {"bad": Diverged("The loss stopped being a number at step 3.")}

        def build(context: RunContext) -> TrainingService:
            return services_with(MockModelTrainer(failing) if "bad" in context.model_names else trainer)(context)

        studio = open_manager(build_service=build)
        if state == "diverged":
            run_id = start(studio, "bad")
        elif state == "completed with failures":
            run_id = start(studio, "good", "bad")
        else:
            run_id, waiting = start(studio, "a"), start(studio, "b")
            begin(trainer, "a")
            if state == "cancelled":
                assert studio.cancel(run_id)
            elif state == "completed":
                trainer.let_all_go()
            elif state == "queued":
                run_id = waiting
        if state == "training":
            until(lambda: status_of(studio, run_id) is RunStatus.TRAINING)
        elif state != "queued":
            end_of(studio, run_id)
        before = studio.log.export_run(run_id)
        with pytest.raises(RunError, match=rf"^A run that is {state} cannot be resumed\.$"):
            studio.resume(run_id)
        assert status_of(studio, run_id) == state
        if state != "training":
            assert studio.log.export_run(run_id) == before
        assert trainer.order.count("a") <= 1

    @pytest.mark.parametrize("max_parallel", [1, 2])
    def test_resumed_at_the_very_moment_when_its_last_life_ends(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        max_parallel: int,
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), max_parallel=max_parallel)
        run_id = start(studio, "a")
        begin(trainer, "a")
        write, resumed = studio.log.set_status, threading.Event()

        def write_then_a_person_resumes(wanted: str, status: RunStatus, **columns: Any) -> bool:
            done = write(wanted, status, **columns)
            if status is RunStatus.PAUSED:
                studio.resume(wanted)
                resumed.set()
            return done

        monkeypatch.setattr(studio.log, "set_status", write_then_a_person_resumes)
        assert studio.pause(run_id)
        assert resumed.wait(LONG)
        begin(trainer, "a", lives=2)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED
        assert trainer.order == ["a", "a"]
        assert trainer.most_at_once == 1

    def test_resumed_while_the_end_of_its_last_life_cannot_be_written(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), timing=Timing(retry=0.01))
        write, tries = studio.log.set_status, list[RunStatus]()

        def refuse_the_first_ends(wanted: str, status: RunStatus, **columns: Any) -> bool:
            if status is RunStatus.PAUSED:
                tries.append(status)
                if len(tries) < 3:
                    with pytest.raises(RunError, match="pausing cannot be resumed"):
                        studio.resume(wanted)
                    raise StorageError("The database refused (database is locked).")
            return write(wanted, status, **columns)

        monkeypatch.setattr(studio.log, "set_status", refuse_the_first_ends)
        run_id = start(studio, "a")
        begin(trainer, "a")
        paused(studio, run_id)
        assert len(tries) == 3
        studio.resume(run_id)
        begin(trainer, "a", lives=2)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED
        assert trainer.most_at_once == 1

    def test_twenty_resumes_at_once_are_one(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), max_parallel=20)
        run_id = start(studio, "a")
        begin(trainer, "a")
        paused(studio, run_id)
        together = threading.Barrier(20)

        def press(_: int) -> bool:
            together.wait()
            try:
                studio.resume(run_id)
            except RunError as error:
                assert re.fullmatch(r"A run that is (queued|preparing|training) cannot be resumed\.", str(error))
                return False
            return True

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(press, range(20))) == 1
        begin(trainer, "a", lives=2)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED
        assert trainer.order == ["a", "a"]
        assert trainer.most_at_once == 1

    def test_paused_and_resumed_again_and_again_it_is_executed_once_at_a_time(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), max_parallel=5)
        run_id = start(studio, "a")
        over = threading.Event()

        def resume_whenever_it_rests() -> None:
            while not over.is_set():
                with suppress(RunError):
                    studio.resume(run_id)

        with ThreadPoolExecutor(4) as pool:
            people = [pool.submit(resume_whenever_it_rests) for _ in range(4)]
            try:
                for life in range(1, 11):
                    begin(trainer, "a", lives=life)
                    assert studio.pause(run_id)
            finally:
                over.set()
            for person in people:
                person.result(LONG)
        trainer.let_all_go()
        assert studio.wait(run_id, LONG)
        if status_of(studio, run_id) is RunStatus.PAUSED:
            studio.resume(run_id)
        assert end_of(studio, run_id).status is RunStatus.COMPLETED
        assert trainer.most_at_once == 1


class TestOrderOfTheQueue:
    @pytest.fixture
    def waiting(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> Callable[[], tuple[str, ...]]:
        """One run is training, b, c and d wait: `waiting()` gives their names as they stand in the queue."""
        start(studio, "a")
        begin(trainer, "a")
        for name in "bcd":
            start(studio, name)
        return lambda: tuple(studio.log.run(run_id).name for run_id in studio.log.queued_run_ids())

    def test_a_waiting_run_changes_places_and_is_trained_in_its_new_place(
        self, studio: RunManager, trainer: PatientTrainer, waiting: Callable[[], tuple[str, ...]]
    ) -> None:
        ids = dict(zip(waiting(), studio.log.queued_run_ids(), strict=True))
        studio.move_in_queue(ids["d"], -1)
        assert waiting() == ("b", "d", "c")
        studio.move_in_queue(ids["b"], 2)
        assert waiting() == ("c", "d", "b")
        studio.move_in_queue(ids["d"], 1)
        assert waiting() == ("c", "b", "d")
        trainer.let_all_go()
        for run_id in ids.values():
            end_of(studio, run_id)
        assert trainer.order == ["a", "c", "b", "d"]

    def test_what_leads_nowhere_changes_nothing(
        self, studio: RunManager, waiting: Callable[[], tuple[str, ...]]
    ) -> None:
        first, _, last = studio.log.queued_run_ids()
        (training,) = (run.id for run in studio.log.runs() if run.status.is_active)
        for run_id, places in ((first, -1), (last, 1), (first, 3), (last, -99), (training, 1), ("gone", 1), (first, 0)):
            studio.move_in_queue(run_id, places)
            assert waiting() == ("b", "c", "d")

    def test_who_comes_later_stands_behind_those_that_were_moved(
        self,
        studio: RunManager,
        waiting: Callable[[], tuple[str, ...]],
        start: Callable[..., str],
    ) -> None:
        first, _, last = studio.log.queued_run_ids()
        studio.move_in_queue(last, -2)
        start(studio, "e")
        assert waiting() == ("d", "c", "b", "e")
        assert studio.cancel(first)
        assert waiting() == ("d", "c", "e")

    @pytest.mark.parametrize("how", [RunManager.pause, RunManager.stop, RunManager.cancel])
    def test_a_run_that_never_began_is_cancelled_when_it_is_taken_out(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        waiting: Callable[[], tuple[str, ...]],
        how: Callable[[RunManager, str], bool],
    ) -> None:
        run_id = studio.log.queued_run_ids()[1]
        assert how(studio, run_id)
        run = end_of(studio, run_id)
        assert (run.status, run.message) == (RunStatus.CANCELLED, "Cancelled before it began")
        assert waiting() == ("b", "d")

    @pytest.mark.parametrize("how", [RunManager.pause, RunManager.stop, RunManager.cancel])
    def test_a_run_that_was_trained_before_is_paused_when_it_is_taken_out(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        how: Callable[[RunManager, str], bool],
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        paused(studio, run_id)
        start(studio, "b")
        begin(trainer, "b")
        studio.resume(run_id)
        assert status_of(studio, run_id) is RunStatus.QUEUED
        waiting = beside(lambda: studio.wait(run_id))
        assert how(studio, run_id)
        assert waiting.result(LONG), "who waits for it hears of it"
        run = studio.log.run(run_id)
        assert (run.status, run.message) == (RunStatus.PAUSED, "Taken out of the queue")
        assert not how(studio, run_id), "it rests already"
        assert studio.resume_step(run_id) == 5
        studio.resume(run_id)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED

    def test_a_checkpoint_that_was_never_finished_is_none(
        self, studio: RunManager, waiting: Callable[[], tuple[str, ...]], home: Path
    ) -> None:
        run_id = studio.log.queued_run_ids()[0]
        checkpoints = home / "runs" / run_id / "b" / "checkpoints"
        for name in ("step-00000003", "step-00000004.tmp-1f", "step-00000005.damaged-2e"):
            (checkpoints / name).mkdir(parents=True)
        (checkpoints / "step-00000004.tmp-1f" / "manifest.json").write_text("{}")
        (checkpoints / "step-00000005.damaged-2e" / "manifest.json").write_text("{}")
        assert studio.resume_step(run_id) == 0
        leave_checkpoint(home / "runs" / run_id / "b", step=2)
        assert studio.resume_step(run_id) == 2

    def test_taken_out_at_the_moment_when_its_turn_comes_again(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        paused(studio, run_id)
        start(studio, "b")
        begin(trainer, "b")
        studio.resume(run_id)
        look = studio.resume_step

        def look_then_the_turn_comes(wanted: str) -> int:
            trainer.let_go("b")
            begin(trainer, "a", lives=2)
            return look(wanted)

        monkeypatch.setattr(studio, "resume_step", look_then_the_turn_comes)
        assert studio.pause(run_id)
        until(lambda: studio.silent_seconds(run_id) is None, "the end of its last life")
        assert status_of(studio, run_id) is RunStatus.PAUSED
        assert trainer.outcome["a"] == "paused", "it is shown as paused, and trains on"


class TestFailures:
    @pytest.fixture
    def run_with(self, open_manager: OpenManager, start: Callable[..., str]) -> Callable[..., Run]:
        """`run_with({"a": error})`: the ended run of models a and b, of which a fails."""

        def run_failing(failing: dict[str, Exception], *models: str) -> Run:
            studio = open_manager(build_service=services_with(MockModelTrainer(failing)))
            return end_of(studio, start(studio, *models))

        return run_failing

    def test_a_model_that_fails_is_named_with_its_reason(self, run_with: Callable[..., Run], home: Path) -> None:
        run = run_with({"b": TrainingError("It would not learn.")}, "a", "b", "c")
        assert run.status is RunStatus.COMPLETED_WITH_FAILURES
        assert run.error == "b: It would not learn."
        models = ProgressReader(database_path(home)).models(run.id)
        assert [model.name for model in models] == ["c", "a"]

    def test_when_the_only_model_fails_its_reason_is_the_runs(self, run_with: Callable[..., Run]) -> None:
        run = run_with({"a": TrainingError("It would not learn.")}, "a")
        assert (run.status, run.error) == (RunStatus.FAILED, "It would not learn.")
        assert "Traceback" in (run.error_details or "")
        assert "train_model" in (run.error_details or ""), "the details say where"

    def test_when_all_fail_each_is_named_and_the_details_say_where(self, run_with: Callable[..., Run]) -> None:
        run = run_with({"a": TrainingError("Too hot."), "b": KeyError("cold")}, "a", "b")
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.startswith("No model could be trained.")
        assert "a: Too hot." in run.error
        assert "b: Something unexpected went wrong: KeyError: 'cold'" in run.error
        assert "train_model" in (run.error_details or ""), "the details say where"

    def test_a_loss_that_is_no_number_is_told_apart(self, run_with: Callable[..., Run]) -> None:
        run = run_with({"a": Diverged("The loss stopped being a number at step 3.")}, "a")
        assert (run.status, run.error) == (RunStatus.DIVERGED, "The loss stopped being a number at step 3.")

    def test_without_data_nothing_is_trained(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        def build(context: RunContext) -> TrainingService:
            loader = MockDatasetLoader(unavailable=frozenset(context.config.dataset_sources))
            return TrainingService(context.emitter, loader, trainer, context.config)

        studio = open_manager(build_service=build)
        run = end_of(studio, start(studio, "a"))
        assert (run.status, run.error) == (RunStatus.FAILED, "No dataset could be had.")
        assert trainer.order == []

    @pytest.mark.parametrize(
        "error",
        [
            KeyError("x"),
            SystemExit(3),
            KeyboardInterrupt(),
            asyncio.CancelledError(),
            MemoryError(),
            OSError(28, "No space left on device"),
            ValueError("x" * 1_000_000),
            DataError("caf\udce9.txt holds no text."),  # a file's name in another encoding
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("where", ["build", "train"])
    def test_whatever_is_raised_the_run_ends_and_the_next_one_comes(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        error: BaseException,
        where: str,
    ) -> None:
        class RaisingTrainer(MockModelTrainer):
            async def train_model(self, *_: Any) -> dict[str, Any]:
                raise error

        def build(context: RunContext) -> TrainingService:
            if context.model_names == ["good"]:
                return services_with(trainer)(context)
            if where == "build":
                raise error
            return services_with(RaisingTrainer())(context)

        trainer.let_all_go()
        studio = open_manager(build_service=build)
        bad, good = start(studio, "bad"), start(studio, "good")
        assert end_of(studio, good).status is RunStatus.COMPLETED
        run = end_of(studio, bad)
        assert run.status is RunStatus.FAILED
        assert run.error

    def test_of_a_run_that_failed_before_it_began_the_message_is_not_that_it_gets_ready(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        def build(_: RunContext) -> TrainingService:
            raise StorageError("The folder is gone.")

        studio = open_manager(build_service=build)
        run = end_of(studio, start(studio, "a"))
        assert run.error == "The folder is gone."
        assert run.message != "Getting ready"

    def test_a_model_name_that_cannot_be_written_harms_no_other_run(
        self, home: Path, tiny_config: TrainingConfig, start: Callable[..., str]
    ) -> None:
        studio = RunManager(home, executor="thread", build_service=services_with(MockModelTrainer()))
        with suppress(ConfigError):  # it may as well be refused
            studio.start(tiny_config, "bad", ["half a character \ud800"])
        good = start(studio, "good")
        assert end_of(studio, good).status is RunStatus.COMPLETED
        studio.close()


class TestStorageErrors:
    def test_one_during_training_fails_the_run_and_not_the_manager(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        class FullDiskEmitter(MockProgressEmitter):
            async def emit_progress(self, progress: TrainingProgress) -> None:
                if progress.step == 2:
                    raise StorageError(DISK_FULL)

        def build(context: RunContext) -> TrainingService:
            emitter = FullDiskEmitter() if context.model_names == ["bad"] else context.emitter
            return TrainingService(emitter, MockDatasetLoader(), MockModelTrainer(), context.config)

        studio = open_manager(build_service=build)
        bad, good = start(studio, "bad"), start(studio, "good")
        run = end_of(studio, bad)
        assert (run.status, run.error) == (RunStatus.FAILED, DISK_FULL)
        assert studio.log.models(bad) == []
        assert end_of(studio, good).status is RunStatus.COMPLETED

    @pytest.mark.parametrize("length_of_details", [0, 20_000])
    def test_a_full_disk_fails_the_run_and_the_next_one_goes_once_there_is_room(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        length_of_details: int,
    ) -> None:
        writers: list[DatabaseWriter] = []

        class KnownWriter(DatabaseWriter):
            def __init__(self, path: Path) -> None:
                super().__init__(path)
                writers.append(self)

        def limit_size(more_pages: int) -> None:
            """SQLite's own limit, which is its connection's: it then says what it says on a full disk."""

            def limit(db: Database) -> None:
                pages = db.execute("PRAGMA page_count").fetchone()[0]
                db.execute(f"PRAGMA max_page_count = {pages + more_pages}").fetchone()

            writers[0].call(limit)

        studio: RunManager

        def build(context: RunContext) -> TrainingService:
            if context.model_names == ["good"]:
                return services_with(trainer)(context)
            limit_size(0)
            try:
                for number in range(10):  # refused with the first commit, told at the next append
                    context.record(Event("info", "x" * 100_000, "a", number))
                    studio.log.claim("no such run")
            except StorageError as error:
                raise error from ValueError("x" * length_of_details)
            raise AssertionError("the disk was never full")

        trainer.let_all_go()
        monkeypatch.setattr(progress_log, "DatabaseWriter", KnownWriter)
        studio = open_manager(build_service=build, timing=Timing(retry=0.01))
        write, end_was_tried = studio.log.set_status, threading.Event()

        def write_and_say_so(*values: Any, **columns: Any) -> bool:
            try:
                return write(*values, **columns)
            finally:
                end_was_tried.set()

        monkeypatch.setattr(studio.log, "set_status", write_and_say_so)
        bad = start(studio, "bad")
        assert end_was_tried.wait(LONG)
        limit_size(10_000)
        run = end_of(studio, bad)
        assert (run.status, run.error) == (RunStatus.FAILED, DISK_FULL)
        assert end_of(studio, start(studio, "good")).status is RunStatus.COMPLETED

    @pytest.mark.parametrize("the_next_claim_too", [False, True])
    def test_an_end_that_cannot_be_written_at_once_does_not_block_the_queue(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        the_next_claim_too: bool,
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), timing=Timing(retry=0.01))
        first, second = start(studio, "a"), start(studio, "b")
        begin(trainer, "a")
        write, claim, refused = studio.log.set_status, studio.log.claim, list[str]()

        def refuse_once(what: str) -> None:
            if what not in refused:
                refused.append(what)
                raise StorageError("The database refused (database is locked).")

        def set_status(run_id: str, status: RunStatus, **columns: Any) -> bool:
            if status is RunStatus.COMPLETED:
                refuse_once("the end")
            return write(run_id, status, **columns)

        def claim_for_execution(run_id: str) -> bool:
            if the_next_claim_too:
                refuse_once("the claim")
            return claim(run_id)

        monkeypatch.setattr(studio.log, "set_status", set_status)
        monkeypatch.setattr(studio.log, "claim", claim_for_execution)
        trainer.let_all_go()
        assert end_of(studio, first).status is RunStatus.COMPLETED
        assert end_of(studio, second).status is RunStatus.COMPLETED
        assert refused

    @pytest.mark.parametrize(
        ("ask", "end"),
        [
            (RunManager.pause, RunStatus.PAUSED),
            (RunManager.stop, RunStatus.STOPPED),
            (RunManager.cancel, RunStatus.CANCELLED),
        ],
    )
    def test_what_was_asked_of_a_run_was_heard_though_it_cannot_be_written(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        ask: Callable[[RunManager, str], bool],
        end: RunStatus,
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        write = studio.log.set_status

        def set_status(run_id: str, status: RunStatus, **columns: Any) -> bool:
            if status.is_active:
                raise StorageError("The database is locked by another program.")
            return write(run_id, status, **columns)

        monkeypatch.setattr(studio.log, "set_status", set_status)
        assert ask(studio, run_id)
        assert studio.wait(run_id, LONG)
        assert studio.log.run(run_id).status is end

    def test_what_waits_is_not_said_to_be_taken_out_when_that_cannot_be_written(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        start(studio, "a")
        begin(trainer, "a")
        waits = start(studio, "b")

        def refuse(*_: Any, **__: Any) -> bool:
            raise StorageError("The database is locked by another program.")

        with monkeypatch.context() as locked:
            locked.setattr(studio.log, "set_status", refuse)
            for ask in (studio.pause, studio.stop, studio.cancel):
                with pytest.raises(StorageError, match="locked"):
                    ask(waits)
        trainer.let_all_go()
        assert end_of(studio, waits).status is RunStatus.COMPLETED

    @pytest.mark.parametrize("how", ["opened", "started", "resumed", "a sweep"])
    def test_a_run_that_cannot_be_claimed_waits_that_is_said_and_it_begins_once_it_can(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        tiny_config: TrainingConfig,
        monkeypatch: pytest.MonkeyPatch,
        how: str,
    ) -> None:
        def open_studio() -> RunManager:
            return open_manager(build_service=services_with(trainer), timing=Timing(heartbeat=0.01))

        log = ProgressLog(database_path(home))
        if how == "opened":
            add_waiting(log, home, tiny_config, "a")
        if how == "resumed":
            add_waiting(log, home, tiny_config, "a")
            log.claim("a")
            log.set_status("a", RunStatus.PAUSED)
        log.close()
        full, claim = threading.Event(), ProgressLog.claim
        full.set()

        def claim_where_there_is_room(log: ProgressLog, run_id: str) -> bool:
            if full.is_set():
                raise DiskFull(DISK_FULL)
            return claim(log, run_id)

        monkeypatch.setattr(ProgressLog, "claim", claim_where_there_is_room)
        studio = open_studio()
        match how:
            case "started":
                start(studio, "a")
            case "resumed":
                studio.resume("a")
            case "a sweep":
                studio.start_sweep(Sweep(tiny_config, {"seed": "1, 2"}), "a")
        waiting = studio.log.queued_run_ids()
        assert waiting and studio.none_begins == DISK_FULL
        full.clear()
        trainer.let_all_go()
        for run_id in waiting:
            assert end_of(studio, run_id).status is RunStatus.COMPLETED
        until(lambda: studio.none_begins is None)

    @pytest.mark.parametrize("error", [StorageError(DISK_FULL), OSError(28, "No space left on device"), RuntimeError()])
    def test_whatever_goes_wrong_once_it_was_claimed_the_run_fails_and_the_next_one_comes(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        def refuse(*_: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(manager_module, "tracking_of", refuse)
            bad = end_of(studio, start(studio, "bad"))
        assert bad.status is RunStatus.FAILED and bad.error
        trainer.let_all_go()
        assert end_of(studio, start(studio, "good")).status is RunStatus.COMPLETED

    def test_the_heartbeat_outlasts_one_refusal(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        write, calls = ProgressLog.set_coordination, list[str]()

        def refuse_the_second(log: ProgressLog, key: str, value: dict[str, Any]) -> None:
            calls.append(key)
            if len(calls) == 2:
                raise StorageError("The database refused (database is locked).")
            write(log, key, value)

        monkeypatch.setattr(ProgressLog, "set_coordination", refuse_the_second)
        open_manager(build_service=services_with(trainer), timing=Timing(heartbeat=0.01))
        until(lambda: len(calls) >= 4, "four heartbeats")


class TestClosing:
    def test_what_trains_is_paused_and_interrupted_and_what_waits_is_taken_up_by_the_next(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        studio = open_manager(build_service=services_with(trainer))
        first, second = start(studio, "a"), start(studio, "b")
        begin(trainer, "a")
        studio.close()

        reader = ProgressReader(database_path(home))
        run = reader.run(first)
        assert run.status is RunStatus.INTERRUPTED
        assert "closed" in run.message
        assert (run.error, run.finished_at is None) == (None, False)
        assert trainer.outcome == {"a": "paused"}, "a checkpoint was asked for"
        assert reader.models(first) == [], "it goes on later: there is no model yet"
        assert reader.run(second).status is RunStatus.QUEUED
        assert trainer.order == ["a"]

        trainer.let_all_go()
        again = open_manager(build_service=services_with(trainer))
        assert end_of(again, second).status is RunStatus.COMPLETED
        assert again.log.run(first) == run
        assert trainer.order == ["a", "b"], "only a person has an interrupted run go on"
        assert again.resume_step(first) == 5
        again.resume(first)
        assert end_of(again, first).status is RunStatus.COMPLETED
        assert [model.name for model in again.log.models(first)] == ["a"]

    def test_a_run_without_a_service_yet_is_interrupted_and_never_begins(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        build = BlockedBuild(trainer)
        studio = open_manager(build_service=build)
        run_id = start(studio, "a")
        assert build.begun.wait(LONG)
        closing = beside(studio.close)
        until(lambda: build.context and build.context.interruption is PauseRequested, "the call for a checkpoint")
        build.let_go.set()
        closing.result(LONG)
        run = ProgressReader(database_path(home)).run(run_id)
        assert run.status is RunStatus.INTERRUPTED
        assert trainer.order == []
        assert ReadOnlyManager(home).resume_step(run_id) == 0, "nothing was trained"

    def test_a_run_that_completes_meanwhile_is_completed_and_a_cancelled_one_cancelled(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        trainer.deaf = True
        studio = open_manager(build_service=services_with(trainer))
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.cancel(run_id)
        asked = threading.Event()
        monkeypatch.setattr(TrainingService, "interrupt", lambda *_: asked.set())
        closing = beside(studio.close)
        assert asked.wait(LONG)
        trainer.let_all_go()
        closing.result(LONG)
        assert ProgressReader(database_path(home)).run(run_id).status is RunStatus.CANCELLED

    def test_takes_no_longer_for_several_runs_than_for_one(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # The rule (docs, reliability): asked to end, the server is gone within 10 s.
        now, join = [0.0], threading.Thread.join

        def join_without_waiting(thread: threading.Thread, timeout: float | None = None) -> None:
            if thread.name.startswith("run-"):
                now[0] += timeout or 0.0
            else:
                join(thread, timeout)

        trainer.deaf = True
        timing = Timing(clock=lambda: now[0])
        studio = open_manager(build_service=services_with(trainer), max_parallel=3, timing=timing)
        for name in "abc":
            start(studio, name)
            begin(trainer, name)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "join", join_without_waiting)
            studio.close()
        trainer.let_all_go()
        assert timing.close <= now[0] < 10

    def test_a_run_that_outlasts_closing_ends_its_thread_and_is_interrupted_at_the_next_start(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
    ) -> None:
        trainer.deaf = True
        studio = open_manager(build_service=services_with(trainer), timing=Timing(close=0.0))
        run_id = start(studio, "a")
        begin(trainer, "a")
        thread = next(thread for thread in threading.enumerate() if thread.name == f"run-{run_id}")
        studio.close()
        again = open_manager(build_service=services_with(trainer))
        interrupted = again.log.run(run_id)
        assert interrupted.status is RunStatus.INTERRUPTED
        trainer.let_all_go()
        thread.join(LONG)
        assert not thread.is_alive(), "it waits for a database that is closed"
        assert again.log.run(run_id) == interrupted

    def test_a_start_after_closing_is_refused_and_does_not_hang(
        self, studio: RunManager, start: Callable[..., str]
    ) -> None:
        studio.close()
        with pytest.raises((RunError, StorageError), match="closed"):
            beside(lambda: start(studio, "late")).result(LONG)

    def test_who_waits_for_a_queued_run_is_not_kept_waiting(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        start(studio, "a")
        run_id = start(studio, "b")
        begin(trainer, "a")
        read, looked = studio.log.run, threading.Event()

        def read_and_say_so(wanted: str) -> Run:
            run = read(wanted)
            if wanted == run_id:
                looked.set()
            return run

        monkeypatch.setattr(studio.log, "run", read_and_say_so)
        waiting = beside(lambda: studio.wait(run_id))
        assert looked.wait(LONG)
        studio.close()
        assert not waiting.result(LONG), "it has not ended: the next start takes it up"

    def test_may_be_repeated(self, studio: RunManager) -> None:
        studio.close()
        studio.close()

    def test_in_another_thread_lets_the_folder_go_too(self, open_manager: OpenManager, trainer: PatientTrainer) -> None:
        # As the server does: opened in its event loop, closed in a thread beside it.
        studio = open_manager(build_service=services_with(trainer))
        studio.close()
        open_manager(build_service=services_with(trainer))


class TestOpening:
    @pytest.mark.parametrize("what", ["interrupt_unfinished", "unfinished_runs", "workers"])
    def test_that_fails_lets_the_folder_go(
        self, open_manager: OpenManager, trainer: PatientTrainer, home: Path, tiny_config: TrainingConfig, what: str
    ) -> None:
        log = ProgressLog(database_path(home))
        for run_id in "ab":
            add_waiting(log, home, tiny_config, run_id)
        log.claim("b")  # interrupted: its worker is looked for
        log.close()
        whose = next(each for each in (RunManager, ProgressLog, manager_module) if hasattr(each, what))
        trainer.let_all_go()

        def refuse(*_: Any) -> None:
            raise StorageError("The database is locked by another program.")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(whose, what, refuse)
            with pytest.raises(StorageError, match="locked"):
                open_manager(build_service=services_with(trainer))
        assert "heartbeat" not in [thread.name for thread in threading.enumerate()]
        assert end_of(open_manager(build_service=services_with(trainer)), "a").status is RunStatus.COMPLETED

    def test_on_a_full_disk_what_was_interrupted_is_written_with_the_reserve(
        self, open_manager: OpenManager, trainer: PatientTrainer, home: Path, tiny_config: TrainingConfig
    ) -> None:
        log = ProgressLog(database_path(home))
        add_waiting(log, home, tiny_config, "a")
        log.claim("a")
        log.close()
        interrupt = ProgressLog.interrupt_unfinished

        def where_there_is_room(log: ProgressLog) -> list[str]:
            if (home / "reserve").exists():
                raise DiskFull(DISK_FULL)
            return interrupt(log)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ProgressLog, "interrupt_unfinished", where_there_is_room)
            studio = open_manager(build_service=services_with(trainer))
        assert status_of(studio, "a") is RunStatus.INTERRUPTED

    def test_runs_of_a_process_that_was_killed_are_interrupted(
        self, open_manager: OpenManager, trainer: PatientTrainer, home: Path, tiny_config: TrainingConfig
    ) -> None:
        log = ProgressLog(database_path(home))
        for run_id in ("preparing", "training", "waiting"):
            add_waiting(log, home, tiny_config, run_id)
        assert log.claim("preparing")
        assert log.claim("training")
        log.set_progress("training", TrainingProgress(0.5, "Training", Phase.TRAINING, step=3, total_steps=5))
        log.record("training", StepMetrics("training", 3, 1.0, 1e-3, 1.0, 1.0, 10, 0.1, 0.3))
        log.close()

        trainer.let_all_go()
        studio = open_manager(build_service=services_with(trainer))
        for run_id in ("preparing", "training"):
            assert end_of(studio, run_id).status is RunStatus.INTERRUPTED
        assert studio.log.run("training").step == 3
        assert len(studio.log.metrics("training")) == 1
        assert end_of(studio, "waiting").status is RunStatus.COMPLETED
        assert trainer.order == ["waiting"]

    def test_a_second_manager_of_a_folder_is_refused_and_the_folder_and_its_owner_are_named(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        owner = rf"{re.escape(str(home))} \(process {os.getpid()}, since \d{{4}}-\d\d-\d\d \d\d:\d\d UTC\)\."
        with pytest.raises(RunError, match=rf"already running with the data folder {owner}"):
            RunManager(home)
        assert not status_of(studio, run_id).is_terminal
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED

    def test_after_closing_a_new_one_opens(self, open_manager: OpenManager, trainer: PatientTrainer) -> None:
        for _ in range(3):
            open_manager(build_service=services_with(trainer)).close()

    def test_a_database_that_cannot_be_opened_is_named_and_the_folder_let_go(
        self, open_manager: OpenManager, trainer: PatientTrainer, home: Path
    ) -> None:
        database_path(home).mkdir(parents=True)
        with pytest.raises(StorageError, match=re.escape(str(database_path(home)))):
            open_manager(build_service=services_with(trainer))
        database_path(home).rmdir()
        open_manager(build_service=services_with(trainer))

    def test_a_folder_that_cannot_be_made_is_named(self, home: Path) -> None:
        home.write_text("a file where the folder should be")
        with pytest.raises(StorageError, match=re.escape(str(home))):
            RunManager(home)

    def test_a_waiting_run_whose_settings_cannot_be_read_any_more_fails_alone(
        self, open_manager: OpenManager, trainer: PatientTrainer, home: Path, tiny_config: TrainingConfig
    ) -> None:
        # As after an update that has taken a setting away.
        log = ProgressLog(database_path(home))
        for run_id in ("old", "new"):
            add_waiting(log, home, tiny_config, run_id)
        settings = json.dumps({**json.loads(tiny_config.model_dump_json()), "a_setting_of_old": 1})
        log.close()
        change_database(database_path(home), "UPDATE runs SET config = ? WHERE id = 'old'", [settings])
        trainer.let_all_go()
        studio = open_manager(build_service=services_with(trainer))
        assert end_of(studio, "new").status is RunStatus.COMPLETED
        assert status_of(studio, "old") is RunStatus.FAILED

    @pytest.mark.parametrize(
        "update",
        [
            "UPDATE models SET details = json_set(details, '$.a_field_of_tomorrow', 1)",
            "UPDATE models SET details = json_remove(details, '$.capabilities')",
            "UPDATE runs SET data_report = '{\"fallback\": false}' WHERE name = 'a'",
        ],
        ids=["a field more", "a field less", "an older data report"],
    )
    def test_a_run_that_another_version_wrote_goes_on_or_fails_with_a_sentence_and_the_next_one_comes(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], update: str
    ) -> None:
        run_id = start(studio, "a", "b")
        trainer.let_go("a")
        begin(trainer, "b")
        paused(studio, run_id)
        change_database(studio.log.path, update)
        trainer.let_all_go()
        studio.resume(run_id)
        run = end_of(studio, run_id)
        assert run.status is RunStatus.COMPLETED or (run.status is RunStatus.FAILED and run.error)
        assert end_of(studio, start(studio, "next")).status is RunStatus.COMPLETED


class TestNames:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("", "Give the run a name"),
            (" \t\n", "Give the run a name"),
            ("x" * 81, r"The name has 81 characters; 80 fit"),
            ("one\ntwo", "cannot be shown"),
            ("NUL\0", "cannot be shown"),
            ("half \ud800", "cannot be shown"),
        ],
        ids=["empty", "space", "long", "line", "NUL", "half a character"],
    )
    def test_that_cannot_be_used_start_nothing(
        self, studio: RunManager, start: Callable[..., str], name: str, why: str
    ) -> None:
        with pytest.raises(ConfigError, match=why) as refusal:
            start(studio, name)
        assert list(refusal.value.problems) == ["name"]
        assert studio.log.runs() == []

    @pytest.mark.parametrize(
        "name",
        [
            "x" * 80,
            "../../etc/passwd",
            "'; DROP TABLE runs; --",
            "<script>",
            "=cmd",
            "🐢",
            "שלום",
            "CON",
            "👩‍👩‍👧‍👦",
            "می‌خواهم",
        ],
        ids=["80", "path", "SQL", "HTML", "formula", "emoji", "Hebrew", "device", "family", "Persian"],
    )
    def test_that_are_odd_are_kept_as_typed(
        self, studio: RunManager, tiny_config: TrainingConfig, trainer: PatientTrainer, home: Path, name: str
    ) -> None:
        run_id = studio.start(tiny_config, f"  {name} ", ["a"])
        begin(trainer, "a")
        run = studio.log.run(run_id)
        assert run.name == name
        assert Path(run.folder) == home / "runs" / run_id


class TestDeleteModel:
    def test_moves_its_files_to_the_trash_and_leaves_the_others(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a", "b"))
        models = {model.name: model.id for model in studio.log.models(run.id)}
        studio.delete_model(models["a"])
        assert [model.name for model in studio.log.models()] == ["b"]
        assert studio.log.artifacts(models["a"]) == []
        assert not (Path(run.folder) / "a").exists()
        kept = list((home / "trash").rglob("*.bin"))
        assert [path.read_bytes() for path in kept] == [b"a" * 1000]
        assert studio.store.path(studio.log.artifacts(models["b"])[0]["path"]).read_bytes() == b"b" * 1000
        assert studio.log.run(run.id) == run

    def test_an_unknown_or_deleted_model_is_told_as_a_sentence(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        model_id = studio.log.models(run.id)[0].id
        studio.delete_model(model_id)
        for gone in (model_id, "never"):
            with pytest.raises(RunError, match="There is no model with this address"):
                studio.delete_model(gone)

    def test_a_model_whose_files_are_gone_can_be_deleted(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        model = studio.log.models(run.id)[0]
        (Path(run.folder) / "a" / "weights.bin").unlink()
        (Path(run.folder) / "a").rmdir()
        studio.delete_model(model.id)
        assert studio.log.models() == []


class TestOutOfMemory:
    @pytest.fixture
    def memory_for(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainingConfig, int], None]:
        """`memory_for(config, size)`: from now on this computer has just the memory for this batch size."""

        def leave(config: TrainingConfig, batch_size: int) -> None:
            needed = estimate(config.model_copy(update={"batch_size": batch_size})).total_memory_bytes
            monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))

        return leave

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            OutOfMemory("The computer ran out of memory."),
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_batch_size_that_fits_is_named(
        self,
        open_manager: OpenManager,
        tiny_config: TrainingConfig,
        memory_for: Callable[[TrainingConfig, int], None],
        error: Exception,
    ) -> None:
        config = tiny_config.with_overrides({"batch_size": 16})
        memory_for(config, 5)
        studio = open_manager(build_service=services_with(MockModelTrainer({"a": error})))
        run = end_of(studio, studio.start(config, "a", ["a"]))
        assert (run.status, run.error, run.message) == (
            RunStatus.FAILED,
            "Out of memory: try batch size 5.",
            "Out of memory: try batch size 5.",
        )
        assert type(error).__name__ in (run.error_details or "")

    def test_when_not_even_one_fits_that_is_said(
        self, open_manager: OpenManager, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
        studio = open_manager(build_service=services_with(MockModelTrainer({"a": MemoryError()})))
        run = end_of(studio, start(studio, "a"))
        assert run.error == "Out of memory, at any batch size: choose a smaller model or training length."

    def test_a_process_that_the_system_ended_for_want_of_memory_gets_the_same_advice_and_can_be_resumed(
        self,
        open_manager: OpenManager,
        tiny_config: TrainingConfig,
        memory_for: Callable[[TrainingConfig, int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        killed = Outcome(RunStatus.CRASHED, "It was ended.", "It was ended.", "its last words", lacking="memory")
        monkeypatch.setattr(ThreadExecution, "run", lambda _: killed)
        memory_for(tiny_config, 1)
        studio = open_manager()
        run = end_of(studio, studio.start(tiny_config, "a", ["a"]))
        assert (run.status, run.error) == (RunStatus.CRASHED, "Out of memory: try batch size 1.")
        assert run.error_details == "its last words"
        assert run.status.can_resume


class TestDisk:
    @pytest.fixture
    def fill_disk(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        usage = shutil.disk_usage
        return lambda: monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=1000))

    def test_a_run_for_which_there_is_no_room_is_refused_with_what_it_needs(
        self, studio: RunManager, start: Callable[..., str], home: Path, fill_disk: Callable[[], None]
    ) -> None:
        fill_disk()
        with pytest.raises(DiskFull, match=r"The disk is full: this run.* needs [\d,.]+ MB and 0\.0 MB are free"):
            start(studio, "a")
        assert studio.log.runs() == []
        assert list(home.glob("runs/*")) == []

    def test_a_resume_for_which_there_is_no_room_is_refused_and_the_run_rests_on(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        fill_disk: Callable[[], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        run = paused(studio, run_id)
        fill_disk()
        with pytest.raises(DiskFull, match="The disk is full"):
            studio.resume(run_id)
        assert studio.log.run(run_id) == run
        monkeypatch.undo()
        studio.resume(run_id)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED

    def test_a_reserve_is_given_up_so_that_the_end_can_be_written_and_kept_again_later(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), timing=Timing(retry=0.01))
        reserve = home / "reserve"
        assert reserve.stat().st_size == RESERVE_BYTES
        write, refused = studio.log.set_status, list[RunStatus]()

        def write_where_there_is_room(run_id: str, status: RunStatus, **columns: Any) -> bool:
            if status.is_terminal and reserve.exists():
                refused.append(status)
                raise DiskFull(DISK_FULL)
            return write(run_id, status, **columns)

        monkeypatch.setattr(studio.log, "set_status", write_where_there_is_room)
        trainer.failing = True
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        assert refused == [RunStatus.FAILED]
        assert (run.status, run.error) == (RunStatus.FAILED, "It would not learn.")
        assert not reserve.exists()
        studio.close()
        open_manager(build_service=services_with(trainer))
        assert reserve.stat().st_size == RESERVE_BYTES


class TestRunFile:
    @pytest.fixture
    def kept(self, home: Path) -> Callable[[str], dict[str, Any]]:
        """What stands in a run's run.json."""
        return lambda run_id: json.loads((home / "runs" / run_id / "run.json").read_text())

    def test_is_there_as_soon_as_the_run_is(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        kept: Callable[[str], dict[str, Any]],
    ) -> None:
        ids = {name: start(studio, name) for name in "ab"}
        for name, run_id in ids.items():
            rows = kept(run_id)
            (run,) = rows["runs"]
            assert (run["id"], run["name"], run["model_names"]) == (run_id, name, json.dumps([name]))
            assert rows["models"] == rows["artifacts"] == []
        assert kept(ids["b"]) == studio.log.export_run(ids["b"])

    @pytest.mark.parametrize(
        "end", ["completed", "failed", "stopped", "cancelled", "paused", "cancelled while it waited"]
    )
    def test_says_how_the_run_ended(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        kept: Callable[[str], dict[str, Any]],
        end: str,
    ) -> None:
        trainer.failing = end == "failed"
        run_id, waiting = start(studio, "a"), start(studio, "waiting")
        begin(trainer, "a")
        if end == "cancelled while it waited":
            run_id = waiting
        match end.split()[0]:
            case "stopped":
                studio.stop(run_id)
            case "cancelled":
                studio.cancel(run_id)
            case "paused":
                studio.pause(run_id)
            case _:
                trainer.let_all_go()
        assert studio.wait(run_id, LONG)
        until(lambda: kept(run_id)["runs"][0]["status"] == end.split()[0])
        assert kept(run_id) == studio.log.export_run(run_id)
        assert len(kept(run_id)["models"]) == (end in ("completed", "stopped"))

    def test_says_that_a_run_was_interrupted(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        kept: Callable[[str], dict[str, Any]],
    ) -> None:
        studio = open_manager(build_service=services_with(trainer))
        run_id = start(studio, "a")
        begin(trainer, "a")
        studio.close()
        assert kept(run_id)["runs"][0]["status"] == RunStatus.INTERRUPTED

    def test_knows_what_was_deleted_and_put_back(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        kept: Callable[[str], dict[str, Any]],
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a", "b"))
        model_id = studio.log.models(run.id)[0].id
        studio.delete_model(model_id)
        assert [row["name"] for row in kept(run.id)["models"]] == ["a"]
        (entry,) = studio.trash.entries()
        studio.put_back(entry.id)
        assert sorted(row["name"] for row in kept(run.id)["models"]) == ["a", "b"]

    @pytest.mark.parametrize("refusal", [OSError(28, "No space left on device"), StorageError("It cannot be read.")])
    def test_without_it_a_run_goes_on_none_the_less(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        refusal: Exception,
    ) -> None:
        def refuse(*_: Any) -> None:
            raise refusal

        monkeypatch.setattr(manager_module, "write_run_file", refuse)
        trainer.let_all_go()
        assert end_of(studio, start(studio, "a")).status is RunStatus.COMPLETED


class TestCancelledFolders:
    def test_a_cancelled_run_leaves_the_finished_models_and_no_unfinished_one(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        run_id = start(studio, "a", "b")
        folder = home / "runs" / run_id
        trainer.let_go("a")
        begin(trainer, "b")
        paused(studio, run_id)
        assert (folder / "b" / "checkpoints").is_dir(), "what an earlier life left is no more wanted"
        studio.resume(run_id)
        begin(trainer, "b", lives=2)
        assert studio.cancel(run_id)
        assert end_of(studio, run_id).status is RunStatus.CANCELLED
        assert [path.name for path in folder.iterdir() if path.is_dir()] == ["a"]
        (model,) = studio.log.models(run_id)
        assert (model.name, model.status) == ("a", "completed")
        assert studio.store.path(studio.log.artifacts(model.id)[0]["path"]).read_bytes() == b"a" * 1000

    def test_a_stopped_model_outlasts_a_later_cancel(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.stop(run_id)
        assert end_of(studio, run_id).status is RunStatus.STOPPED
        studio.resume(run_id)
        begin(trainer, "a", lives=2)
        assert studio.cancel(run_id)
        assert end_of(studio, run_id).status is RunStatus.CANCELLED
        (model,) = studio.log.models(run_id)
        assert studio.store.path(studio.log.artifacts(model.id)[0]["path"]).is_file()

    def test_a_run_whose_folder_is_gone_is_cancelled_all_the_same(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        build = BlockedBuild(trainer)
        studio = open_manager(build_service=build)
        run_id = start(studio, "a")
        assert build.begun.wait(LONG)
        shutil.rmtree(home / "runs" / run_id)
        assert studio.cancel(run_id)
        build.let_go.set()
        run = end_of(studio, run_id)
        assert (run.status, run.error) == (RunStatus.CANCELLED, None)


class TestDeleteRun:
    @pytest.mark.parametrize("state", ["queued", "training", "pausing"])
    def test_one_that_waits_or_is_worked_on_is_refused(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path, state: str
    ) -> None:
        trainer.deaf = True
        run_id, waiting = start(studio, "a"), start(studio, "b")
        begin(trainer, "a")
        until(lambda: status_of(studio, run_id) is RunStatus.TRAINING)
        if state == "pausing":
            studio.pause(run_id)
        run_id = waiting if state == "queued" else run_id
        with pytest.raises(RunError, match=rf"^The run is going on \({state}\)\. Stop or cancel it first\.$"):
            studio.delete_run(run_id)
        assert status_of(studio, run_id) == state
        assert (home / "runs" / run_id).is_dir()
        assert studio.trash.entries() == []

    def test_one_whose_end_is_just_being_written_is_deleted_after_that(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As a program does that asks until it hears that the run has ended, and then deletes it."""
        write, deleted, refusals = studio.log.set_status, threading.Event(), list[str]()

        def delete(run_id: str) -> None:
            try:
                studio.delete_run(run_id)
            except RunError as error:
                refusals.append(str(error))
            deleted.set()

        def write_then_a_program_deletes(run_id: str, status: RunStatus, **columns: Any) -> bool:
            done = write(run_id, status, **columns)
            if status.is_terminal:
                threading.Thread(target=delete, args=(run_id,)).start()
                assert not deleted.wait(MOMENT), refusals
            return done

        monkeypatch.setattr(studio.log, "set_status", write_then_a_program_deletes)
        trainer.let_all_go()
        run_id = start(studio, "a")
        assert deleted.wait(LONG)
        until(lambda: f"run-{run_id}" not in [thread.name for thread in threading.enumerate()], "the end of its thread")
        assert refusals == []
        assert [entry.origin for entry in studio.trash.entries()] == [f"runs/{run_id}"]
        assert not (home / "runs" / run_id).exists(), "its end was written into a run that is in the trash"

    def test_moves_it_to_the_trash_and_harms_no_other(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        trainer.let_all_go()
        run, other = (end_of(studio, start(studio, name)) for name in "ab")
        kept = studio.log.export_run(other.id)
        studio.delete_run(run.id)
        with pytest.raises(RunError, match="There is no run with this address"):
            studio.log.run(run.id)
        assert [model.name for model in studio.log.models()] == ["b"]
        assert studio.log.export_run(run.id) == {"runs": [], "models": [], "artifacts": []}
        assert not (home / "runs" / run.id).exists()
        (entry,) = studio.trash.entries()
        assert (entry.kind, entry.name, entry.origin) == ("run", "a", f"runs/{run.id}")
        assert (home / "trash" / entry.id / "content" / "a" / "weights.bin").read_bytes() == b"a" * 1000
        assert studio.log.export_run(other.id) == kept
        with pytest.raises(RunError, match="There is no run with this address"):
            studio.delete_run(run.id)

    def test_put_back_it_is_there_again_with_its_models_files_and_curves(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=recording_service)
        run, other = end_of(studio, start(studio, "a", "b")), end_of(studio, start(studio, "other"))
        rows, figures, others = (
            studio.log.export_run(run.id),
            measured(studio.log, run.id),
            measured(studio.log, other.id),
        )
        assert all(figures.values()), "there is something to lose"
        studio.delete_run(run.id)
        assert [each.id for each in studio.log.runs()] == [other.id]
        (entry,) = studio.trash.entries()
        assert studio.put_back(entry.id) == entry
        assert studio.log.export_run(run.id) == rows
        assert measured(studio.log, run.id) == figures
        assert measured(studio.log, other.id) == others
        for model in studio.log.models(run.id):
            for file in studio.log.artifacts(model.id):
                content = studio.store.path(file["path"]).read_bytes()
                assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
        assert studio.trash.entries() == []
        with pytest.raises(RunError, match="no longer in the trash"):
            studio.put_back(entry.id)

    def test_removed_for_good_nothing_of_it_is_left(
        self, open_manager: OpenManager, start: Callable[..., str], home: Path
    ) -> None:
        studio = open_manager(build_service=recording_service)
        run, other = end_of(studio, start(studio, "a", "b")), end_of(studio, start(studio, "other"))
        others = measured(studio.log, other.id)
        model = studio.log.models(run.id)[0]
        studio.delete_model(model.id)
        studio.delete_run(run.id)
        for entry in studio.trash.entries():
            studio.remove_for_good(entry.id)
        assert not any(measured(studio.log, run.id).values())
        assert not studio.log.is_taken("runs", run.id) and not studio.log.is_taken("models", model.id)
        assert list((home / "trash").iterdir()) == []
        assert measured(studio.log, other.id) == others

    @pytest.mark.parametrize("times", [1, 2, 3])
    def test_of_which_something_cannot_be_removed_is_told_and_is_tried_again(
        self, open_manager: OpenManager, start: Callable[..., str], home: Path, times: int
    ) -> None:
        """`times`: at the how many-th file."""
        studio = open_manager(build_service=recording_service)
        run = end_of(studio, start(studio, "a"))
        studio.delete_run(run.id)
        (entry,) = studio.trash.entries()
        unlink, asked = os.unlink, list[str]()

        def refuse(path: Any, **of: Any) -> None:
            asked.append(path)
            if len(asked) == times:
                raise PermissionError(13, "Permission denied", path)
            unlink(path, **of)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            with pytest.raises(StorageError, match=r"^Not all files of a could be removed \(.*Permission denied"):
                studio.remove_for_good(entry.id)
        assert studio.trash.entries() == [entry], "what could not be removed is still there, and shown"
        with pytest.raises(RunError, match=r"^a cannot be put back: some of its files are already removed\.$"):
            studio.put_back(entry.id)
        assert studio.log.runs() == []
        studio.remove_for_good(entry.id)
        assert list((home / "trash").iterdir()) == []
        assert not studio.log.is_taken("runs", run.id)

    def test_that_was_deleted_leaves_no_folder_when_it_is_told_of_late(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        """What is written beside a run's files would stand where they are to be put back."""
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        studio.delete_run(run.id)
        write_run_file(studio.log, run.id, Path(run.folder))
        assert not Path(run.folder).exists()
        (entry,) = studio.trash.entries()
        studio.put_back(entry.id)
        assert studio.log.run(run.id) == run

    def test_of_which_the_rows_cannot_be_forgotten_stays_whole(
        self, open_manager: OpenManager, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        studio = open_manager(build_service=recording_service)
        run = end_of(studio, start(studio, "a"))
        files = sorted(Path(run.folder).rglob("*"))
        studio.delete_run(run.id)
        (entry,) = studio.trash.entries()

        def refuse(_: str) -> None:
            raise StorageError("The database is locked by another program.")

        with monkeypatch.context() as locked:
            locked.setattr(studio.log, "forget", refuse)
            with pytest.raises(StorageError, match="locked"):
                studio.remove_for_good(entry.id)
        studio.put_back(entry.id)
        assert sorted(Path(run.folder).rglob("*")) == files and files

    def test_is_emptied_though_somebody_else_empties_it_too(
        self, open_manager: OpenManager, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        studio = open_manager(build_service=recording_service)
        for name in ("first", "gone", "last"):
            studio.delete_run(end_of(studio, start(studio, name)).id)
        entries = studio.trash.entries()
        studio.remove_for_good(next(entry.id for entry in entries if entry.name == "gone"))
        monkeypatch.setattr(studio.trash, "entries", lambda: entries)  # as they were a moment ago
        assert studio.empty_trash() == 2

    def test_is_emptied_but_for_what_cannot_be_removed_and_that_is_told(
        self, open_manager: OpenManager, start: Callable[..., str], home: Path
    ) -> None:
        studio = open_manager(build_service=recording_service)
        for name in ("first", "stubborn", "last"):
            studio.delete_run(end_of(studio, start(studio, name)).id)
        stays = end_of(studio, start(studio, "stays"))
        (kept,) = [entry for entry in studio.trash.entries() if entry.name == "stubborn"]
        remove = studio.trash.remove

        def refuse(entry_id: str) -> None:
            if entry_id == kept.id:
                raise StorageError("The disk refuses.")
            remove(entry_id)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(studio.trash, "remove", refuse)
            with pytest.raises(StorageError, match=r"^1 of 3 items in the trash cannot be removed\. The disk"):
                studio.empty_trash()
        assert studio.trash.entries() == [kept]
        assert studio.empty_trash() == 1
        assert studio.empty_trash() == 0
        assert studio.trash.entries() == [] and list((home / "trash").iterdir()) == []
        assert [run.id for run in studio.log.runs()] == [stays.id] and Path(stays.folder).is_dir()

    @pytest.mark.parametrize("kind", ["run", "model"])
    def test_that_the_database_refuses_stays_where_it_is(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], monkeypatch: Any, kind: str
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        (model,) = studio.log.models(run.id)
        rows, there = studio.log.export_run(run.id), sorted(Path(run.folder).rglob("*"))

        def refuse(*_: Any) -> None:
            raise StorageError("The database is locked by another program.")

        monkeypatch.setattr(studio.log, "move_to_trash", refuse)
        with pytest.raises(StorageError, match="locked"):
            studio.delete_run(run.id) if kind == "run" else studio.delete_model(model.id)
        assert studio.trash.entries() == []
        assert (studio.log.export_run(run.id), sorted(Path(run.folder).rglob("*"))) == (rows, there)

    def test_on_a_full_disk_there_is_room_to_delete(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Else nobody could make room."""
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        reserve = home / "reserve"

        def where_there_is_room(write: Callable[..., Any]) -> Callable[..., Any]:
            def guarded(*values: Any) -> Any:
                if reserve.exists():
                    raise OSError(28, "No space left on device")
                return write(*values)

            return guarded

        monkeypatch.setattr(trash_module, "replace_durably", where_there_is_room(replace_durably))
        studio.delete_run(run.id)
        (entry,) = studio.trash.entries()
        studio.remove_for_good(entry.id)
        assert reserve.stat().st_size == RESERVE_BYTES
        assert studio.trash.entries() == []

    def test_a_model_that_has_no_files_is_put_back_too(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=services_with(MockModelTrainer()))
        run = end_of(studio, start(studio, "a"))
        before = studio.log.export_run(run.id)
        studio.delete_model(studio.log.models(run.id)[0].id)
        assert studio.log.models() == []
        (entry,) = studio.trash.entries()
        studio.put_back(entry.id)
        assert studio.log.export_run(run.id) == before

    def test_a_paused_run_that_was_put_back_goes_on(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        paused(studio, run_id)
        studio.delete_run(run_id)
        studio.put_back(studio.trash.entries()[0].id)
        assert studio.resume_step(run_id) == 5
        studio.resume(run_id)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED

    def test_a_model_whose_run_is_gone_is_not_put_back_until_its_run_is(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a", "b"))
        before = studio.log.export_run(run.id)
        model = next(model for model in studio.log.models() if model.name == "b")
        studio.delete_model(model.id)
        studio.delete_run(run.id)
        entries = {entry.kind: entry for entry in studio.trash.entries()}
        with pytest.raises(RunError, match="There is no run with this address"):
            studio.put_back(entries["model"].id)
        assert {entry.kind for entry in studio.trash.entries()} == {"run", "model"}
        assert studio.log.models() == []
        studio.put_back(entries["run"].id)
        assert [model.name for model in studio.log.models()] == ["a"]
        studio.put_back(entries["model"].id)
        assert studio.log.export_run(run.id) == before
        assert studio.store.path(studio.log.artifacts(model.id)[0]["path"]).read_bytes() == b"b" * 1000

    def test_a_model_is_not_put_back_over_one_that_was_trained_meanwhile(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.stop(run_id)
        end_of(studio, run_id)
        studio.delete_model(studio.log.models(run_id)[0].id)
        studio.resume(run_id)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED
        now = studio.log.export_run(run_id)
        with pytest.raises(RunError, match="something else lies where it lay"):
            studio.put_back(studio.trash.entries()[0].id)
        assert studio.log.export_run(run_id) == now
        assert len(studio.trash.entries()) == 1

    def test_what_was_never_in_the_trash_is_told_as_a_sentence(self, studio: RunManager) -> None:
        for entry_id in ("gone", "../runs", ""):
            with pytest.raises(RunError, match="no longer in the trash"):
                studio.put_back(entry_id)

    def test_a_run_that_is_resumed_while_it_is_deleted_does_one_of_both(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        paused(studio, run_id)
        put = studio.trash.put
        with ThreadPoolExecutor(1) as pool:
            resuming: list[Future[None]] = []

            def a_person_resumes_then_put(*values: Any) -> TrashEntry:
                resuming.append(pool.submit(studio.resume, run_id))
                with suppress(TimeoutError):  # it may have to wait until the deletion is done
                    resuming[0].exception(MOMENT)
                return put(*values)

            monkeypatch.setattr(studio.trash, "put", a_person_resumes_then_put)
            with suppress(RunError):
                studio.delete_run(run_id)
            error = resuming[0].exception(LONG)
        deleted = run_id not in [run.id for run in studio.log.runs()]
        if deleted:
            assert isinstance(error, RunError), "it was told that it goes on, and is in the trash"
            assert trainer.order == ["a"], "what is in the trash is trained"
        else:
            assert error is None
            assert (home / "runs" / run_id / "a" / "checkpoints").is_dir()


class TestCoordination:
    def test_tells_the_process_the_database_and_what_runs(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), timing=Timing(heartbeat=0.01))

        def record() -> dict[str, Any]:
            return studio.log.coordination(COORDINATION_KEY) or {}

        until(lambda: record() != {})
        assert (record()["pid"], record()["open"]) == (os.getpid(), True)
        assert record()["database"] == str(database_path(home))
        assert record()["active_runs"] == []
        run_id = start(studio, "a")
        start(studio, "waiting")
        begin(trainer, "a")
        until(lambda: record()["active_runs"] == [run_id])
        before = record()["updated_at"]
        until(lambda: record()["updated_at"] > before)

    def test_tells_when_the_studio_is_closed(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        start(studio, "a")
        begin(trainer, "a")
        studio.close()
        record = ProgressReader(database_path(home)).coordination(COORDINATION_KEY)
        assert record is not None
        assert record["open"] is False
        assert record["active_runs"] == []


class TestRealTraining:
    def test_a_whole_run_leaves_figures_for_each_step_and_files_that_are_what_they_say(
        self, manager: RunManager, tiny_config: TrainingConfig, home: Path
    ) -> None:
        run_id = manager.start(tiny_config, "Real", ["Real model"])
        manager.wait(run_id, LONG)
        run = manager.log.run(run_id)
        assert (run.status, run.error, run.progress) == (RunStatus.COMPLETED, None, 1.0)
        assert run.data_report is not None
        assert run.data_report["sources"][0]["name"] == "Synthetic"

        metrics = manager.log.metrics(run_id)
        assert [row["step"] for row in metrics] == list(range(1, tiny_config.max_steps + 1))
        for row in metrics:
            assert row["model_name"] == "Real model"
            figures = (
                "loss",
                "learning_rate",
                "grad_norm",
                "filtered_grad_norm",
                "seconds",
                "elapsed_seconds",
            )
            assert all(math.isfinite(row[figure]) and row[figure] > 0 for figure in figures)
            assert row["tokens"] > 0
        elapsed = [row["elapsed_seconds"] for row in metrics]
        assert elapsed == sorted(elapsed)
        evaluations = manager.log.evaluations(run_id)
        assert [row["step"] for row in evaluations] == [0, tiny_config.max_steps]
        assert all(row["loss"] > 0 and row["dataset"] == "Synthetic" for row in evaluations)
        assert [row["step"] for row in manager.log.samples(run_id)] == [0, tiny_config.max_steps]
        assert any("Checkpoint" in row["message"] for row in manager.log.events(run_id))

        model = manager.log.models(run_id)[0]
        assert (model.name, model.status) == ("Real model", "completed")
        assert model.details["training_stats"]["steps"] == tiny_config.max_steps
        files = manager.log.artifacts(model.id)
        kinds = {"weights", "config", "tokenizer", "training_config", "training_log", "model_card"}
        assert {file["kind"] for file in files} == kinds
        for file in files:
            content = (home / file["path"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
            assert content

    def test_paused_resumed_and_stopped_while_it_prepares_it_has_the_model_of_where_it_was(
        self, open_manager: OpenManager, tiny_config: TrainingConfig
    ) -> None:
        asked: list[Callable[[str], bool]] = []

        def build(context: RunContext) -> TrainingService:
            if asked:
                assert asked.pop()(context.run_id)
            return build_real_service(context)

        studio = open_manager(build_service=build)
        run_id = studio.start(tiny_config.with_overrides({"max_steps": 100_000, "save_steps": 100}), "a", ["a"])
        until(lambda: len(studio.log.metrics(run_id)) > 2, "some steps")
        paused(studio, run_id)
        step = studio.resume_step(run_id)
        asked.append(studio.stop)
        studio.resume(run_id)
        run = end_of(studio, run_id)
        assert (run.status, run.message) == (RunStatus.STOPPED, "Stopped and saved")
        (model,) = studio.log.models(run_id)
        assert model.status == "stopped" and step <= model.details["training_stats"]["steps"] <= step + 1

    def test_closing_in_the_midst_of_training_loses_no_step(
        self, open_manager: OpenManager, tiny_config: TrainingConfig, home: Path
    ) -> None:
        trained = threading.Event()
        seen: list[Record] = []

        def build(context: RunContext) -> TrainingService:
            record = context.record

            def watch(each: Record) -> None:
                record(each)
                seen.append(each)
                if isinstance(each, StepMetrics) and each.step >= 3:
                    trained.set()

            context.record = watch
            return build_real_service(context)

        studio = open_manager(build_service=build)
        run_id = studio.start(tiny_config.with_overrides({"max_steps": 1_000_000}), "Real", ["Real model"])
        assert trained.wait(LONG)
        studio.close()

        reader = ProgressReader(database_path(home))
        run = reader.run(run_id)
        assert run.status is RunStatus.INTERRUPTED
        assert reader.models(run_id) == []
        steps = [row["step"] for row in reader.metrics(run_id)]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= 3
        checkpoint = max((home / "runs" / run_id).glob("*/checkpoints/step-*"))
        assert load_checkpoint(checkpoint).state["step"] == steps[-1] == run.step
        assert ReadOnlyManager(home).resume_step(run_id) == steps[-1]
        assert len(reader.evaluations(run_id)) == sum(isinstance(each, Evaluation) for each in seen)
        assert len(reader.samples(run_id)) == sum(isinstance(each, Sample) for each in seen)


class TestCurrentManager:
    def test_is_one_for_all_threads_until_it_is_closed(self, home: Path) -> None:
        before = set(threading.enumerate())
        try:
            with ThreadPoolExecutor(10) as pool:
                managers = set(pool.map(lambda _: runs.current_manager(), range(10)))
            assert len(managers) == 1
            assert managers.pop().home == home
        finally:
            runs.close_manager()
            runs.close_manager()  # there is none any more
        assert set(threading.enumerate()) <= before

    def test_its_folder_is_the_users_own_unless_another_is_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COGNATE_HOME", "/somewhere/else")
        assert runs.default_home() == Path("/somewhere/else")
        monkeypatch.delenv("COGNATE_HOME")
        assert runs.default_home().name == "cognate-studio"
        assert runs.default_home().is_absolute()

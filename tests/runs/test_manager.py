"""The RunManager: every run ends in the right state, whatever is pressed or breaks, and whenever the studio closes.

Almost all runs here train nothing: a trainer that waits for the test stands in, so that each moment can be chosen.
"""

import asyncio
import hashlib
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlite_utils import Database

from cognate_core import runs
from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    Evaluation,
    Event,
    ModelTrainer,
    Phase,
    ProgressCallback,
    Record,
    RunStatus,
    Sample,
    StepMetrics,
    TrainingProgress,
)
from cognate_core.errors import (
    DISK_FULL,
    ConfigError,
    DataError,
    Diverged,
    RunError,
    StopRequested,
    StorageError,
    TrainingError,
)
from cognate_core.mocks import MockDatasetLoader, MockModelTrainer
from cognate_core.runs import manager as manager_module
from cognate_core.runs.manager import BuildService, RunContext, RunManager, build_real_service, database_path
from cognate_core.service import COORDINATION_KEY, TrainingService
from cognate_core.storage.progress_log import ProgressLog, ProgressReader, Run, SQLiteProgressEmitter

T = TypeVar("T")
OpenManager = Callable[..., RunManager]
ENOUGH_SECONDS = 5.0  # for what takes milliseconds on an idle computer


class PatientTrainer(ModelTrainer):
    """Trains each model until it is let go or interrupted, then writes one file. Says what happens to each model."""

    def __init__(self, deaf: bool = False) -> None:
        self.deaf = deaf  # hears of an interruption only when it is let go
        self.failing = False
        self.order: list[str] = []  # the models in the order in which they began
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
        with self._lock:
            self.order.append(name)
            self._training += 1
            self.most_at_once = max(self.most_at_once, self._training)
        self.began(name).set()
        status = "cancelled"
        try:
            status = self._train_until_let_go(name, progress_callback)
        finally:
            with self._lock:
                self._training -= 1
                self.outcome[name] = status
            self.ended(name).set()
        if self.failing:
            raise TrainingError("It would not learn.")
        folder = Path(config.output_dir) / name
        folder.mkdir(parents=True)
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
        emitter = SQLiteProgressEmitter(context.log, context.run_id, context.store)
        return TrainingService(emitter, MockDatasetLoader(), trainer, context.config)

    return build


class BlockedBuild:
    """A build_service that is still at it, as the first import of torch is, until it is let go."""

    def __init__(self, trainer: ModelTrainer) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self._build = services_with(trainer)

    def __call__(self, context: RunContext) -> TrainingService:
        self.begun.set()
        assert self.let_go.wait(60)
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


def within(seconds: float, function: Callable[[], T]) -> T:
    """What `function` gives. When it hangs, the test fails and does not hang with it."""
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001  (handed to the test)
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return outcome.result(seconds)


def end_of(manager: RunManager, run_id: str) -> Run:
    """The run once it has ended."""
    manager.wait(run_id, ENOUGH_SECONDS)
    run = manager.log.run(run_id)
    assert run.status.is_terminal, f"still {run.status}: {run.message}"
    assert run.finished_at is not None
    return run


def begin(trainer: PatientTrainer, name: str) -> None:
    assert trainer.began(name).wait(ENOUGH_SECONDS), f"{name} never began"


def until(condition: Callable[[], bool]) -> None:
    """For what raises no event, such as a row that another thread writes."""
    end = time.monotonic() + ENOUGH_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


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
        assert not studio.wait(run_id, timeout=0.02)
        trainer.let_go("a")
        assert studio.wait(run_id, ENOUGH_SECONDS)

    def test_no_thread_is_left_behind(self, home: Path, trainer: PatientTrainer, start: Callable[..., str]) -> None:
        before = set(threading.enumerate())
        studio = RunManager(home, build_service=services_with(trainer))
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
        assert build.begun.wait(ENOUGH_SECONDS)
        for each in ask:
            assert getattr(studio, each)(run_id)
        build.let_go.set()
        assert end_of(studio, run_id).status is outcome
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
        assert not studio.stop(run_id)
        assert not studio.cancel(run_id)
        assert studio.log.run(run_id) == ended

    def test_an_unknown_run_is_told_as_a_sentence(self, studio: RunManager) -> None:
        for ask in (studio.stop, studio.cancel):
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
            assert trainer.ended("b").wait(ENOUGH_SECONDS), "it is shown as cancelled, and trains on"
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
        assert build.begun.wait(ENOUGH_SECONDS)
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
        with ThreadPoolExecutor(1) as pool:
            # It would hear at the end of its timeout in any case: the test is that it hears at once.
            waiting = pool.submit(studio.wait, run_id, 3.0)
            assert looked.wait(ENOUGH_SECONDS)
            assert studio.cancel(run_id)
            assert waiting.result(1.5)


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
            emitter = SQLiteProgressEmitter(context.log, context.run_id, context.store)
            loader = MockDatasetLoader(unavailable=frozenset(context.config.dataset_sources))
            return TrainingService(emitter, loader, trainer, context.config)

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
            if context.log.run(context.run_id).name == "good":
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
        studio = RunManager(home, build_service=services_with(MockModelTrainer()))
        with suppress(ConfigError):  # it may as well be refused
            within(ENOUGH_SECONDS, lambda: studio.start(tiny_config, "bad", ["half a character \ud800"]))
        good = within(ENOUGH_SECONDS, lambda: start(studio, "good"))
        assert end_of(studio, good).status is RunStatus.COMPLETED
        within(ENOUGH_SECONDS, studio.close)


class TestStorageErrors:
    def test_one_during_training_fails_the_run_and_not_the_manager(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        class FullDiskEmitter(SQLiteProgressEmitter):
            async def emit_progress(self, progress: TrainingProgress) -> None:
                if progress.step == 2 and progress.message == "Training bad":
                    raise StorageError(DISK_FULL)
                await super().emit_progress(progress)

        def build(context: RunContext) -> TrainingService:
            emitter = FullDiskEmitter(context.log, context.run_id, context.store)
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
        def limit_size(log: ProgressLog, more_pages: int) -> None:
            """SQLite's own limit: it then says what it says on a full disk."""

            def limit(db: Database) -> None:
                pages = db.execute("PRAGMA page_count").fetchone()[0]
                db.execute(f"PRAGMA max_page_count = {pages + more_pages}").fetchone()

            log._writer.call(limit)

        def build(context: RunContext) -> TrainingService:
            if context.log.run(context.run_id).name == "good":
                return services_with(trainer)(context)
            limit_size(context.log, 0)
            try:
                for number in range(10):  # refused with the first commit, told at the next append
                    context.record(Event("info", "x" * 100_000, "a", number))
                    context.log.claim("no such run")
            except StorageError as error:
                raise error from ValueError("x" * length_of_details)
            raise AssertionError("the disk was never full")

        trainer.let_all_go()
        studio = open_manager(build_service=build)
        write, end_was_tried = studio.log.set_status, threading.Event()

        def write_and_say_so(*values: Any, **columns: Any) -> bool:
            try:
                return write(*values, **columns)
            finally:
                end_was_tried.set()

        monkeypatch.setattr(studio.log, "set_status", write_and_say_so)
        bad = start(studio, "bad")
        assert end_was_tried.wait(ENOUGH_SECONDS)
        limit_size(studio.log, 10_000)
        run = end_of(studio, bad)
        assert (run.status, run.error) == (RunStatus.FAILED, DISK_FULL)
        assert end_of(studio, start(studio, "good")).status is RunStatus.COMPLETED

    @pytest.mark.parametrize("the_next_claim_too", [False, True])
    def test_an_end_that_cannot_be_written_at_once_does_not_block_the_queue(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        the_next_claim_too: bool,
    ) -> None:
        monkeypatch.setattr(manager_module, "RETRY_SECONDS", 0.02, raising=False)
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

    def test_the_heartbeat_outlasts_one_refusal(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(manager_module, "HEARTBEAT_SECONDS", 0.01)
        write, calls = ProgressLog.set_coordination, list[str]()

        def refuse_the_second(log: ProgressLog, key: str, value: dict[str, Any]) -> None:
            calls.append(key)
            if len(calls) == 2:
                raise StorageError("The database refused (database is locked).")
            write(log, key, value)

        monkeypatch.setattr(ProgressLog, "set_coordination", refuse_the_second)
        open_manager(build_service=services_with(trainer))
        until(lambda: len(calls) >= 4)


class TestClosing:
    def test_what_trains_is_saved_and_interrupted_and_what_waits_is_taken_up_by_the_next(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        studio = open_manager(build_service=services_with(trainer))
        first, second = start(studio, "a"), start(studio, "b")
        begin(trainer, "a")
        studio.close()

        reader = ProgressReader(database_path(home))
        run = reader.run(first)
        assert run.status is RunStatus.INTERRUPTED
        assert "saved" in run.message
        assert [(model.name, model.status) for model in reader.models(first)] == [("a", "stopped")]
        assert reader.run(second).status is RunStatus.QUEUED
        assert trainer.order == ["a"]

        trainer.let_all_go()
        again = open_manager(build_service=services_with(trainer))
        assert end_of(again, second).status is RunStatus.COMPLETED
        assert again.log.run(first) == run
        assert trainer.order == ["a", "b"]

    def test_a_run_without_a_service_yet_is_interrupted_and_says_nothing_of_saving(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        build = BlockedBuild(trainer)
        studio = open_manager(build_service=build)
        run_id = start(studio, "a")
        assert build.begun.wait(ENOUGH_SECONDS)
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(studio.close)
            assert studio._closing.wait(ENOUGH_SECONDS)
            build.let_go.set()
            closing.result(ENOUGH_SECONDS)
        run = ProgressReader(database_path(home)).run(run_id)
        assert run.status is RunStatus.INTERRUPTED
        assert trainer.order == []
        assert "saved" not in run.message, "nothing was trained"

    def test_a_run_that_completes_meanwhile_is_completed_and_a_cancelled_one_cancelled(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        trainer.deaf = True
        studio = open_manager(build_service=services_with(trainer))
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.cancel(run_id)
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(studio.close)
            assert studio._closing.wait(ENOUGH_SECONDS)
            trainer.let_all_go()
            closing.result(ENOUGH_SECONDS)
        assert ProgressReader(database_path(home)).run(run_id).status is RunStatus.CANCELLED

    def test_takes_no_longer_for_several_runs_than_for_one(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # The rule (docs, reliability): asked to end, the server is gone within 10 s.
        monkeypatch.setattr(manager_module, "CLOSE_SECONDS", 0.5)
        trainer.deaf = True
        studio = open_manager(build_service=services_with(trainer), max_parallel=3)
        for name in "abc":
            start(studio, name)
            begin(trainer, name)
        began = time.monotonic()
        studio.close()
        seconds = time.monotonic() - began
        trainer.let_all_go()
        assert seconds < 2 * 0.5

    def test_a_run_that_outlasts_closing_ends_its_thread_and_is_interrupted_at_the_next_start(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(manager_module, "CLOSE_SECONDS", 0.05)
        trainer.deaf = True
        studio = open_manager(build_service=services_with(trainer))
        run_id = start(studio, "a")
        begin(trainer, "a")
        thread = next(thread for thread in threading.enumerate() if thread.name == f"run-{run_id}")
        studio.close()
        again = open_manager(build_service=services_with(trainer))
        interrupted = again.log.run(run_id)
        assert interrupted.status is RunStatus.INTERRUPTED
        trainer.let_all_go()
        thread.join(ENOUGH_SECONDS)
        assert not thread.is_alive(), "it waits for a database that is closed"
        assert again.log.run(run_id) == interrupted

    def test_a_start_after_closing_is_refused_and_does_not_hang(
        self, studio: RunManager, start: Callable[..., str]
    ) -> None:
        studio.close()
        with pytest.raises((RunError, StorageError), match="closed"):
            within(ENOUGH_SECONDS, lambda: start(studio, "late"))

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
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(studio.wait, run_id, 3.0)
            assert looked.wait(ENOUGH_SECONDS)
            studio.close()
            assert not waiting.result(1.5), "it has not ended: the next start takes it up"

    def test_may_be_repeated(self, studio: RunManager) -> None:
        studio.close()
        within(ENOUGH_SECONDS, studio.close)

    def test_in_another_thread_lets_the_folder_go_too(self, open_manager: OpenManager, trainer: PatientTrainer) -> None:
        # As the server does: opened in its event loop, closed in a thread beside it.
        studio = open_manager(build_service=services_with(trainer))
        within(ENOUGH_SECONDS, studio.close)
        open_manager(build_service=services_with(trainer))


class TestOpening:
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

    def test_a_second_manager_of_a_folder_is_refused_and_the_folder_named(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        with pytest.raises(RunError, match=rf"already running with the data folder {re.escape(str(home))}\."):
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
        log._writer.call(lambda db: db.execute("UPDATE runs SET config = ? WHERE id = 'old'", [settings]) and None)
        log.close()
        trainer.let_all_go()
        studio = open_manager(build_service=services_with(trainer))
        assert end_of(studio, "new").status is RunStatus.COMPLETED
        rows = studio.log._rows("SELECT status FROM runs WHERE id = 'old'")
        assert rows == [{"status": RunStatus.FAILED}]


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


class TestCoordination:
    def test_tells_the_process_the_database_and_what_runs(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(manager_module, "HEARTBEAT_SECONDS", 0.02)
        studio = open_manager(build_service=services_with(trainer))

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
        manager.wait(run_id, 60)
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

    def test_closing_in_the_midst_of_training_loses_no_step(
        self, open_manager: OpenManager, tiny_config: TrainingConfig, home: Path
    ) -> None:
        trained = threading.Event()
        seen: list[Record] = []

        class Watched(RunContext):
            def record(self, record: Record) -> None:
                super().record(record)
                seen.append(record)
                if isinstance(record, StepMetrics) and record.step >= 3:
                    trained.set()

        def build(context: RunContext) -> TrainingService:
            return build_real_service(Watched(context.run_id, context.config, context.log, context.store))

        studio = open_manager(build_service=build)
        run_id = studio.start(tiny_config.with_overrides({"max_steps": 1_000_000}), "Real", ["Real model"])
        assert trained.wait(60)
        studio.close()

        reader = ProgressReader(database_path(home))
        run = reader.run(run_id)
        assert run.status is RunStatus.INTERRUPTED
        model = reader.models(run_id)[0]
        steps = [row["step"] for row in reader.metrics(run_id)]
        assert steps == list(range(1, len(steps) + 1))
        assert steps[-1] == model.details["training_stats"]["steps"] >= 3
        assert model.status == "stopped"
        assert len(reader.evaluations(run_id)) == sum(isinstance(each, Evaluation) for each in seen)
        assert len(reader.samples(run_id)) == sum(isinstance(each, Sample) for each in seen)
        for file in reader.artifacts(model.id):
            assert hashlib.sha256((home / file["path"]).read_bytes()).hexdigest() == file["sha256"]


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

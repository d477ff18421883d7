"""The studio closes and opens at any moment, also after it was killed."""

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from cognate_core import runs
from cognate_core.config import TrainingConfig
from cognate_core.contracts import Phase, RunStatus, StepMetrics, TrainingProgress
from cognate_core.errors import DISK_FULL, DiskFull, PauseRequested, RunError, StorageError
from cognate_core.runs import scheduler
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.runs.timing import Timing
from cognate_core.service import COORDINATION_KEY, TrainingService
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from tests.runs.manager.patient import (
    BlockedBuild,
    OpenManager,
    PatientTrainer,
    add_waiting,
    begin,
    end_of,
    paused,
    services_with,
    status_of,
)
from tests.surgery import change_database
from tests.waiting import LONG, MOMENT, beside, until

pytestmark = pytest.mark.usefixtures("one_thread")


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
        whose = next(each for each in (RunManager, ProgressLog, scheduler) if hasattr(each, what))
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


def test_an_older_state_of_the_studio_is_never_written_after_a_newer_one(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()
    write = manager.log.set_coordination

    def slow_at_first(key: str, value: Mapping[str, Any]) -> None:
        if value.get("address") == "http://older":
            entered.set()
            assert go.wait(LONG)
        write(key, value)

    monkeypatch.setattr(manager.log, "set_coordination", slow_at_first)
    with ThreadPoolExecutor(2) as threads:
        older = threads.submit(manager.say_address, "http://older")
        assert entered.wait(LONG)
        newer = threads.submit(manager.say_address, "http://newer")
        wait([newer], MOMENT)  # it may have to wait for the older one
        go.set()
        for each in (older, newer):
            each.result(LONG)
    record = manager.log.coordination(COORDINATION_KEY)
    assert record is not None and record["address"] == "http://newer"

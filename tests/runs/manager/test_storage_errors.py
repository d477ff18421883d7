"""A database that refuses, and a disk that is full, lose no run."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from cognate_core.config import TrainingConfig
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import Event, RunStatus, TrainingProgress
from cognate_core.errors import DISK_FULL, DiskFull, StorageError
from cognate_core.runs import scheduler
from cognate_core.runs.execution import RunContext
from cognate_core.runs.home import RESERVE_BYTES, database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.timing import Timing
from cognate_core.service import TrainingService
from cognate_core.storage import progress_log
from cognate_core.storage.database import DatabaseWriter
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.testing import MockDatasetLoader, MockModelTrainer, MockProgressEmitter
from tests.runs.manager.patient import OpenManager, PatientTrainer, add_waiting, begin, end_of, paused, services_with
from tests.waiting import LONG, until

pytestmark = pytest.mark.usefixtures("one_thread")


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
            patch.setattr(scheduler, "tracking_of", refuse)
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

"""Stop keeps the model, cancel keeps nothing, at whatever moment they are pressed."""

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from cognate_core.contracts import RunStatus
from cognate_core.errors import RunError
from cognate_core.runs.manager import RunManager
from cognate_core.storage.rows import Run
from tests.runs.manager.patient import BlockedBuild, OpenManager, PatientTrainer, begin, end_of, paused, status_of
from tests.waiting import LONG, MOMENT, beside

pytestmark = pytest.mark.usefixtures("one_thread")


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
            with pytest.raises(RunError, match="There is no such run"):
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

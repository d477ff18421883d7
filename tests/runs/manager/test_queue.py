"""Runs begin in the order of the queue, each once, whoever presses how often."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Phase, RunStatus
from cognate_core.runs.manager import RunManager
from cognate_core.testing import MockModelTrainer
from tests.runs.manager.patient import (
    OpenManager,
    PatientTrainer,
    begin,
    end_of,
    leave_checkpoint,
    paused,
    services_with,
    status_of,
)
from tests.waiting import LONG, beside, until

pytestmark = pytest.mark.usefixtures("one_thread")


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
        assert (run.status, run.message) == (RunStatus.PAUSED, "Removed from the queue")
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

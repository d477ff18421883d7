"""A paused run goes on where it was, once at a time."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ProgressCallback, RunStatus
from cognate_core.errors import Diverged, PauseRequested, RunError, StorageError
from cognate_core.runs.execution import RunContext
from cognate_core.runs.manager import RunManager
from cognate_core.runs.timing import Timing
from cognate_core.service import TrainingService, seeds_from
from cognate_core.testing import MockModelTrainer
from tests.runs.manager.patient import (
    BlockedBuild,
    OpenManager,
    PatientTrainer,
    begin,
    end_of,
    paused,
    services_with,
    status_of,
)
from tests.waiting import LONG, until

pytestmark = pytest.mark.usefixtures("one_thread")


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

    def test_a_command_of_an_earlier_life_is_forgotten(
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

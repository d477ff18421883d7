"""Runs are queued, led through their life, and coloured."""

import json
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Origin, Phase, RunStatus, TimeEstimate
from cognate_core.errors import StorageError
from cognate_core.storage import progress_log
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import NewRun, check_rows
from tests.storage.progress_log.rows import DEFAULTS, HOSTILE, TERMINAL, add_run, bring_to, progress, settle


class TestCreateRun:
    def test_is_queued_and_comes_back_as_given(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        add_run(log, tiny_config, "r", name="Mine", model_names=["a", "b"], folder=Path("/data/runs/r"))
        run = log.run("r")
        assert (run.id, run.name, run.status) == ("r", "Mine", RunStatus.QUEUED)
        assert run.config == tiny_config
        assert run.model_names == ["a", "b"]
        assert run.folder == "/data/runs/r"
        assert run.progress == 0
        unknown = (run.step, run.total_steps, run.data_report, run.error, run.started_at, run.finished_at)
        assert unknown == (None,) * 6

    def test_one_start_key_makes_one_run(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        assert add_run(log, tiny_config, "r1", name="First press", start_key="key") == "r1"
        bring_to(log, "r1", RunStatus.COMPLETED)
        assert add_run(log, tiny_config, "r2", name="Second press", start_key="key") == "r1"
        assert [(run.id, run.name) for run in log.runs()] == [("r1", "First press")]

    def test_twenty_threads_with_one_start_key_make_one_run(
        self, log: ProgressLog, tiny_config: TrainingConfig
    ) -> None:
        together = threading.Barrier(20)

        def press(number: int) -> str:
            together.wait()
            return add_run(log, tiny_config, f"r{number}", start_key="key")

        with ThreadPoolExecutor(20) as pool:
            ids = set(pool.map(press, range(20)))
        assert ids == {run.id for run in log.runs()}
        assert len(ids) == 1

    def test_other_keys_and_no_key_make_runs_of_their_own(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        for number, key in enumerate(["a", "b", None, None]):
            add_run(log, tiny_config, f"r{number}", start_key=key)
        assert [run.id for run in log.runs()] == ["r3", "r2", "r1", "r0"]

    def test_a_second_run_with_the_same_id_is_refused(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        with pytest.raises(StorageError, match="UNIQUE"):
            add_run(log, tiny_config, run_id, name="Impostor")
        assert log.run(run_id).name == "First"

    def test_the_newest_come_first_and_the_queue_is_in_order(
        self, log: ProgressLog, tiny_config: TrainingConfig
    ) -> None:
        ids = [add_run(log, tiny_config, f"r{number}") for number in range(5)]
        assert log.claim("r1")
        assert [run.id for run in log.runs()] == ids[::-1]
        assert [run.id for run in log.runs(limit=2)] == ["r4", "r3"]
        assert log.queued_run_ids() == ["r0", "r2", "r3", "r4"]

    def test_all_are_listed_however_many_there_are(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        log.create_runs([NewRun(f"r{n}", "many", tiny_config, ["m"], Path("folder")) for n in range(620)])
        assert [run.id for run in log.runs()] == [f"r{n}" for n in reversed(range(620))]

    def test_those_of_some_statuses_alone(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        for number in range(6):
            add_run(log, tiny_config, f"r{number}")
        assert not log.is_busy()
        assert log.claim("r1") and log.claim("r3") and log.claim("r4")
        assert log.set_status("r3", RunStatus.FAILED) and log.set_status("r4", RunStatus.PAUSING)
        assert [run.id for run in log.runs(statuses=[RunStatus.FAILED, RunStatus.PREPARING])] == ["r3", "r1"]
        assert [run.id for run in log.runs(2, statuses=[RunStatus.QUEUED])] == ["r5", "r2"]
        assert log.runs(statuses=[]) == []
        log.move_in_queue("r5", -1)
        assert [run.id for run in log.unfinished_runs() if run.status is RunStatus.QUEUED] == ["r0", "r5", "r2"]
        assert {run.id for run in log.unfinished_runs()} == {"r0", "r1", "r2", "r4", "r5"}
        assert log.is_busy()

    def test_settings_are_validated_once(self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig) -> None:
        assert log.run(run_id).config == tiny_config
        assert log.run(run_id).config is log.run(run_id).config is log.runs()[0].config

    def test_a_clock_that_is_set_back_does_not_change_the_order(
        self, log: ProgressLog, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(3):
            monkeypatch.setattr(progress_log, "utc_now", lambda day=9 - number: f"2026-01-0{day}T00:00:00.000+00:00")
            add_run(log, tiny_config, f"r{number}")
        assert log.queued_run_ids() == ["r0", "r1", "r2"]
        assert [run.id for run in log.runs()] == ["r2", "r1", "r0"]


class TestOrigin:
    def test_comes_back_as_given(self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig) -> None:
        plain = log.run(run_id)
        assert (plain.parent_run_id, plain.relation, plain.branch_step, plain.time_estimate) == (None, None, None, None)
        figures: dict[str, Any] = dict.fromkeys((field.name for field in fields(TimeEstimate)), 1.5)
        time_estimate = TimeEstimate(**figures)
        add_run(log, tiny_config, "child", origin=Origin(run_id, "branch", 40), time_estimate=time_estimate)
        add_run(log, tiny_config, "twin", origin=Origin("gone", "twin"))
        child, twin = log.run("child"), log.run("twin")
        assert (child.parent_run_id, child.relation, child.branch_step) == (run_id, "branch", 40)
        assert child.time_estimate == asdict(time_estimate)
        assert (twin.parent_run_id, twin.relation, twin.branch_step) == ("gone", "twin", None)

    def test_outlives_the_parent_and_goes_through_json(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        add_run(log, tiny_config, "child", origin=Origin(run_id, "branch", 40))
        log.remove_run(run_id)
        before = log.run("child")
        rows = json.loads(json.dumps(log.export_run("child")))
        log.remove_run("child")
        log.import_rows(rows)
        assert log.run("child") == before and before.parent_run_id == run_id


def test_rows_with_a_column_of_earlier_versions_are_taken_up(log: ProgressLog, tiny_config: TrainingConfig) -> None:
    time_estimate = TimeEstimate(1.0, 2.0, 0.1, 10, 1000, 1, busy=False)
    add_run(log, tiny_config, "old", time_estimate=time_estimate)
    before, rows = log.run("old"), log.export_run("old")
    log.remove_run("old")
    rows["runs"][0]["quote"] = rows["runs"][0].pop("time_estimate")
    check_rows(rows)
    log.import_rows(rows)
    assert log.run("old") == before and before.time_estimate == asdict(time_estimate)


class TestColour:
    def test_is_the_next_one_and_stays(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        for name in "abc":
            add_run(log, tiny_config, name)
        log.remove_run("b")
        add_run(log, tiny_config, "d")
        assert {run.id: run.colour for run in log.runs()} == {"a": 0, "c": 2, "d": 3}

    @pytest.mark.parametrize("colour", [0, 1, None, "red", -3, 7])
    def test_of_a_run_that_is_taken_up_is_its_own_where_that_is_free(
        self, log: ProgressLog, tiny_config: TrainingConfig, colour: object
    ) -> None:
        for name in "abc":
            add_run(log, tiny_config, name)
        rows = log.export_run("b")
        log.remove_run("b")
        rows["runs"][0]["colour"] = colour
        log.import_rows(rows)
        colours = [run.colour for run in log.runs()]
        assert len(set(colours)) == 3
        if colour in (1, 7, -3):
            assert log.run("b").colour == colour


def test_a_run_has_another_name(log: ProgressLog, run_id: str, tiny_config: TrainingConfig) -> None:
    add_run(log, tiny_config, "other", name="Other")
    log.rename_run(run_id, HOSTILE["HTML"])
    assert (log.run(run_id).name, log.run("other").name) == (HOSTILE["HTML"], "Other")


class TestStatus:
    def test_a_run_is_claimed_once(self, log: ProgressLog, run_id: str) -> None:
        assert log.claim(run_id)
        run = log.run(run_id)
        assert run.status is RunStatus.PREPARING
        assert run.started_at is not None
        assert not log.claim(run_id)
        assert log.run(run_id) == run

    def test_twenty_threads_claim_a_run_once(self, log: ProgressLog, run_id: str) -> None:
        together = threading.Barrier(20)

        def claim(_: int) -> bool:
            together.wait()
            return log.claim(run_id)

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(claim, range(20))) == 1

    @pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.QUEUED])
    def test_only_a_queued_run_is_claimed(self, log: ProgressLog, run_id: str, status: RunStatus) -> None:
        bring_to(log, run_id, status)
        assert not log.claim(run_id)
        assert log.run(run_id).status is status

    @pytest.mark.parametrize("status", TERMINAL)
    def test_a_terminal_status_is_never_overwritten(self, log: ProgressLog, run_id: str, status: RunStatus) -> None:
        assert log.claim(run_id)
        assert log.set_status(run_id, status, message="This is the end", error="why")
        ended = log.run(run_id)
        assert (ended.status, ended.message, ended.error) == (status, "This is the end", "why")
        assert ended.finished_at is not None
        for other in set(RunStatus) - {RunStatus.QUEUED}:  # TestResume: that is what a person may ask for
            assert not log.set_status(run_id, other, message="Overwritten", error="other", error_details="more")
            assert log.run(run_id) == ended
        assert log.interrupt_unfinished() == []
        assert log.run(run_id) == ended

    def test_a_run_that_goes_on_has_no_end(self, log: ProgressLog, run_id: str) -> None:
        life = [RunStatus.PREPARING, RunStatus.TRAINING, RunStatus.PAUSING, RunStatus.STOPPING, RunStatus.CANCELLING]
        for status in life:
            assert log.set_status(run_id, status)
            assert log.run(run_id).status is status
            assert log.run(run_id).finished_at is None

    def test_other_runs_are_left_alone(self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig) -> None:
        assert log.claim(add_run(log, tiny_config, "other"))
        before = log.run("other")
        assert log.claim(run_id)
        log.set_progress(run_id, progress(Phase.TRAINING, step=3))
        log.set_message(run_id, "Hello")
        settle(log)
        assert log.set_status(run_id, RunStatus.FAILED, message="Failed")
        assert log.requeue(run_id)
        assert log.run("other") == before

    def test_of_an_unknown_run_there_is_nothing_to_change(self, log: ProgressLog) -> None:
        assert not log.set_status("gone", RunStatus.TRAINING)
        assert not log.claim("gone")


class TestResume:
    @pytest.mark.parametrize("status", [status for status in RunStatus if status.can_resume])
    def test_lets_a_run_wait_behind_the_others_as_if_nothing_had_gone_wrong(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig, status: RunStatus
    ) -> None:
        assert log.claim(run_id)
        log.set_progress(run_id, progress(Phase.TRAINING, progress=0.6, step=3, total_steps=5))
        settle(log)
        assert log.set_status(run_id, status, message="Oh", error="why", error_details="trace", worked_seconds=2.5)
        before = log.run(run_id)
        add_run(log, tiny_config, "waiting")
        assert log.requeue(run_id)
        run = log.run(run_id)
        assert (run.status, run.message) == (RunStatus.QUEUED, "Waiting for its turn")
        assert (run.error, run.error_details, run.finished_at) == (None, None, None)
        for kept in ("started_at", "created_at", "step", "total_steps", "progress", "worked_seconds", "config"):
            assert getattr(run, kept) == getattr(before, kept), kept
        assert run.started_at is not None
        assert log.queued_run_ids() == ["waiting", run_id]
        assert not log.requeue(run_id), "it waits already"

    @pytest.mark.parametrize("status", [status for status in RunStatus if not status.can_resume])
    def test_changes_nothing_where_there_is_nothing_to_go_on_with(
        self, log: ProgressLog, run_id: str, status: RunStatus
    ) -> None:
        bring_to(log, run_id, status)
        before = log.run(run_id)
        assert not log.requeue(run_id)
        assert log.run(run_id) == before

    def test_of_twenty_threads_succeeds_once(self, log: ProgressLog, run_id: str) -> None:
        bring_to(log, run_id, RunStatus.PAUSED)
        together = threading.Barrier(20)

        def requeue(_: int) -> bool:
            together.wait()
            return log.requeue(run_id)

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(requeue, range(20))) == 1

    def test_keeps_the_time_when_the_first_life_began(
        self, log: ProgressLog, run_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert log.claim(run_id)
        began = log.run(run_id).started_at
        assert log.set_status(run_id, RunStatus.PAUSED)
        assert log.run(run_id).finished_at is None, "a paused run has not ended"
        assert log.requeue(run_id)
        monkeypatch.setattr(progress_log, "utc_now", lambda: "2099-01-01T00:00:00.000+00:00")
        assert log.claim(run_id)
        assert log.run(run_id).started_at == began
        assert log.set_status(run_id, RunStatus.COMPLETED)
        assert log.run(run_id).finished_at == "2099-01-01T00:00:00.000+00:00"

    def test_the_seconds_of_all_lives_are_kept(self, log: ProgressLog, run_id: str) -> None:
        assert log.run(run_id).worked_seconds is None
        assert log.claim(run_id)
        assert log.set_status(run_id, RunStatus.PAUSED, worked_seconds=1.5)
        assert log.requeue(run_id)
        assert log.claim(run_id)
        assert log.run(run_id).worked_seconds == 1.5
        assert log.set_status(run_id, RunStatus.COMPLETED, worked_seconds=4.25)
        assert not log.set_status(run_id, RunStatus.FAILED, worked_seconds=0.0)
        assert log.run(run_id).worked_seconds == 4.25

    def test_of_an_unknown_run_is_no_error(self, log: ProgressLog) -> None:
        assert not log.requeue("gone")
        log.move_in_queue("gone", 1)


class TestQueue:
    @settings(max_examples=40)
    @given(
        actions=st.lists(
            st.tuples(st.sampled_from(["add", "move", "move", "move", "claim", "resume"]), st.integers(0, 9)).flatmap(
                lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(-4, 4))
            ),
            max_size=25,
        )
    )
    def test_keeps_the_order_of_a_list_whatever_is_done_to_it(self, actions: list[tuple[str, int, int]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = ProgressLog(Path(folder) / "studio.sqlite")
            queue: list[str] = []
            paused: list[str] = []
            try:
                for number, (action, index, places) in enumerate([("add", 0, 0)] * 3 + actions):
                    if action == "add":
                        queue.append(add_run(log, DEFAULTS, f"r{number}"))
                    elif action == "resume" and paused:
                        queue.append(paused.pop(index % len(paused)))
                        assert log.requeue(queue[-1])
                    elif action == "claim" and queue:
                        paused.append(queue.pop(index % len(queue)))
                        assert log.claim(paused[-1])
                        assert log.set_status(paused[-1], RunStatus.PAUSED)
                    elif action == "move" and queue:
                        here = index % len(queue)
                        log.move_in_queue(queue[here], places)
                        there = here + places
                        if 0 <= there < len(queue):
                            queue[here], queue[there] = queue[there], queue[here]
                    assert log.queued_run_ids() == queue, (action, index, places)
            finally:
                log.close()

    @pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.QUEUED])
    def test_has_no_place_for_a_run_that_does_not_wait(
        self, log: ProgressLog, tiny_config: TrainingConfig, status: RunStatus
    ) -> None:
        for run_id in ("a", "b", "c"):
            add_run(log, tiny_config, run_id)
        bring_to(log, "b", status)
        log.move_in_queue("b", 1)
        log.move_in_queue("a", 1)  # the next one that waits is c
        assert log.queued_run_ids() == ["c", "a"]

    def test_is_the_same_after_a_restart(self, path: Path, tiny_config: TrainingConfig) -> None:
        log = ProgressLog(path)
        for run_id in ("a", "b", "c"):
            add_run(log, tiny_config, run_id)
        log.move_in_queue("c", -2)
        log.close()
        again = ProgressLog(path)
        assert again.queued_run_ids() == ["c", "b", "a"]
        add_run(again, tiny_config, "d")
        assert again.queued_run_ids() == ["c", "b", "a", "d"]
        again.close()


class TestProgress:
    def test_is_shown_and_begins_training(self, log: ProgressLog, run_id: str) -> None:
        log.claim(run_id)
        log.set_progress(run_id, progress(Phase.DATASETS, "Fetching", progress=0.1))
        settle(log)
        run = log.run(run_id)
        assert (run.status, run.phase, run.message, run.progress) == (
            RunStatus.PREPARING,
            "Dataset Preparation",
            "Fetching",
            0.1,
        )
        log.set_progress(run_id, progress(Phase.TRAINING, "Training m", progress=0.6, step=3, total_steps=5))
        settle(log)
        run = log.run(run_id)
        assert (run.status, run.phase, run.step, run.total_steps) == (
            RunStatus.TRAINING,
            "Model Training",
            3,
            5,
        )

    @pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.PREPARING])
    def test_of_training_changes_no_other_status(self, log: ProgressLog, run_id: str, status: RunStatus) -> None:
        bring_to(log, run_id, status)
        log.set_progress(run_id, progress(Phase.TRAINING, step=1, total_steps=5))
        settle(log)
        assert log.run(run_id).status is status

    @pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.TRAINING])
    def test_of_another_phase_is_not_training(self, log: ProgressLog, run_id: str, phase: Phase) -> None:
        log.claim(run_id)
        log.set_progress(run_id, progress(phase))
        settle(log)
        assert log.run(run_id).status is RunStatus.PREPARING

    @pytest.mark.parametrize("within_one_commit", [False, True])
    def test_the_last_step_stays_known_at_the_end(self, log: ProgressLog, run_id: str, within_one_commit: bool) -> None:
        assert log.claim(run_id)  # so that the next commit is some time off
        log.set_progress(run_id, progress(Phase.TRAINING, step=5, total_steps=5))
        if not within_one_commit:
            settle(log)
        log.set_progress(run_id, progress(Phase.COMPLETE, "Training is complete", progress=1.0))
        settle(log)
        run = log.run(run_id)
        assert (run.message, run.progress) == ("Training is complete", 1.0)
        assert (run.step, run.total_steps) == (5, 5)

    def test_a_message_replaces_the_one_before(self, log: ProgressLog, run_id: str) -> None:
        assert log.claim(run_id)
        log.set_progress(run_id, progress(Phase.DATASETS, "Fetching"))
        for percent in range(100):
            log.set_message(run_id, f"Fetching, {percent} %")
        settle(log)
        assert log.run(run_id).message == "Fetching, 99 %"
        log.set_progress(run_id, progress(Phase.DATASETS, "Here"))
        settle(log)
        assert log.run(run_id).message == "Here"

    def test_that_comes_late_does_not_change_a_run_that_has_ended(self, log: ProgressLog, run_id: str) -> None:
        assert log.claim(run_id)
        log.set_progress(run_id, progress(Phase.COMPLETE, progress=1.0, step=5, total_steps=5))
        assert log.set_status(run_id, RunStatus.COMPLETED, message="The end")
        ended = log.run(run_id)
        log.set_progress(run_id, progress(Phase.TRAINING, "Training m", step=4, total_steps=5))
        log.set_message(run_id, "Fetching")
        settle(log)
        assert log.run(run_id) == ended

    def test_of_two_runs_is_kept_apart(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        for number in (1, 2):
            assert log.claim(add_run(log, tiny_config, f"r{number}"))
            log.set_progress(f"r{number}", progress(Phase.TRAINING, step=number))
        settle(log)
        assert [log.run(f"r{number}").step for number in (1, 2)] == [1, 2]

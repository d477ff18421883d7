"""The progress log: runs, models and figures come back as they went in, and a run that has ended stays as it ended."""

import asyncio
import hashlib
import json
import math
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DataReport,
    Evaluation,
    Event,
    ModelArtifacts,
    Origin,
    Phase,
    PonderHistogram,
    Quote,
    Record,
    Rewind,
    RunStatus,
    Sample,
    SourceReport,
    StepMetrics,
    TrainingProgress,
    utc_now,
)
from cognate_core.errors import RunError, StorageError
from cognate_core.storage import progress_log
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_emitter import SQLiteProgressEmitter
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import NewRun, TrainedModel
from tests.there import there

DEFAULTS = TrainingConfig()
TERMINAL = [status for status in RunStatus if status.is_terminal]
HOSTILE = {
    "SQL": "'; DROP TABLE runs; --\" OR 1=1",
    "emoji": "👩‍👩‍👧‍👦 🏴‍☠️ é́",
    "right to left": "\u202etxt.exe مرحبا שלום",
    "10,000 characters": "x😀" * 5000,
    "lines and NUL": "one\ntwo\r\n\tthree\0four",
    "HTML": "<script>alert(1)</script> & </b> ![x](javascript:1)",
    "formula": "=cmd|' /C calc'!A0",
    "path": "../../etc/passwd",
    "empty": "",
}
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studio.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[ProgressLog]:
    log = ProgressLog(path)
    yield log
    log.close()


@pytest.fixture
def run_id(log: ProgressLog, tiny_config: TrainingConfig) -> str:
    """A queued run."""
    return add_run(log, tiny_config, "run1")


def add_run(log: ProgressLog, config: TrainingConfig, run_id: str, **fields: Any) -> str:
    values = {
        "name": "First",
        "model_names": ["m"],
        "folder": Path("/home/runs/x"),
        "start_key": None,
        **fields,
    }
    return log.create_run(run_id=run_id, config=config, **values)


def settle(log: ProgressLog) -> None:
    """Everything written so far is visible now: a call comes after all rows that were appended before it."""
    log.claim("no such run")


def bring_to(log: ProgressLog, run_id: str, status: RunStatus) -> None:
    """Put a run where it may never come by its own life."""
    connection = sqlite3.connect(log.path, isolation_level=None)
    assert connection.execute("UPDATE runs SET status = ? WHERE id = ?", [status.value, run_id]).rowcount == 1
    connection.close()


def step_metrics(step: int, model_name: str = "m", **fields: Any) -> StepMetrics:
    values: dict[str, Any] = {
        "loss": 1.5,
        "learning_rate": 1e-3,
        "grad_norm": 0.5,
        "filtered_grad_norm": 0.7,
        "tokens": 100,
    }
    values |= {"seconds": 0.1, "elapsed_seconds": 0.1 * step, **fields}
    return StepMetrics(model_name=model_name, step=step, **values)


def progress(phase: Phase, message: str = "Going", **fields: Any) -> TrainingProgress:
    return TrainingProgress(fields.pop("progress", 0.5), message, phase, **fields)


def a_model(model_id: str, **fields: Any) -> ModelArtifacts:
    values: dict[str, Any] = {
        "model_name": "m",
        "phase_name": Phase.TRAINING,
        "parameter_count": 1234,
        "created_at": utc_now(),
        "training_status": "completed",
        "focus": "Synthetic",
        "training_mode": "GrokFast",
        "datasets_used": ["Synthetic"],
        "training_stats": {"steps": 5, "heldout_loss": {"Synthetic": 2.5}},
        "grokfast_enabled": True,
        "act_enabled": False,
        "ltm_enabled": False,
        "artifacts": {"weights": "runs/x/m/model.safetensors"},
        "capabilities": ["text generation"],
    }
    return ModelArtifacts(model_id=model_id, **{**values, **fields})


def a_file(kind: str, path: str = "runs/x/m/model.safetensors") -> dict[str, Any]:
    return {"kind": kind, "path": path, "bytes": 10, "sha256": "0" * 64}


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
        assert (plain.parent_run_id, plain.relation, plain.branch_step, plain.quote) == (None, None, None, None)
        figures: dict[str, Any] = dict.fromkeys((field.name for field in fields(Quote)), 1.5)
        quote = Quote(**figures)
        add_run(log, tiny_config, "child", origin=Origin(run_id, "branch", 40), quote=quote)
        add_run(log, tiny_config, "twin", origin=Origin("gone", "twin"))
        child, twin = log.run("child"), log.run("twin")
        assert (child.parent_run_id, child.relation, child.branch_step) == (run_id, "branch", 40)
        assert child.quote == asdict(quote)
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
    @settings(max_examples=40, deadline=None)
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


class TestRecords:
    def test_metrics_come_in_order_and_once(self, log: ProgressLog, run_id: str) -> None:
        steps = [step_metrics(step, loss=1 / step) for step in range(1, 6)]
        for metrics in steps[:3]:
            log.record(run_id, metrics)
        settle(log)
        first = log.metrics(run_id)
        assert [row["step"] for row in first] == [1, 2, 3]
        for metrics in steps[3:]:
            log.record(run_id, metrics)
        settle(log)
        news = log.metrics(run_id, after_id=first[-1]["id"])
        assert [row["step"] for row in news] == [4, 5]
        assert log.metrics(run_id, after_id=news[-1]["id"]) == []
        for row, metrics in zip(first + news, steps, strict=True):
            assert {key: row[key] for key in asdict(metrics)} == asdict(metrics)
        assert [row["step"] for row in log.last_metrics(run_id, 2)] == [4, 5]

    def test_of_two_runs_that_write_at_once_each_sees_its_own(
        self, log: ProgressLog, tiny_config: TrainingConfig
    ) -> None:
        ids = [add_run(log, tiny_config, f"r{number}") for number in range(3)]

        def train(run_id: str) -> None:
            for step in range(1, 101):
                log.record(run_id, step_metrics(step))

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(train, ids))
        settle(log)
        for run_id in ids:
            assert [row["step"] for row in log.metrics(run_id)] == list(range(1, 101))

    def test_a_refused_row_of_one_run_harms_no_other_run(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        bad, good = (add_run(log, tiny_config, run_id) for run_id in ("bad", "good"))
        log.record(good, step_metrics(1))
        log.record(bad, step_metrics(1))
        log.record(bad, step_metrics(1))  # the same step once more
        log.record(good, step_metrics(2))
        settle(log)
        log.record(good, step_metrics(3))  # the refusal is not told to this one
        settle(log)
        assert [row["step"] for row in log.metrics(good)] == [1, 2, 3]
        with pytest.raises(StorageError, match="UNIQUE"):
            log.record(bad, step_metrics(2))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_no_number_is_null(self, log: ProgressLog, path: Path, run_id: str, value: float) -> None:
        log.record(run_id, step_metrics(1, loss=value, grad_norm=value, filtered_grad_norm=value))
        log.record(run_id, Evaluation("m", 1, "Synthetic", value, 10))
        settle(log)
        row = log.metrics(run_id)[0]
        assert (row["loss"], row["grad_norm"], row["filtered_grad_norm"]) == (None, None, None)
        assert row["learning_rate"] == 1e-3
        assert log.evaluations(run_id)[0]["loss"] is None
        connection = sqlite3.connect(path)
        kinds = connection.execute("SELECT typeof(loss), typeof(grad_norm) FROM metrics").fetchall()
        connection.close()
        assert kinds == [("null", "null")]

    def test_evaluations_samples_and_events_come_back(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        evaluations = [Evaluation("m", step, "Synthetic", 2.0 - step, 100) for step in (0, 1)]
        sample = Sample("m", 1, "Synthetic", "Problem: 1 + 1?", "3", "2")
        event = Event("warning", "GSM8K could not be had", "m", 1)
        bare = Event("info", "Hello")
        add_run(log, tiny_config, "other")
        log.record("other", Event("error", "of another run"))
        records: list[Record] = [*evaluations, sample, event, bare]
        for record in records:
            log.record(run_id, record)
        settle(log)

        def known(record: Any, row: dict[str, Any]) -> dict[str, Any]:
            return {key: row[key] for key in asdict(record)}

        rows = log.evaluations(run_id)
        assert [known(evaluations[0], row) for row in rows] == [asdict(each) for each in evaluations]
        assert log.evaluations(run_id, after_id=rows[0]["id"]) == rows[1:]
        assert [known(sample, row) for row in log.samples(run_id)] == [asdict(sample)]
        assert [known(event, row) for row in log.events(run_id)] == [asdict(event), asdict(bare)]
        assert all(row["created_at"] for row in log.events(run_id))

    def test_a_warning_that_comes_often_is_told_once(self, log: ProgressLog, run_id: str) -> None:
        for level, message in (("warning", "b"), ("info", "i"), ("error", "a"), ("warning", "b")):
            log.record(run_id, Event(level, message))  # type: ignore[arg-type]
        settle(log)
        assert log.warnings(run_id) == ["b", "a"]

    def test_each_model_has_its_own_rows(self, log: ProgressLog, run_id: str) -> None:
        for model in ("m", "n"):
            for step in range(1, 5):
                log.record(run_id, step_metrics(step, model, loss=math.nan if step == 2 else float(step)))
            log.record(run_id, PonderHistogram(model, 4, [0, 1]))
        settle(log)
        assert log.losses(run_id, "m") == {1: 1.0, 2: None, 3: 3.0, 4: 4.0}
        rows = log.last_metrics(run_id, 2, model_name="m")
        assert [(row["model_name"], row["step"]) for row in rows] == [("m", 3), ("m", 4)]
        assert [row["model_name"] for row in log.ponder_histograms(run_id, model_name="n")] == ["n"]

    def test_a_data_report_comes_back_whole_and_at_once(self, log: ProgressLog, run_id: str) -> None:
        source = SourceReport("GSM8K", "openai/gsm8k", "the hub", True, "", 10, 2, {"too long": 3}, 1000, 4)
        gone = SourceReport("SVAMP", "ChilleD/SVAMP", "nowhere", False, "offline")
        report = DataReport([source, gone], False, "abc", 400, True)
        log.record(run_id, report)
        assert log.run(run_id).data_report == asdict(report)


def measured(log: ProgressLog, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Everything that was measured of a run, without the numbers of the rows."""
    settle(log)
    tables = {
        "metrics": log.metrics(run_id),
        "histograms": log.ponder_histograms(run_id),
        "evaluations": log.evaluations(run_id),
        "samples": log.samples(run_id),
        "events": log.events(run_id),
    }
    return {
        name: [{key: value for key, value in row.items() if key not in ("id", "run_id")} for row in rows]
        for name, rows in tables.items()
    }


def a_life(model_name: str = "m", first: int = 1, last: int = 12, check_every: int = 4) -> list[Record]:
    """What a model records from one step to another, in its order."""
    records: list[Record] = [Event("info", "Number format fp32", model_name, first - 1, "2026-01-01T00:00:00+00:00")]
    for step in range(first, last + 1):
        records.append(step_metrics(step, model_name, loss=5.0 / step))
        if step % check_every == 0:
            records.append(PonderHistogram(model_name, step, [0, step, 2]))
            records += [Evaluation(model_name, step, name, 3.0 / step, 10) for name in ("GSM8K", "SVAMP", "Synthetic")]
            records += [Sample(model_name, step, name, "p", f"at {step}", "e") for name in ("GSM8K", "SVAMP")]
            records.append(Event("info", f"Checkpoint of {step}", model_name, step, "2026-01-01T00:00:00+00:00"))
    return records


class TestRewind:
    def test_forgets_what_came_later_and_keeps_what_happened(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        add_run(log, tiny_config, "other")
        for owner, model_name in ((run_id, "m"), (run_id, "its neighbour"), ("other", "m")):
            for record in a_life(model_name):
                log.record(owner, record)
        before, of_other = measured(log, run_id), measured(log, "other")
        log.record(run_id, Rewind("m", 9, 4))
        after = measured(log, run_id)
        limits = {"metrics": 9, "histograms": 9, "evaluations": 4, "samples": 4, "events": 99}
        for table, limit in limits.items():
            expected = [row for row in before[table] if row["model_name"] != "m" or row["step"] <= limit]
            assert after[table] == expected, table
            assert (len(expected) < len(before[table])) == (table != "events")
        assert measured(log, "other") == of_other

    def test_forgets_rows_that_were_still_on_their_way(self, log: ProgressLog, run_id: str) -> None:
        settle(log)  # so that the next commit is some time off
        for record in a_life():
            log.record(run_id, record)
        log.record(run_id, Rewind("m", 2, 0))
        assert [row["step"] for row in measured(log, run_id)["metrics"]] == [1, 2]

    def test_lets_the_same_steps_be_recorded_again(self, log: ProgressLog, run_id: str) -> None:
        for record in a_life(last=10):
            log.record(run_id, record)
        log.record(run_id, Rewind("m", 6, 4))
        for record in a_life(first=7):
            log.record(run_id, record)
        log.raise_refused(run_id)
        assert [row["step"] for row in log.metrics(run_id)] == list(range(1, 13))
        assert [row["step"] for row in log.evaluations(run_id)] == [4] * 3 + [8] * 3 + [12] * 3

    def test_to_before_the_first_step_forgets_all(self, log: ProgressLog, run_id: str) -> None:
        log.record(run_id, Evaluation("m", 0, "Synthetic", 6.0, 10))
        for record in a_life():
            log.record(run_id, record)
        log.record(run_id, Rewind("m", -1, -1))
        after = measured(log, run_id)
        assert [name for name, rows in after.items() if rows] == ["events"]
        assert log.run(run_id).step == 0

    def test_shows_the_step_that_it_goes_on_from(self, log: ProgressLog, run_id: str) -> None:
        assert log.claim(run_id)
        log.set_progress(run_id, progress(Phase.TRAINING, step=9, total_steps=20))
        log.record(run_id, Rewind("m", 6, 4))
        assert log.run(run_id).step == 6
        log.set_progress(run_id, progress(Phase.TRAINING, "Training m"))
        settle(log)
        assert (log.run(run_id).step, log.run(run_id).message) == (6, "Training m")


class TestMetricsNear:
    @pytest.fixture
    def steps(self, log: ProgressLog, run_id: str) -> dict[str, list[int]]:
        steps = {"m": [1, 2, 3, 10, 20, 21], "other": [5, 12]}
        for model, its in steps.items():
            for step in its:
                log.record(run_id, StepMetrics(model, step, float(step), 0.1, 1.0, 1.0, 10, 0.1, 0.1))
        log.raise_refused(run_id)
        return steps

    @pytest.mark.parametrize("model", ["m", "other"])
    def test_the_closest_row_of_the_model_is_given(
        self, log: ProgressLog, run_id: str, steps: dict[str, list[int]], model: str
    ) -> None:
        for asked in range(-3, 40):
            row = log.metrics_near(run_id, model, asked)
            assert row is not None and (row["model_name"], row["loss"]) == (model, float(row["step"]))
            assert abs(row["step"] - asked) == min(abs(step - asked) for step in steps[model])

    def test_of_what_is_not_there_is_none(self, log: ProgressLog, run_id: str, steps: dict[str, list[int]]) -> None:
        assert log.metrics_near(run_id, "nobody", 3) is None
        assert log.metrics_near("nothing", "m", 3) is None


class TestBestEvaluation:
    def test_is_that_of_the_lowest_mean_over_all_datasets(self, log: ProgressLog, run_id: str) -> None:
        losses = {0: (9.0, 8.0), 10: (3.0, 5.0), 20: (1.0, 6.5), 30: (3.5, 4.5), 40: (0.1, math.nan)}
        for step, each in losses.items():
            for dataset, loss in zip(("GSM8K", "SVAMP"), each, strict=True):
                log.record(run_id, Evaluation("m", step, dataset, loss, 9))
        log.raise_refused(run_id)
        best = there(log.best_check(run_id))
        assert (best.model_name, best.step) == ("m", 20), "lowest mean; one that is not known whole is none"
        assert best.means.loss == pytest.approx(3.75)

    def test_a_small_dataset_counts_little(self, log: ProgressLog, run_id: str) -> None:
        for step, (large, small) in {10: (2.0, 9.0), 20: (2.5, 3.0)}.items():
            log.record(run_id, Evaluation("m", step, "GSM8K", large, 9, weight=0.95))
            log.record(run_id, Evaluation("m", step, "HotpotQA", small, 9, weight=0.05))
        log.raise_refused(run_id)
        assert there(log.best_check(run_id)) == log.heldout_checks([run_id])[run_id][0]
        assert there(log.best_check(run_id)).means.loss == pytest.approx(2.35)

    def test_of_two_that_are_alike_is_the_earlier_one(self, log: ProgressLog, run_id: str) -> None:
        for step in (30, 10, 20):
            log.record(run_id, Evaluation("m", step, "SVAMP", 2.0, 9))
        log.raise_refused(run_id)
        assert there(log.best_check(run_id)).step == 10

    def test_is_unknown_where_nothing_was_measured(self, log: ProgressLog, run_id: str) -> None:
        assert log.best_check(run_id) is None
        log.record(run_id, Evaluation("m", 10, "SVAMP", math.nan, 9))
        log.raise_refused(run_id)
        assert log.best_check(run_id) is None


@pytest.mark.parametrize(("stats", "step"), [({"steps": 6, "weights_step": 2}, 2), ({"steps": 6}, 6)])
def test_a_model_is_of_the_step_of_its_weights(stats: dict[str, int], step: int) -> None:
    """Of an earlier version it is the last."""
    assert TrainedModel("i", "r", "run", "m", "completed", 1, "", {"training_stats": stats}, "", []).step == step


class TestEvaluations:
    def test_have_bits_per_byte_where_bytes_were_counted(self, log: ProgressLog, run_id: str) -> None:
        log.record(run_id, Evaluation("m", 1, "SVAMP", math.log(2) * 3, 20, bytes=40))
        log.record(run_id, Evaluation("m", 1, "GSM8K", 3.0, 20))
        log.record(run_id, Evaluation("m", 2, "SVAMP", math.nan, 20, bytes=40))
        log.raise_refused(run_id)
        for rows in (log.evaluations(run_id), log.records_after("evaluations", run_id, 0, 10)):
            assert [row["bits_per_byte"] for row in rows] == [pytest.approx(1.5), None, None]
        assert [row["step"] for row in log.newest_evaluations(run_id, "m")] == [1, 2], "the last of each dataset"


class TestFillGaps:
    @settings(max_examples=40, deadline=None)
    @given(
        known=st.integers(0, len(a_life())),
        last=st.integers(0, 12),
        models=st.sampled_from([["m"], ["m", "n"]]),
    )
    def test_whatever_the_database_lost_is_there_again_and_nothing_twice(
        self, known: int, last: int, models: list[str]
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = ProgressLog(Path(folder) / "studio.sqlite")
            try:
                for owner in ("whole", "torn", "other"):
                    add_run(log, DEFAULTS, owner)
                for model_name in models:
                    life = a_life(model_name, last=last)
                    for record in life:
                        log.record("whole", record)
                        log.record("other", record)
                    for record in life[:known]:
                        log.record("torn", record)
                for model_name in models:
                    log.fill_gaps("torn", a_life(model_name, last=last))
                expected = by_model(measured(log, "whole"))
                assert by_model(measured(log, "torn")) == expected
                for model_name in models:
                    log.fill_gaps("torn", a_life(model_name, last=last))
                assert by_model(measured(log, "torn")) == expected
                assert by_model(measured(log, "other")) == expected, "another run was touched"
            finally:
                log.close()

    def test_where_nothing_was_lost_nothing_is_added(self, log: ProgressLog, run_id: str) -> None:
        for record in a_life():
            log.record(run_id, record)
        assert log.fill_gaps(run_id, a_life()) == 0

    def test_tells_how_much_was_added(self, log: ProgressLog, run_id: str) -> None:
        assert log.fill_gaps(run_id, a_life()) == len(a_life())

    def test_what_the_database_has_beyond_the_log_stays(self, log: ProgressLog, run_id: str) -> None:
        """The log may be torn in its midst: what comes behind is not trusted, but the database has it."""
        for record in a_life():
            log.record(run_id, record)
        before = measured(log, run_id)
        log.fill_gaps(run_id, a_life(last=6))
        assert measured(log, run_id) == before

    def test_what_happened_after_a_resume_at_an_earlier_step_is_restored(self, log: ProgressLog, run_id: str) -> None:
        life = a_life(last=8)
        resumed = Event("info", "Resumed after step 4", "m", 4, "2026-01-02T00:00:00+00:00")
        for record in life:
            log.record(run_id, record)
        log.fill_gaps(run_id, [*life, resumed])
        assert [row["message"] for row in measured(log, run_id)["events"]][-1] == resumed.message

    def test_figures_that_are_no_number_are_null(self, log: ProgressLog, run_id: str) -> None:
        log.fill_gaps(run_id, [step_metrics(1, loss=math.nan), Evaluation("m", 1, "Synthetic", math.inf, 1)])
        assert (log.metrics(run_id)[0]["loss"], log.evaluations(run_id)[0]["loss"]) == (None, None)

    def test_what_is_no_row_is_passed_over(self, log: ProgressLog, run_id: str) -> None:
        report = DataReport([], False, "abc", 400, False)
        assert log.fill_gaps(run_id, [Rewind("m", 0, 0), report, step_metrics(1)]) == 1
        assert log.run(run_id).data_report is None
        assert log.fill_gaps(run_id, []) == 0

    def test_is_done_whole_or_not_at_all(self, log: ProgressLog, run_id: str) -> None:
        def torn() -> Iterator[Record]:
            yield from a_life(last=4)
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            log.fill_gaps(run_id, torn())
        assert not any(measured(log, run_id).values())
        with pytest.raises(StorageError, match="FOREIGN KEY"):
            log.fill_gaps("no such run", a_life())


def by_model(tables: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rows of each model in each table, in order of writing."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table, rows in tables.items():
        for row in rows:
            found.setdefault((table, row["model_name"]), []).append(row)
    return found


class TestModels:
    def test_come_back_with_their_files(self, log: ProgressLog, run_id: str) -> None:
        model = a_model("m1", model_name="My model")
        files = [a_file("weights"), a_file("config", "runs/x/m/config.json")]
        log.add_model(run_id, model, files)
        found = log.model("m1")
        assert (found.id, found.run_id, found.run_name, found.name) == ("m1", run_id, "First", "My model")
        assert (found.status, found.parameter_count) == ("completed", 1234)
        assert found.details == json.loads(json.dumps(model.to_dict()))
        assert log.artifacts("m1") == [{"model_id": "m1", **file} for file in files]

    def test_of_one_run_or_of_all_newest_first(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        add_run(log, tiny_config, "other", name="Other")
        for number, owner in enumerate([run_id, "other", run_id]):
            log.add_model(owner, a_model(f"m{number}", model_name=f"model {number}"), [])
        assert [model.id for model in log.models()] == ["m2", "m1", "m0"]
        assert [model.id for model in log.models(run_id)] == ["m2", "m0"]
        assert [model.run_name for model in log.models("other")] == ["Other"]
        assert log.models("gone") == []

    def test_are_added_with_all_files_or_not_at_all(self, log: ProgressLog, run_id: str) -> None:
        with pytest.raises(StorageError, match="UNIQUE"):
            log.add_model(run_id, a_model("m1"), [a_file("weights"), a_file("weights")])
        assert log.models() == []
        assert log.artifacts("m1") == []

    def test_of_an_unknown_run_are_refused(self, log: ProgressLog) -> None:
        with pytest.raises(StorageError, match="FOREIGN KEY"):
            log.add_model("gone", a_model("m1"), [])

    def test_are_removed_with_their_files_and_others_stay(self, log: ProgressLog, run_id: str) -> None:
        for model_id in ("m1", "m2"):
            log.add_model(run_id, a_model(model_id, model_name=f"name of {model_id}"), [a_file("weights")])
        log.remove_model("m1")
        log.remove_model("m1")  # once more changes nothing
        assert [model.id for model in log.models()] == ["m2"]
        assert log.artifacts("m1") == []
        assert len(log.artifacts("m2")) == 1
        with pytest.raises(RunError, match=r"There is no model with this address\. It may have been deleted"):
            log.model("m1")


class TestAResumedModel:
    def test_keeps_its_id_and_has_the_new_files_alone(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        log.add_model(run_id, a_model("m1", training_status="stopped"), [a_file("weights"), a_file("old")])
        log.add_model(run_id, a_model("m2", parameter_count=99), [a_file("weights", "new.bin")])
        (model,) = log.models()
        assert (model.id, model.status, model.parameter_count) == ("m1", "completed", 99)
        assert model.details["model_id"] == "m1"
        assert log.artifacts("m1") == [{"model_id": "m1", **a_file("weights", "new.bin")}]
        assert log.artifacts("m2") == []

    def test_is_another_one_in_another_run_or_by_another_name(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        add_run(log, tiny_config, "other")
        log.add_model(run_id, a_model("m1"), [])
        log.add_model("other", a_model("m2"), [])
        log.add_model(run_id, a_model("m3", model_name="n"), [])
        assert {model.id for model in log.models()} == {"m1", "m2", "m3"}

    def test_stays_as_it_was_when_the_new_files_are_refused(self, log: ProgressLog, run_id: str) -> None:
        log.add_model(run_id, a_model("m1", training_status="stopped"), [a_file("weights")])
        with pytest.raises(StorageError, match="UNIQUE"):
            log.add_model(run_id, a_model("m2"), [a_file("weights"), a_file("weights")])
        (model,) = log.models()
        assert (model.id, model.status) == ("m1", "stopped")
        assert log.artifacts("m1") == [{"model_id": "m1", **a_file("weights")}]


def files_of(log: ProgressLog, model_id: str) -> list[dict[str, Any]]:
    return sorted(log.artifacts(model_id), key=lambda file: file["kind"])


class TestExport:
    @pytest.fixture
    def whole(self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig) -> str:
        """A run that has something of everything, beside another one."""
        assert log.claim(run_id)
        for owner in (run_id, add_run(log, tiny_config, "other", start_key="other key")):
            for record in a_life():
                log.record(owner, record)
            log.record(owner, DataReport([], False, "abc", 400, True))
            for name in ("m", "n"):
                log.add_model(owner, a_model(f"{owner} {name}", model_name=name), [a_file("weights"), a_file("log")])
        assert log.set_status(run_id, RunStatus.FAILED, error="why", worked_seconds=3.5)
        return run_id

    def everything(self, log: ProgressLog, run_id: str) -> Any:
        models = log.models(run_id)
        return log.run(run_id), models, [files_of(log, model.id) for model in models]

    def test_of_a_run_goes_through_json_and_back(self, log: ProgressLog, whole: str) -> None:
        before, of_other = self.everything(log, whole), self.everything(log, "other")
        rows = json.loads(json.dumps(log.export_run(whole)))
        log.remove_run(whole)
        log.import_rows(rows)
        assert self.everything(log, whole) == before
        assert json.loads(json.dumps(log.export_run(whole))) == rows
        assert self.everything(log, "other") == of_other

    def test_of_a_model_goes_through_json_and_back(self, log: ProgressLog, whole: str) -> None:
        model_id = f"{whole} m"
        before = (log.model(model_id), files_of(log, model_id))
        rows = json.loads(json.dumps(log.export_model(model_id)))
        assert {table: len(found) for table, found in rows.items()} == {"models": 1, "artifacts": 2}
        log.remove_model(model_id)
        assert [model.id for model in log.models(whole)] == [f"{whole} n"]
        log.import_rows(rows)
        assert (log.model(model_id), files_of(log, model_id)) == before

    def test_keeps_the_order_of_models_and_files(self, log: ProgressLog, whole: str) -> None:
        models = [model.id for model in log.models(whole)]
        files = log.artifacts(models[0])
        rows = log.export_run(whole)
        log.remove_run(whole)
        log.import_rows(rows)
        assert [model.id for model in log.models(whole)] == models
        assert log.artifacts(models[0]) == files

    def test_a_removed_run_leaves_nothing_and_takes_nothing_of_another(
        self, log: ProgressLog, path: Path, whole: str
    ) -> None:
        before = measured(log, "other"), self.everything(log, "other")
        log.remove_run(whole)
        log.remove_run(whole)  # once more changes nothing
        with pytest.raises(RunError, match="There is no run"):
            log.run(whole)
        connection = sqlite3.connect(path)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [column for _, column, *_ in connection.execute(f"PRAGMA table_info({table})")]
            for column in {"run_id", "model_id"} & set(columns):
                left = connection.execute(f"SELECT count(*) FROM {table} WHERE {column} LIKE ?", [f"{whole}%"])
                assert left.fetchone() == (0,), table
        connection.close()
        assert (measured(log, "other"), self.everything(log, "other")) == before

    def test_of_another_version_leaves_unknown_columns_and_tables_out(self, log: ProgressLog, whole: str) -> None:
        rows = log.export_run(whole)
        before = log.run(whole)
        log.remove_run(whole)
        newer = {table: [{**row, "mood": "good"} for row in found] for table, found in rows.items()}
        log.import_rows({**newer, "metrics": [{"run_id": "other", "step": 99}], "sqlite_master": [{"name": "x"}]})
        assert log.run(whole) == before
        assert len(log.models(whole)) == 2
        older = [{key: value for key, value in row.items() if key != "worked_seconds"} for row in rows["runs"]]
        log.remove_run(whole)
        log.import_rows({"runs": older})
        assert log.run(whole).worked_seconds is None
        assert [row["step"] for row in log.metrics("other")] == list(range(1, 13))

    def test_is_taken_in_whole_or_not_at_all(self, log: ProgressLog, whole: str) -> None:
        rows = log.export_run(whole)
        with pytest.raises(StorageError, match="UNIQUE"):
            log.import_rows(rows)
        log.remove_run(whole)
        with pytest.raises(StorageError, match="UNIQUE"):
            log.import_rows({**rows, "artifacts": rows["artifacts"] * 2})
        assert [run.id for run in log.runs()] == ["other"]
        assert log.models(whole) == []

    def test_of_what_is_not_there_is_empty(self, log: ProgressLog) -> None:
        assert log.export_run("gone") == {"runs": [], "models": [], "artifacts": []}
        assert log.export_model("gone") == {"models": [], "artifacts": []}


def test_what_only_reads_knows_of_no_delay(log: ProgressLog, path: Path) -> None:
    assert ProgressReader(path).delayed_seconds == 0.0
    assert log.delayed_seconds == 0.0


class TestCoordination:
    def test_is_kept_under_its_key_and_replaced(self, log: ProgressLog) -> None:
        assert log.coordination("a/b") is None
        log.set_coordination("a/b", {"pid": 1, "active_runs": ["x"]})
        log.set_coordination("other", {"pid": 3})
        log.set_coordination("a/b", {"pid": 2})
        record = log.coordination("a/b")
        assert record is not None
        assert record.pop("updated_at") <= utc_now()
        assert record == {"pid": 2}


def test_interrupts_what_no_process_owns_any_more(log: ProgressLog, tiny_config: TrainingConfig) -> None:
    for status in RunStatus:
        bring_to(log, add_run(log, tiny_config, f"id {status}"), status)
    resting = [*TERMINAL, RunStatus.QUEUED, RunStatus.PAUSED]
    before = {status: log.run(f"id {status}") for status in resting}
    going = {RunStatus.PREPARING, RunStatus.TRAINING, RunStatus.PAUSING, RunStatus.STOPPING, RunStatus.CANCELLING}
    assert going | set(resting) == set(RunStatus)
    assert set(log.interrupt_unfinished()) == {f"id {status}" for status in going}
    for status in going:
        run = log.run(f"id {status}")
        assert run.status is RunStatus.INTERRUPTED
        assert "closed" in run.message
        assert run.finished_at is not None
    assert {status: log.run(f"id {status}") for status in resting} == before
    assert log.interrupt_unfinished() == []


def test_an_unknown_run_is_told_as_a_sentence(log: ProgressLog) -> None:
    with pytest.raises(RunError, match=r"There is no run with this address\. It may have been deleted"):
        log.run("' OR 1=1 --")
    assert log.metrics("gone") == log.evaluations("gone") == log.samples("gone") == log.events("gone") == []


def test_everything_is_there_again_after_a_restart(path: Path, tiny_config: TrainingConfig) -> None:
    log = ProgressLog(path)
    assert log.claim(add_run(log, tiny_config, "r"))
    log.record("r", step_metrics(1))
    log.set_message("r", "Last words")
    log.close()
    again = ProgressLog(path)
    assert again.run("r").message == "Last words"
    assert [row["step"] for row in again.metrics("r")] == [1]
    again.close()


class TestHostileText:
    """What people type and models write is text, wherever it is kept."""

    @hostile
    def test_of_a_run_comes_back_as_typed(self, log: ProgressLog, tiny_config: TrainingConfig, text: str) -> None:
        add_run(log, tiny_config, "r", name=text, model_names=[text, f"{text} 2"], start_key=text)
        assert add_run(log, tiny_config, "r2", start_key=text) == "r"
        assert log.claim("r")
        assert log.set_status("r", RunStatus.TRAINING, error=text, error_details=text)
        log.set_message("r", text)
        settle(log)
        run = log.run("r")
        assert (run.name, run.message, run.error, run.error_details) == (text, text, text, text)
        assert run.model_names == [text, f"{text} 2"]

    @hostile
    def test_of_records_and_models_comes_back_as_written(self, log: ProgressLog, run_id: str, text: str) -> None:
        log.record(run_id, step_metrics(1, model_name=text))
        log.record(run_id, Sample(text, 1, text, text, text, text))
        log.record(run_id, Event("warning", text, text, 1))
        log.record(run_id, DataReport([SourceReport(text, text, text, False, text)], False, text, 1, False))
        log.add_model(run_id, a_model("m1", model_name=text), [a_file("weights", text)])
        log.set_coordination(text, {"text": text})
        settle(log)
        assert log.metrics(run_id)[0]["model_name"] == text
        sample = log.samples(run_id)[0]
        assert {sample[key] for key in ("model_name", "dataset", "prompt", "text", "expected")} == {text}
        assert log.events(run_id)[0]["message"] == text
        report = log.run(run_id).data_report
        assert report is not None
        assert report["sources"][0]["reason"] == text
        assert (log.model("m1").name, log.model("m1").details["model_name"]) == (text, text)
        assert log.artifacts("m1")[0]["path"] == text
        record = log.coordination(text)
        assert record is not None
        assert record["text"] == text


class TestEmitter:
    @pytest.fixture
    def emitter(self, log: ProgressLog, run_id: str, tmp_path: Path) -> SQLiteProgressEmitter:
        return SQLiteProgressEmitter(log, run_id, ArtifactStore(tmp_path))

    def test_shows_progress_and_models_with_checksums(
        self, log: ProgressLog, run_id: str, emitter: SQLiteProgressEmitter, tmp_path: Path
    ) -> None:
        assert log.claim(run_id)
        (tmp_path / "weights.bin").write_bytes(b"weights")
        asyncio.run(emitter.emit_progress(progress(Phase.TRAINING, "Training m", step=2, total_steps=5)))
        asyncio.run(emitter.emit_model_completed(a_model("m1", artifacts={"weights": "weights.bin"})))
        assert (log.run(run_id).message, log.run(run_id).step) == ("Training m", 2)
        checksum = hashlib.sha256(b"weights").hexdigest()
        assert log.artifacts("m1") == [
            {"model_id": "m1", "kind": "weights", "path": "weights.bin", "bytes": 7, "sha256": checksum}
        ]

    @pytest.mark.parametrize("name", ["/etc/hostname", "never written.bin"])
    def test_shows_no_model_whose_files_are_not_there(
        self, log: ProgressLog, emitter: SQLiteProgressEmitter, name: str
    ) -> None:
        with pytest.raises(StorageError, match=r"is no longer there|lies outside"):
            asyncio.run(emitter.emit_model_completed(a_model("m1", artifacts={"weights": name})))
        assert log.models() == []


def test_columns_tell_what_a_table_was_declared_to_hold(log: ProgressLog) -> None:
    columns = log.columns("runs")
    assert columns["name"] == "TEXT"
    assert columns["step"] == "INTEGER"
    assert columns["progress"] in ("FLOAT", "REAL")
    assert log.columns("no such table") == {}

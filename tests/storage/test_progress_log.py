"""The progress log: runs, models and figures come back as they went in, and a run that has ended stays as it ended."""

import asyncio
import hashlib
import json
import math
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DataReport,
    Evaluation,
    Event,
    ModelArtifacts,
    Phase,
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
from cognate_core.storage.progress_log import ProgressLog, SQLiteProgressEmitter

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
    if status is not RunStatus.QUEUED:
        assert log.set_status(run_id, status)


def step_metrics(step: int, model_name: str = "m", **fields: Any) -> StepMetrics:
    values = {"loss": 1.5, "learning_rate": 1e-3, "grad_norm": 0.5, "filtered_grad_norm": 0.7, "tokens": 100}
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
        assert log.set_status("r1", RunStatus.COMPLETED)
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

    def test_a_clock_that_is_set_back_does_not_change_the_order(
        self, log: ProgressLog, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(3):
            monkeypatch.setattr(progress_log, "utc_now", lambda day=9 - number: f"2026-01-0{day}T00:00:00.000+00:00")
            add_run(log, tiny_config, f"r{number}")
        assert log.queued_run_ids() == ["r0", "r1", "r2"]
        assert [run.id for run in log.runs()] == ["r2", "r1", "r0"]


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
        assert log.set_status(run_id, status, message="This is the end", error="why")
        ended = log.run(run_id)
        assert (ended.status, ended.message, ended.error) == (status, "This is the end", "why")
        assert ended.finished_at is not None
        for other in RunStatus:
            assert not log.set_status(run_id, other, message="Overwritten", error="other", error_details="more")
            assert log.run(run_id) == ended
        assert log.interrupt_unfinished() == []
        assert log.run(run_id) == ended

    def test_a_run_that_goes_on_has_no_end(self, log: ProgressLog, run_id: str) -> None:
        for status in (RunStatus.PREPARING, RunStatus.TRAINING, RunStatus.STOPPING, RunStatus.CANCELLING):
            assert log.set_status(run_id, status)
            assert log.run(run_id).status is status
            assert log.run(run_id).finished_at is None

    def test_other_runs_are_left_alone(self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig) -> None:
        add_run(log, tiny_config, "other")
        before = log.run("other")
        log.set_status(run_id, RunStatus.FAILED, message="Failed")
        log.set_progress(run_id, progress(Phase.TRAINING, step=3))
        log.set_message(run_id, "Hello")
        settle(log)
        assert log.run("other") == before

    def test_of_an_unknown_run_there_is_nothing_to_change(self, log: ProgressLog) -> None:
        assert not log.set_status("gone", RunStatus.TRAINING)
        assert not log.claim("gone")


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
        settle(log)  # what comes now has a second until the next commit
        log.set_progress(run_id, progress(Phase.TRAINING, step=5, total_steps=5))
        if not within_one_commit:
            settle(log)
        log.set_progress(run_id, progress(Phase.COMPLETE, "Training is complete", progress=1.0))
        settle(log)
        run = log.run(run_id)
        assert (run.message, run.progress) == ("Training is complete", 1.0)
        assert (run.step, run.total_steps) == (5, 5)

    def test_a_message_replaces_the_one_before(self, log: ProgressLog, run_id: str) -> None:
        log.set_progress(run_id, progress(Phase.DATASETS, "Fetching"))
        for percent in range(100):
            log.set_message(run_id, f"Fetching, {percent} %")
        settle(log)
        assert log.run(run_id).message == "Fetching, 99 %"
        log.set_progress(run_id, progress(Phase.DATASETS, "Here"))
        settle(log)
        assert log.run(run_id).message == "Here"

    def test_that_comes_late_does_not_change_a_run_that_has_ended(self, log: ProgressLog, run_id: str) -> None:
        log.set_progress(run_id, progress(Phase.COMPLETE, progress=1.0, step=5, total_steps=5))
        log.set_status(run_id, RunStatus.COMPLETED, message="The end")
        ended = log.run(run_id)
        log.set_progress(run_id, progress(Phase.TRAINING, "Training m", step=4, total_steps=5))
        log.set_message(run_id, "Fetching")
        settle(log)
        assert log.run(run_id) == ended

    def test_of_two_runs_is_kept_apart(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        for number in (1, 2):
            add_run(log, tiny_config, f"r{number}")
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
        for record in (*evaluations, sample, event, bare):
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

    def test_a_data_report_comes_back_whole_and_at_once(self, log: ProgressLog, run_id: str) -> None:
        source = SourceReport("GSM8K", "openai/gsm8k", "the hub", True, "", 10, 2, {"too long": 3}, 1000, 4)
        gone = SourceReport("SVAMP", "ChilleD/SVAMP", "nowhere", False, "offline")
        report = DataReport([source, gone], False, "abc", 400, True)
        log.record(run_id, report)
        assert log.run(run_id).data_report == asdict(report)


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
            log.add_model(owner, a_model(f"m{number}"), [])
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
            log.add_model(run_id, a_model(model_id), [a_file("weights")])
        log.remove_model("m1")
        log.remove_model("m1")  # once more changes nothing
        assert [model.id for model in log.models()] == ["m2"]
        assert log.artifacts("m1") == []
        assert len(log.artifacts("m2")) == 1
        with pytest.raises(RunError, match=r"There is no model with this address\. It may have been deleted"):
            log.model("m1")


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
    ended = {status: log.run(f"id {status}") for status in TERMINAL}
    going = {RunStatus.PREPARING, RunStatus.TRAINING, RunStatus.STOPPING, RunStatus.CANCELLING}
    assert set(log.interrupt_unfinished()) == {f"id {status}" for status in going}
    for status in going:
        run = log.run(f"id {status}")
        assert run.status is RunStatus.INTERRUPTED
        assert "closed" in run.message
        assert run.finished_at is not None
    assert log.run(f"id {RunStatus.QUEUED}").status is RunStatus.QUEUED
    assert {status: log.run(f"id {status}") for status in TERMINAL} == ended
    assert log.interrupt_unfinished() == []


def test_an_unknown_run_is_told_as_a_sentence(log: ProgressLog) -> None:
    with pytest.raises(RunError, match=r"There is no run with this address\. It may have been deleted"):
        log.run("' OR 1=1 --")
    assert log.metrics("gone") == log.evaluations("gone") == log.samples("gone") == log.events("gone") == []


def test_everything_is_there_again_after_a_restart(path: Path, tiny_config: TrainingConfig) -> None:
    log = ProgressLog(path)
    add_run(log, tiny_config, "r")
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
        log.set_status("r", RunStatus.TRAINING, error=text, error_details=text)
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

"""The log as a whole: restarts, hostile text, the emitter."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import DataReport, Event, Phase, RunStatus, Sample, SourceReport, utc_now
from cognate_core.errors import RunError, StorageError
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_emitter import SQLiteProgressEmitter
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from tests.storage.progress_log.rows import (
    TERMINAL,
    a_file,
    a_model,
    add_run,
    bring_to,
    hostile,
    progress,
    settle,
    step_metrics,
)


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
    with pytest.raises(RunError, match=r"There is no such run\. It may have been deleted"):
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
        with pytest.raises(StorageError, match=r"is no longer there|is outside"):
            asyncio.run(emitter.emit_model_completed(a_model("m1", artifacts={"weights": name})))
        assert log.models() == []


def test_columns_tell_what_a_table_was_declared_to_hold(log: ProgressLog) -> None:
    columns = log.columns("runs")
    assert columns["name"] == "TEXT"
    assert columns["step"] == "INTEGER"
    assert columns["progress"] in ("FLOAT", "REAL")
    assert log.columns("no such table") == {}

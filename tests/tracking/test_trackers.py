"""Trackers on real runs: what other programs read of a run is what the database has, whatever happens to the run."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cognate_core import extras
from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    Evaluation,
    Event,
    ModelTrainer,
    PonderHistogram,
    ProgressCallback,
    Record,
    RecordSink,
    Rewind,
    RunStatus,
    Sample,
    StepMetrics,
)
from cognate_core.errors import ConfigError, StorageError
from cognate_core.extras import require_installed
from cognate_core.runs.execution import RunContext
from cognate_core.runs.manager import RunManager
from cognate_core.service import TrainingService
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.testing import MockDatasetLoader, MockProgressEmitter
from cognate_core.tracking import Tracker, Tracking, choice, queues, tracker_places, tracking_of
from tests.waiting import LONG, until

Scalars = dict[str, list[tuple[int, float]]]


def step(number: int, model: str = "m", loss: float = 1.0) -> StepMetrics:
    return StepMetrics(model, number, loss, 1e-3, 1.0, 1.0, 10, 0.1, 0.1 * number)


def single(value: float) -> float:
    """As TensorBoard keeps it: rounded to 32 bits."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def scalars_of(folder: Path) -> Scalars:
    """What TensorBoard itself reads from a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture
def tracked(tiny_config: TrainingConfig) -> TrainingConfig:
    changes = {"trackers": "tensorboard, csv,parquet", "max_steps": 6, "eval_interval": 2, "save_steps": 2}
    small = {"d_mem": 16, "mem_segment": 16, "mem_writes": 4, "max_act_steps": 2, "max_eval_samples": 4}
    small["attention_window"] = 64  # shorter than a sequence, so that memory is no matter for warning
    return tiny_config.with_overrides({**changes, **small})


def rows_of(manager: RunManager, run_id: str, model: str) -> list[dict[str, Any]]:
    return [row for row in manager.log.metrics(run_id) if row["model_name"] == model]


def warnings_of(manager: RunManager, run_id: str) -> list[str]:
    return [event["message"] for event in manager.log.events(run_id) if event["level"] == "warning"]


def check_tensorboard(manager: RunManager, run_id: str, model: str) -> None:
    """Every figure of the database, and nothing else, is what TensorBoard reads."""
    found = scalars_of(manager.home / "runs" / run_id / model / "tensorboard")
    steps = rows_of(manager, run_id, model)
    columns = {
        tag: tag.removeprefix("train/").removeprefix("machine/").replace("/", "_")
        for tag in found
        if not tag.startswith("heldout")
    }
    assert {"loss", "learning_rate", "grad_norm", "ponder_steps", "memory_notes", "memory_gate"} <= set(
        columns.values()
    )
    for tag, column in columns.items():
        assert found[tag] == [(row["step"], single(row[column])) for row in steps if row[column] is not None]
    checks = manager.log.evaluations(run_id, model_name=model)
    assert found["heldout/Synthetic"] == [(row["step"], single(row["loss"])) for row in checks]
    assert len(steps) > 0 and len(checks) > 0


def check_tables(manager: RunManager, run_id: str, model: str) -> None:
    """The CSV and Parquet files beside a model hold the database's rows, figure by figure."""
    folder = manager.home / "runs" / run_id / model
    wanted = rows_of(manager, run_id, model)
    rows = manager.log.evaluations(run_id, model_name=model)
    checks = {row["step"]: (row["loss"], row["bits_per_byte"]) for row in rows}
    heldout = ("heldout/Synthetic", "heldout_bits_per_byte/Synthetic")
    from_parquet = pq.read_table(folder / "metrics.parquet").to_pylist()
    from_csv = list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text(encoding="utf-8-sig"))))
    before = from_parquet.pop(0)  # what it knew before it learned anything
    assert (before["step"], before["loss"], *(before[name] for name in heldout)) == (0, None, *checks[0])
    assert from_csv.pop(0)["loss"] == ""
    assert [row["step"] for row in from_parquet] == [row["step"] for row in wanted]
    for row, read, typed in zip(wanted, from_parquet, from_csv, strict=True):
        assert read["model"] == typed["model"] == model
        assert tuple(read[name] for name in heldout) == checks.get(row["step"], (None, None))
        for column in set(read) - {"model", *heldout}:
            assert read[column] == row[column]
            assert (float(typed[column]) if typed[column] else None) == row[column]


def test_each_tracker_has_what_the_database_has(manager: RunManager, tracked: TrainingConfig) -> None:
    run_id = manager.start(tracked, "Watched", ["one", "two"])
    assert manager.wait(run_id, LONG)
    assert manager.log.run(run_id).status is RunStatus.COMPLETED
    assert not [warning for warning in warnings_of(manager, run_id) if "left out" not in warning]
    for model in ("one", "two"):
        check_tensorboard(manager, run_id, model)
        check_tables(manager, run_id, model)


# What is void


NEVER = threading.Event()


@pytest.fixture
def log(tmp_path: Path) -> Any:
    log = ProgressLog(tmp_path / "studio.sqlite")
    yield log
    log.close()


def open_tracking(log: ProgressLog, home: Path, config: TrainingConfig, run_id: str = "r1") -> Tracking:
    """One execution of the run, which is made at the first call."""
    folder = home / "runs" / run_id
    log.create_run(run_id, "Run", config, ["m"], folder, start_key=run_id)
    return tracking_of(log.run(run_id), home, log, MockProgressEmitter(), lambda record: log.record(run_id, record))


def test_steps_that_are_void_after_a_resume_are_forgotten(
    log: ProgressLog, tmp_path: Path, tiny_config: TrainingConfig
) -> None:
    """The last check before the checkpoint was broken off: steps up to 6 count, checks up to 4."""
    config = tiny_config.with_overrides({"trackers": "tensorboard"})
    first = open_tracking(log, tmp_path, config)
    first.record(Rewind("m", -1, -1))
    for number in range(1, 10):
        first.record(step(number, loss=number))
        if number % 2 == 0:
            first.record(Evaluation("m", number, "GSM8K", 10.0 + number, 5, accuracy=0.5, bytes=20))
    first.close(NEVER)
    for loss in (100.0, 200.0):  # it breaks off and goes on twice, within a second
        again = open_tracking(log, tmp_path, config)
        again.record(Rewind("m", 6, 4))
        again.record(Evaluation("m", 6, "GSM8K", loss + 6, 5, accuracy=0.5))
        for number in range(7, 9):
            again.record(step(number, loss=loss + number))
        again.close(NEVER)
    found = scalars_of(tmp_path / "runs" / "r1" / "m" / "tensorboard")
    assert found["train/loss"] == [*((n, float(n)) for n in range(1, 7)), (7, 207.0), (8, 208.0)]
    assert found["heldout/GSM8K"] == [(2, 12.0), (4, 14.0), (6, 206.0)]
    assert [n for n, _ in found["heldout_accuracy/GSM8K"]] == [2, 4, 6]
    bits = dict(found["heldout_bits_per_byte/GSM8K"])
    assert bits == {2: pytest.approx(3 / math.log(2)), 4: pytest.approx(3.5 / math.log(2))}


def test_a_model_that_begins_anew_leaves_nothing_of_its_first_life(
    log: ProgressLog, tmp_path: Path, tiny_config: TrainingConfig
) -> None:
    config = tiny_config.with_overrides({"trackers": "tensorboard"})
    for loss in (1.0, 2.0):
        tracking = open_tracking(log, tmp_path, config)
        tracking.record(Rewind("m", -1, -1))
        tracking.record(Evaluation("m", 0, "GSM8K", loss, 5))
        tracking.record(step(1, loss=loss))
        tracking.close(NEVER)
    found = scalars_of(tmp_path / "runs" / "r1" / "m" / "tensorboard")
    assert found["train/loss"] == [(1, 2.0)]
    assert found["heldout/GSM8K"] == [(0, 2.0)]


def test_texts_and_histograms_are_there_as_they_were_written(
    log: ProgressLog, tmp_path: Path, tiny_config: TrainingConfig
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracking = open_tracking(log, tmp_path, tiny_config.with_overrides({"trackers": "tensorboard"}))
    tracking.record(Sample("m", 3, "GSM8K", "How *many*?", "# 12\n<b>x</b>", "four"))
    tracking.record(PonderHistogram("m", 3, [0, 5, 0, 3]))
    tracking.record(step(4, loss=math.nan))
    tracking.close(NEVER)
    found = EventAccumulator(str(tmp_path / "runs" / "r1" / "m" / "tensorboard"), size_guidance={"tensors": 0})
    found.Reload()
    text = found.Tensors("samples/GSM8K/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    How *many*?" in text and "    # 12\n    <b>x</b>" in text, "indented: no markup"
    settings = found.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    max_steps = 5" in settings
    histogram = found.Histograms("ponder/steps_of_tokens")[0].histogram_value
    assert (histogram.num, histogram.sum, histogram.min, histogram.max) == (8, 14, 1, 3)
    assert math.isnan(found.Scalars("train/loss")[0].value)


def test_a_cancelled_model_gets_no_table(log: ProgressLog, tmp_path: Path, tiny_config: TrainingConfig) -> None:
    tracking = open_tracking(log, tmp_path, tiny_config.with_overrides({"trackers": "csv"}))
    tracking.record(step(1))
    tracking.close(NEVER)
    assert not (tmp_path / "runs" / "r1" / "m").exists()


# What fails


class MeasuringTrainer(ModelTrainer):
    """Learns nothing and says what it measured, a thousand times."""

    def __init__(self, record: RecordSink) -> None:
        self._record = record

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        for number in range(1, 1001):
            self._record(step(number, model_name))
            progress_callback(number, 1000, 1.0, 1e-3)
        return {
            **{"parameter_count": 0, "training_status": "completed", "artifacts": {}, "datasets_used": []},
            **{"training_stats": {}, "grokfast_enabled": False, "act_enabled": False, "ltm_enabled": False},
        }


def measuring_service(context: RunContext) -> TrainingService:
    trainer = MeasuringTrainer(context.record)
    return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)


class Broken(Tracker):
    """Fails where it is told to."""

    def __init__(self, where: str, error: Exception) -> None:
        self.where, self.error = where, error
        self._fail("open")

    def _fail(self, where: str) -> None:
        if self.where == where:
            raise self.error

    def record(self, record: Record) -> None:
        self._fail("record")

    def flush(self) -> None:
        self._fail("flush")

    def close(self) -> None:
        self._fail("close")

    async def emit_progress(self, progress: Any) -> None:
        self._fail("progress")

    async def emit_model_completed(self, artifacts: Any) -> None:
        self._fail("model")


FAULTS: dict[str, tuple[Exception, str]] = {
    "open": (ModuleNotFoundError("No module named 'tensorboardX'"), "ModuleNotFoundError: No module named"),
    "record": (OSError(errno.ENOSPC, "No space left on device"), "the disk is full."),
    "flush": (KeyError("step"), "KeyError: 'step'."),
    "close": (PermissionError(errno.EACCES, "Permission denied"), "PermissionError"),
    "progress": (StorageError("It lies elsewhere."), "It lies elsewhere. The run"),
    "model": (RuntimeError("of its own"), "RuntimeError: of its own."),
}


@pytest.mark.parametrize("where", FAULTS)
def test_a_tracker_that_fails_is_told_and_the_run_goes_on(
    where: str, open_manager: Callable[..., RunManager], tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, words = FAULTS[where]
    monkeypatch.setattr(choice, "TensorBoardTracker", lambda *_: Broken(where, error))
    monkeypatch.setattr(queues, "FLUSH_SECONDS", 0.01)
    manager = open_manager(build_service=measuring_service)
    run_id = manager.start(tiny_config.with_overrides({"trackers": ["tensorboard"]}), "Run", ["m"])
    assert manager.wait(run_id, LONG)
    assert manager.log.run(run_id).status is RunStatus.COMPLETED
    assert len(manager.log.metrics(run_id)) == 1000
    (warning,) = warnings_of(manager, run_id)
    assert warning.startswith("TensorBoard no longer records this run: ")
    assert words in warning
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("tracker")]


def test_what_the_database_refuses_no_tracker_hears_of() -> None:
    heard: list[Record] = []

    class Listening(Tracker):
        def record(self, record: Record) -> None:
            heard.append(record)

    def refuse(record: Record) -> None:
        if isinstance(record, StepMetrics) and record.step == 2:
            raise StorageError("No.")

    tracking = Tracking(MockProgressEmitter(), refuse, {"Listening": Listening})
    tracking.record(step(1))
    with pytest.raises(StorageError):
        tracking.record(step(2))
    tracking.close(NEVER)
    assert heard == [step(1)]


def test_a_tracker_that_does_not_keep_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever records never waits for it, neither while it hangs nor at the end."""
    monkeypatch.setattr(queues, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(queues, "MOST_WAITING", 500)
    free, told = threading.Event(), []
    good: list[Record] = []

    class Hanging(Tracker):
        def record(self, record: Record) -> None:
            assert free.wait(LONG)

    class Good(Tracker):
        def record(self, record: Record) -> None:
            good.append(record)

    def keep(record: Record) -> None:
        if isinstance(record, Event):
            told.append(record.message)

    tracking = Tracking(MockProgressEmitter(), keep, {"Slow": Hanging, "Good": Good})
    for number in range(1000):
        tracking.record(step(number))
        if number % 100 == 0:
            until(lambda: len(good) == number + 1, "that the good one keeps up")  # noqa: B023
    closing = threading.Event()
    closing.set()
    monkeypatch.setattr(queues, "HURRIED_SECONDS", 0.3)
    tracking.close(closing)
    assert "tracker-Slow" in {thread.name for thread in threading.enumerate()}, "it hangs still"
    free.set()
    assert told == [
        "Slow no longer records this run: it is 500 records behind. The run continues; the studio has all figures."
    ]
    until(lambda: len(good) == 1000, "that the good one has all")


def test_a_table_is_there_whole_or_not_at_all(
    log: ProgressLog, tmp_path: Path, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config.with_overrides({"trackers": "csv"})
    place = tmp_path / "runs" / "r1" / "m"
    place.mkdir(parents=True)
    tracking = open_tracking(log, tmp_path, config)
    tracking.record(step(1))
    tracking.close(NEVER)
    before = (place / "metrics.csv").read_bytes()
    again = open_tracking(log, tmp_path, config)
    again.record(step(2))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    again.close(NEVER)
    monkeypatch.undo()
    assert (place / "metrics.csv").read_bytes() == before
    assert [path.name for path in place.iterdir()] == ["metrics.csv"]
    log.raise_refused("r1")
    assert "the disk is full" in log.events("r1")[0]["message"]


# What must be installed


def test_a_missing_extra_is_told_with_its_command_before_anything_begins(
    open_manager: Callable[..., RunManager], tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    manager = open_manager(build_service=measuring_service)
    config = tiny_config.with_overrides({"trackers": ["trackio", "csv", "tensorboard"]})
    with pytest.raises(ConfigError, match="Trackio and TensorBoard must be installed first") as caught:
        manager.start(config, "Run", ["m"])
    assert 'pip install "cognate-studio[trackio,tensorboard]"' in caught.value.problems["trackers"]
    assert manager.log.runs() == []
    require_installed(TrainingConfig(trackers=["csv", "parquet"]))
    monkeypatch.undo()
    require_installed(TrainingConfig(trackers=["tensorboard", "trackio"]))


def test_a_repetition_needs_no_tracker(
    open_manager: Callable[..., RunManager], tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run may be another person's, who had them installed."""
    manager = open_manager(build_service=measuring_service)
    run_id = manager.start(tiny_config.with_overrides({"trackers": ["csv", "tensorboard"]}), "Run", ["m"])
    assert manager.wait(run_id, LONG)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    repeated = manager.start_verification(run_id)
    assert manager.wait(repeated, LONG)
    assert manager.log.run(repeated).config.trackers == []


def test_places_name_the_files_and_the_command(
    manager: RunManager, log: ProgressLog, tmp_path: Path, tiny_config: TrainingConfig
) -> None:
    open_tracking(log, tmp_path, tiny_config).close(NEVER)
    run = log.run("r1")
    assert tracker_places(run, tmp_path) == []
    every = tiny_config.with_overrides({"trackers": "tensorboard,csv,trackio"})
    log.create_run("r2", "Run", every, ["m", "n"], tmp_path, None)
    board, table, trackio = tracker_places(log.run("r2"), tmp_path)
    assert board.command == f"tensorboard --logdir {tmp_path / 'runs' / 'r2'}"
    assert table.files == f"{tmp_path}/runs/r2/m/metrics.csv, {tmp_path}/runs/r2/n/metrics.csv"
    assert trackio.command == f"TRACKIO_DIR={tmp_path / 'trackio'} trackio show --project cognate-studio"

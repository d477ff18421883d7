"""A trainer that waits for the test, so that each moment can be chosen, and what many tests of the RunManager ask."""

import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    Evaluation,
    Event,
    ModelTrainer,
    PonderHistogram,
    ProgressCallback,
    Record,
    RecordSink,
    RunStatus,
    Sample,
    StepMetrics,
)
from cognate_core.contracts.json_lines import record_to_json
from cognate_core.errors import PauseRequested, StopRequested, TrainingError
from cognate_core.runs.execution import BuildService, RunContext
from cognate_core.runs.manager import RunManager
from cognate_core.service import TrainingService
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests.waiting import LONG, until

OpenManager = Callable[..., RunManager]


class PatientTrainer(ModelTrainer):
    """Trains each model until it is let go or interrupted, then writes one file. Says what happens to each model.

    When it is paused, it leaves the shape of a checkpoint.
    """

    def __init__(self, deaf: bool = False) -> None:
        self.deaf = deaf  # hears of an interruption only when it is let go
        self.failing = False
        self.order: list[str] = []  # the models in the order in which they began
        self.seeds: list[int] = []  # of each in the order
        self.outcome: dict[str, str] = {}
        self.most_at_once = 0
        self._training = 0
        self._all_let_go = False
        self._lock = threading.Lock()
        self._events: dict[tuple[str, str], threading.Event] = {}

    def began(self, name: str) -> threading.Event:
        return self._event("began", name)

    def ended(self, name: str) -> threading.Event:
        return self._event("ended", name)

    def let_go(self, *names: str) -> None:
        for name in names:
            self._event("let go", name).set()

    def let_all_go(self) -> None:
        with self._lock:
            self._all_let_go = True
            for (what, _), event in self._events.items():
                if what == "let go":
                    event.set()

    def _event(self, what: str, name: str) -> threading.Event:
        with self._lock:
            event = self._events.setdefault((what, name), threading.Event())
            if what == "let go" and self._all_let_go:
                event.set()
            return event

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self._train, model_name, config, progress_callback)

    def _train(self, name: str, config: TrainingConfig, progress_callback: ProgressCallback) -> dict[str, Any]:
        folder = Path(config.output_dir) / name
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self.order.append(name)
            self.seeds.append(config.seed)
            self._training += 1
            self.most_at_once = max(self.most_at_once, self._training)
        self.began(name).set()
        status = "cancelled"
        try:
            status = self._train_until_let_go(name, progress_callback)
        except PauseRequested:
            status = "paused"
            leave_checkpoint(folder)
            raise
        finally:
            with self._lock:
                self._training -= 1
                self.outcome[name] = status
            self.ended(name).set()
        if self.failing:
            raise TrainingError("It would not learn.")
        (folder / "weights.bin").write_bytes(name.encode() * 1000)
        return {
            "parameter_count": 0,
            "training_status": status,
            "artifacts": {"weights": str(folder / "weights.bin")},
            "training_stats": {"steps": 1, "mock": True},
            "datasets_used": ["mock"],
            "grokfast_enabled": False,
            "act_enabled": False,
            "ltm_enabled": False,
        }

    def _train_until_let_go(self, name: str, progress_callback: ProgressCallback) -> str:
        let_go = self._event("let go", name)
        if self.deaf:
            let_go.wait()
        try:
            done = False
            while not done:
                done = let_go.wait(0.005)  # before the callback: what was asked before letting go is heard
                progress_callback(1, 10, 1.0, 1e-3)
        except StopRequested:
            return "stopped"
        return "completed"


def services_with(trainer: ModelTrainer) -> BuildService:
    def build(context: RunContext) -> TrainingService:
        return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)

    return build


class RecordingTrainer(MockModelTrainer):
    """Trains nothing, and keeps figures where the real one does: in the database and in the model's own log."""

    def __init__(self, record: RecordSink) -> None:
        super().__init__()
        self._record = record

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        folder = Path(config.output_dir) / model_name
        folder.mkdir(parents=True, exist_ok=True)
        files = {"weights": folder / "weights.bin", "training_log": folder / "training_log.jsonl"}
        files["weights"].write_bytes(model_name.encode() * 1000)
        with files["training_log"].open("w") as log:
            for record in figures_of(model_name, config.max_steps):
                log.write(json.dumps(record_to_json(record)) + "\n")
                self._record(record)
        result = await super().train_model(model_name, config, progress_callback)
        return {**result, "artifacts": {kind: str(path) for kind, path in files.items()}}


def recording_service(context: RunContext) -> TrainingService:
    """A build_service whose models have figures."""
    trainer = RecordingTrainer(context.record)
    return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)


def figures_of(model: str, steps: int) -> Iterator[Record]:
    """What a trainer records; the loss of the second step is no number."""
    yield Event("warning", "The model is very small.", model, 0)
    for step in range(steps + 1):
        if step:
            loss = math.nan if step == 2 else 5.0 / step
            yield StepMetrics(model, step, loss, 1e-3, 1.5, math.nan, 100, 0.1, step / 10, ponder_steps=2.5)
        if step in (0, steps):
            yield Event("info", "Checkpoint saved in 0.1 s", model, step)
            yield PonderHistogram(model, step, [0, 3, 7])
            yield Evaluation(model, step, "Synthetic", 4.0 - step / 10, 50)
            yield Evaluation(model, step, "GSM8K", 4.5 - step / 10, 60)
            yield Sample(model, step, "Synthetic", "What is 1 + 1?", "2?", "2")


def measured(log: ProgressReader, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """All that was measured of a run, by table; the number of a row, which only its order gives, is left out."""
    tables = {
        "metrics": log.metrics(run_id),
        "evaluations": log.evaluations(run_id),
        "ponder histograms": log.ponder_histograms(run_id),
        "samples": log.samples(run_id),
        "events": log.events(run_id),
    }
    return {
        table: [{column: value for column, value in row.items() if column != "id"} for row in rows]
        for table, rows in tables.items()
    }


class BlockedBuild:
    """A build_service that is still at it, as the first import of torch is, until it is let go."""

    def __init__(self, trainer: ModelTrainer) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.context: RunContext | None = None
        self._build = services_with(trainer)

    def __call__(self, context: RunContext) -> TrainingService:
        self.context = context
        self.begun.set()
        assert self.let_go.wait(LONG)
        return self._build(context)


def end_of(manager: RunManager, run_id: str) -> Run:
    """The run once it has ended."""
    manager.wait(run_id, LONG)
    run = manager.log.run(run_id)
    assert run.status.is_terminal, f"still {run.status}: {run.message}"
    assert run.finished_at is not None
    return run


def paused(manager: RunManager, run_id: str) -> Run:
    """Ask a run to pause; it, once it rests."""
    assert manager.pause(run_id)
    assert manager.wait(run_id, LONG)
    run = manager.log.run(run_id)
    assert run.status is RunStatus.PAUSED, f"it is {run.status}: {run.message}"
    return run


def begin(trainer: PatientTrainer, name: str, lives: int = 1) -> None:
    """Wait until training of a model has begun, for the second time if there were two lives."""
    assert trainer.began(name).wait(LONG), f"{name} never began"
    until(lambda: trainer.order.count(name) >= lives)


def leave_checkpoint(model_folder: Path, step: int = 5) -> None:
    """The shape of a checkpoint: enough for who only asks whether there is one."""
    checkpoint = model_folder / "checkpoints" / f"step-{step:08d}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "manifest.json").write_text("{}")


def add_waiting(log: ProgressLog, home: Path, config: TrainingConfig, run_id: str) -> None:
    """A queued run as an earlier process left it."""
    folder = home / "runs" / run_id
    config = config.with_overrides({"output_dir": str(folder)})
    log.create_run(run_id, run_id, config, [run_id], folder, None)


def status_of(manager: RunManager, run_id: str) -> RunStatus:
    return manager.log.run(run_id).status

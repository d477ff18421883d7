"""What lies beside a run, and runs that are really trained."""

import hashlib
import json
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Evaluation, Record, RunStatus, Sample, StepMetrics
from cognate_core.errors import StorageError
from cognate_core.runs import workspace
from cognate_core.runs.execution import RunContext, build_real_service
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.runs.timing import Timing
from cognate_core.service import COORDINATION_KEY, TrainingService
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.training.checkpoint import load_checkpoint
from tests.runs.manager.patient import OpenManager, PatientTrainer, begin, end_of, paused, services_with
from tests.waiting import LONG, until

pytestmark = pytest.mark.usefixtures("one_thread")


class TestRunFile:
    @pytest.fixture
    def kept(self, home: Path) -> Callable[[str], dict[str, Any]]:
        """What stands in a run's run.json."""
        return lambda run_id: json.loads((home / "runs" / run_id / "run.json").read_text())

    def test_is_there_as_soon_as_the_run_is(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        kept: Callable[[str], dict[str, Any]],
    ) -> None:
        ids = {name: start(studio, name) for name in "ab"}
        for name, run_id in ids.items():
            rows = kept(run_id)
            (run,) = rows["runs"]
            assert (run["id"], run["name"], run["model_names"]) == (run_id, name, json.dumps([name]))
            assert rows["models"] == rows["artifacts"] == []
        assert kept(ids["b"]) == studio.log.export_run(ids["b"])

    @pytest.mark.parametrize(
        "end", ["completed", "failed", "stopped", "cancelled", "paused", "cancelled while it waited"]
    )
    def test_says_how_the_run_ended(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        kept: Callable[[str], dict[str, Any]],
        end: str,
    ) -> None:
        trainer.failing = end == "failed"
        run_id, waiting = start(studio, "a"), start(studio, "waiting")
        begin(trainer, "a")
        if end == "cancelled while it waited":
            run_id = waiting
        match end.split()[0]:
            case "stopped":
                studio.stop(run_id)
            case "cancelled":
                studio.cancel(run_id)
            case "paused":
                studio.pause(run_id)
            case _:
                trainer.let_all_go()
        assert studio.wait(run_id, LONG)
        until(lambda: kept(run_id)["runs"][0]["status"] == end.split()[0])
        assert kept(run_id) == studio.log.export_run(run_id)
        assert len(kept(run_id)["models"]) == (end in ("completed", "stopped"))

    def test_says_that_a_run_was_interrupted(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        kept: Callable[[str], dict[str, Any]],
    ) -> None:
        studio = open_manager(build_service=services_with(trainer))
        run_id = start(studio, "a")
        begin(trainer, "a")
        studio.close()
        assert kept(run_id)["runs"][0]["status"] == RunStatus.INTERRUPTED

    def test_knows_what_was_deleted_and_restored(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        kept: Callable[[str], dict[str, Any]],
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a", "b"))
        model_id = studio.log.models(run.id)[0].id
        studio.delete_model(model_id)
        assert [row["name"] for row in kept(run.id)["models"]] == ["a"]
        (entry,) = studio.trash.entries()
        studio.restore(entry.id)
        assert sorted(row["name"] for row in kept(run.id)["models"]) == ["a", "b"]

    @pytest.mark.parametrize("refusal", [OSError(28, "No space left on device"), StorageError("It cannot be read.")])
    def test_without_it_a_run_goes_on_none_the_less(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        refusal: Exception,
    ) -> None:
        def refuse(*_: Any) -> None:
            raise refusal

        monkeypatch.setattr(workspace, "write_run_file", refuse)
        trainer.let_all_go()
        assert end_of(studio, start(studio, "a")).status is RunStatus.COMPLETED


class TestCoordination:
    def test_tells_the_process_the_database_and_what_runs(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
    ) -> None:
        studio = open_manager(build_service=services_with(trainer), timing=Timing(heartbeat=0.01))

        def record() -> dict[str, Any]:
            return studio.log.coordination(COORDINATION_KEY) or {}

        until(lambda: record() != {})
        assert (record()["pid"], record()["open"]) == (os.getpid(), True)
        assert record()["database"] == str(database_path(home))
        assert record()["active_runs"] == []
        run_id = start(studio, "a")
        start(studio, "waiting")
        begin(trainer, "a")
        until(lambda: record()["active_runs"] == [run_id])
        before = record()["updated_at"]
        until(lambda: record()["updated_at"] > before)

    def test_tells_when_the_studio_is_closed(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        start(studio, "a")
        begin(trainer, "a")
        studio.close()
        record = ProgressReader(database_path(home)).coordination(COORDINATION_KEY)
        assert record is not None
        assert record["open"] is False
        assert record["active_runs"] == []


class TestRealTraining:
    def test_a_whole_run_leaves_figures_for_each_step_and_files_that_are_what_they_say(
        self, manager: RunManager, tiny_config: TrainingConfig, home: Path
    ) -> None:
        run_id = manager.start(tiny_config, "Real", ["Real model"])
        manager.wait(run_id, LONG)
        run = manager.log.run(run_id)
        assert (run.status, run.error, run.progress) == (RunStatus.COMPLETED, None, 1.0)
        assert run.data_report is not None
        assert run.data_report["sources"][0]["name"] == "Synthetic"

        metrics = manager.log.metrics(run_id)
        assert [row["step"] for row in metrics] == list(range(1, tiny_config.max_steps + 1))
        for row in metrics:
            assert row["model_name"] == "Real model"
            figures = (
                "loss",
                "learning_rate",
                "grad_norm",
                "filtered_grad_norm",
                "seconds",
                "elapsed_seconds",
            )
            assert all(math.isfinite(row[figure]) and row[figure] > 0 for figure in figures)
            assert row["tokens"] > 0
        elapsed = [row["elapsed_seconds"] for row in metrics]
        assert elapsed == sorted(elapsed)
        evaluations = manager.log.evaluations(run_id)
        assert [row["step"] for row in evaluations] == [0, tiny_config.max_steps]
        assert all(row["loss"] > 0 and row["dataset"] == "Synthetic" for row in evaluations)
        assert [row["step"] for row in manager.log.samples(run_id)] == [0, tiny_config.max_steps]
        assert any("Checkpoint" in row["message"] for row in manager.log.events(run_id))

        model = manager.log.models(run_id)[0]
        assert (model.name, model.status) == ("Real model", "completed")
        assert model.details["training_stats"]["steps"] == tiny_config.max_steps
        files = manager.log.artifacts(model.id)
        kinds = {"weights", "config", "tokenizer", "training_config", "training_log", "model_card"}
        assert {file["kind"] for file in files} == kinds
        for file in files:
            content = (home / file["path"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
            assert content

    def test_paused_resumed_and_stopped_while_it_prepares_it_has_the_model_of_where_it_was(
        self, open_manager: OpenManager, tiny_config: TrainingConfig
    ) -> None:
        asked: list[Callable[[str], bool]] = []

        def build(context: RunContext) -> TrainingService:
            if asked:
                assert asked.pop()(context.run_id)
            return build_real_service(context)

        studio = open_manager(build_service=build)
        run_id = studio.start(tiny_config.with_overrides({"max_steps": 100_000, "save_steps": 100}), "a", ["a"])
        until(lambda: len(studio.log.metrics(run_id)) > 2, "some steps")
        paused(studio, run_id)
        step = studio.resume_step(run_id)
        asked.append(studio.stop)
        studio.resume(run_id)
        run = end_of(studio, run_id)
        assert (run.status, run.message) == (RunStatus.STOPPED, "Stopped and saved")
        (model,) = studio.log.models(run_id)
        assert model.status == "stopped" and step <= model.details["training_stats"]["steps"] <= step + 1

    def test_closing_in_the_midst_of_training_loses_no_step(
        self, open_manager: OpenManager, tiny_config: TrainingConfig, home: Path
    ) -> None:
        trained = threading.Event()
        seen: list[Record] = []

        def build(context: RunContext) -> TrainingService:
            record = context.record

            def watch(each: Record) -> None:
                record(each)
                seen.append(each)
                if isinstance(each, StepMetrics) and each.step >= 3:
                    trained.set()

            context.record = watch
            return build_real_service(context)

        studio = open_manager(build_service=build)
        run_id = studio.start(tiny_config.with_overrides({"max_steps": 1_000_000}), "Real", ["Real model"])
        assert trained.wait(LONG)
        studio.close()

        reader = ProgressReader(database_path(home))
        run = reader.run(run_id)
        assert run.status is RunStatus.INTERRUPTED
        assert reader.models(run_id) == []
        steps = [row["step"] for row in reader.metrics(run_id)]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= 3
        checkpoint = max((home / "runs" / run_id).glob("*/checkpoints/step-*"))
        assert load_checkpoint(checkpoint).state["step"] == steps[-1] == run.step
        assert ReadOnlyManager(home).resume_step(run_id) == steps[-1]
        assert len(reader.evaluations(run_id)) == sum(isinstance(each, Evaluation) for each in seen)
        assert len(reader.samples(run_id)) == sum(isinstance(each, Sample) for each in seen)

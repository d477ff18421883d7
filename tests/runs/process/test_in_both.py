"""A run is the same in a thread and in a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cognate_core.contracts import RunStatus
from cognate_core.errors import RunError
from cognate_core.runs.manager import RunManager
from tests.runs.process.workers import (
    ENDLESS,
    STEPS,
    OpenManager,
    at_rest,
    folders_of_models,
    small_config,
    steps_of,
    what_was_learned,
    when_step,
)
from tests.waiting import LONG


class TestInBoth:
    def test_a_run_that_rested_in_between_completes_with_the_bits_of_one_left_alone(
        self, studio: RunManager, left_alone: dict[str, Any], home: Path
    ) -> None:
        asked = when_step(studio, 3, studio.pause)
        run_id = studio.start(small_config(), "Real", ["Real model"])
        assert asked.wait(LONG)
        run = at_rest(studio, run_id)
        assert (run.status, run.error, run.finished_at) == (RunStatus.PAUSED, None, None)
        rested_at = studio.resume_step(run_id)
        assert 3 <= rested_at < STEPS
        assert steps_of(studio.log, run_id) == list(range(1, rested_at + 1))
        assert studio.log.models(run_id) == []
        assert (run.step, run.total_steps) == (rested_at, STEPS)
        first_life = run.worked_seconds or 0.0

        studio.resume(run_id)
        run = at_rest(studio, run_id)
        assert (run.status, run.error, run.message) == (RunStatus.COMPLETED, None, "Training is complete")
        assert steps_of(studio.log, run_id) == list(range(1, STEPS + 1))
        assert what_was_learned(studio, run_id) == left_alone
        assert (run.step, run.progress) == (STEPS, 1.0)
        assert run.data_report is not None
        assert (run.worked_seconds or 0.0) > first_life > 0
        assert any(event["message"] == f"Resumed after step {rested_at}" for event in studio.log.events(run_id))
        (model,) = studio.log.models(run_id)
        for file in studio.log.artifacts(model.id):
            assert (home / file["path"]).stat().st_size == file["bytes"]

    def test_a_stopped_run_has_a_model_that_goes_on_as_the_same_model(
        self, studio: RunManager, left_alone: dict[str, Any]
    ) -> None:
        asked = when_step(studio, 3, studio.stop)
        run_id = studio.start(small_config(), "Real", ["Real model"])
        assert asked.wait(LONG)
        run = at_rest(studio, run_id)
        assert (run.status, run.message, run.error) == (RunStatus.STOPPED, "Stopped and saved", None)
        (stopped,) = studio.log.models(run_id)
        assert stopped.status == "stopped"
        steps = stopped.details["training_stats"]["steps"]
        assert 3 <= steps < STEPS
        assert steps_of(studio.log, run_id) == list(range(1, steps + 1))
        assert {file["kind"] for file in studio.log.artifacts(stopped.id)} >= {"weights", "config", "tokenizer"}

        studio.resume(run_id)
        assert at_rest(studio, run_id).status is RunStatus.COMPLETED
        (model,) = studio.log.models(run_id)
        assert (model.id, model.details["model_id"], model.status) == (stopped.id, stopped.id, "completed")
        assert steps_of(studio.log, run_id) == list(range(1, STEPS + 1))
        assert what_was_learned(studio, run_id) == left_alone

    def test_of_a_cancelled_run_nothing_is_kept(self, studio: RunManager, home: Path) -> None:
        asked = when_step(studio, 3, studio.cancel)
        run_id = studio.start(small_config(**ENDLESS, save_steps=1), "Real", ["Real model"])
        assert asked.wait(LONG)
        run = at_rest(studio, run_id)
        assert (run.status, run.message, run.error) == (RunStatus.CANCELLED, "Cancelled", None)
        assert studio.log.models(run_id) == []
        assert folders_of_models(home, run_id) == []
        assert studio.resume_step(run_id) == 0
        with pytest.raises(RunError, match="cancelled cannot be resumed"):
            studio.resume(run_id)


def test_a_run_that_fails_says_the_same_in_both(open_manager: OpenManager, home: Path, tmp_path: Path) -> None:
    wrong = {
        "gone": small_config(dataset_path=str(tmp_path / "gone.jsonl")),
        # Each step multiplies the weights by -9.
        "diverging": small_config(
            max_steps=60, learning_rate=1.0, weight_decay=10.0, warmup_ratio=0.0, act_enabled=False, ltm_enabled=False
        ),
    }
    ends: dict[str, dict[str, Any]] = {}
    for executor in ("thread", "process"):
        studio = open_manager(executor=executor, max_parallel=2)
        ids = {name: studio.start(config, name, ["Real model"]) for name, config in wrong.items()}
        ends[executor] = {}
        for name, run_id in ids.items():
            run = at_rest(studio, run_id)
            assert run.error_details is not None
            assert run.error_details.rstrip().endswith(run.error or "-"), "the details say where"
            ends[executor][name] = (run.status, run.error, run.message, len(studio.log.metrics(run_id)))
            assert studio.log.models(run_id) == []
        studio.close()
    assert ends["process"] == ends["thread"]
    status, error, _, _ = ends["process"]["gone"]
    assert (status, error) == (
        RunStatus.FAILED,
        f"There is no file {tmp_path / 'gone.jsonl'}. Check its name, or choose another.",
    )
    status, error, _, _ = ends["process"]["diverging"]
    assert status is RunStatus.DIVERGED
    assert error.startswith("The loss stopped being a number at step")

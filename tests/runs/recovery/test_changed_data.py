"""A run whose data has changed is refused, and can go on once they are as before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs.manager import RunManager
from tests.runs.process.workers import at_rest, when_step


def write_rows(path: Path, word: str) -> None:
    path.write_text("".join(json.dumps({"text": f"{word} number {n}"}) + "\n" for n in range(60)), "utf-8")


def test_a_file_that_is_brought_back_lets_its_run_go_on(
    open_manager: Callable[..., RunManager], tiny_config: TrainingConfig, tmp_path: Path
) -> None:
    studio, file = open_manager(), tmp_path / "own.jsonl"
    write_rows(file, "First")
    when_step(studio, 2, studio.pause)
    config = tiny_config.with_overrides({"dataset_path": str(file), "max_steps": 12, "vocab_size": 300})
    run_id = studio.start(config, "Own", ["model"])
    assert at_rest(studio, run_id).status is RunStatus.PAUSED
    shutil.rmtree(studio.home / "cache" / "prepared")
    write_rows(file, "Second")
    for _ in range(2):
        studio.resume(run_id)
        run = at_rest(studio, run_id)
        assert run.status is RunStatus.FAILED and "no longer what this run began with" in str(run.error)
    write_rows(file, "First")
    studio.resume(run_id)
    run = at_rest(studio, run_id)
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)

"""The studio's side of measuring accuracy: one at a time, in a process of its own, kept beside the weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts.answers import Accuracy, Score, StepScores
from cognate_core.errors import RunError, StorageError
from cognate_core.runs import RunManager
from cognate_core.runs.accuracy import ACCURACY_FILE, Measurement, read_accuracy
from tests.there import there
from tests.waiting import LONG, until

SCORE: dict[str, Any] = {"dataset": "A", "asked": 10, "right": 3, "commonest": "4", "commonest_right": 1}
KEPT: dict[str, Any] = {
    "measured_at": "2026-11-23T02:54:37.698+00:00",
    "weights_sha256": "ab",
    "limit": 10,
    "seed": 0,
    "temperature": 0.0,
    "data_hash": "cd",
    "seconds": 1.5,
    "steps": [{"step": 4, "scores": [SCORE]}],
    "left_out": {"B": "no answers"},
}


def measuring_process() -> psutil.Process:
    """The process in which this test's studio measures: one that another test has closed may still be ending."""

    def found() -> list[psutil.Process]:  # a process has no command line yet in the moment when it begins
        return [
            process
            for process in psutil.process_iter(["ppid", "cmdline"])
            if process.info["ppid"] == os.getpid()
            and (process.info["cmdline"] or [])[-1:] == ["cognate_core.runs.accuracy_worker"]
        ]

    return max(until(found, "a measuring process"), key=lambda process: process.create_time())


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig) -> Path:
    """A data folder with one plain model and its checkpoints: trained once for all tests here."""
    home = tmp_path_factory.mktemp("accuracy") / "home"
    manager = RunManager(home, executor="thread")
    plain = {"act_enabled": False, "ltm_enabled": False, "save_steps": 2, "eval_interval": 2}
    assert manager.wait(manager.start(tiny_config.with_overrides(plain), "Tiny", ["tiny"]), LONG)
    manager.close()
    return home


@pytest.fixture
def manager(trained_home: Path, tmp_path: Path) -> Iterator[RunManager]:
    shutil.copytree(trained_home, tmp_path / "home")
    manager = RunManager(tmp_path / "home")
    yield manager
    manager.close()


@pytest.fixture
def model_id(manager: RunManager) -> str:
    return manager.log.models()[0].id


def folder_and_hash(manager: RunManager, model_id: str) -> tuple[Path, str]:
    weights = next(row for row in manager.log.artifacts(model_id) if row["kind"] == "weights")
    return manager.store.path(weights["path"]).parent, weights["sha256"]


def measured(manager: RunManager) -> Measurement:
    until(lambda: there(manager.measurement()).ended, "the end of the measurement")
    return there(manager.measurement())


def test_a_model_and_its_checkpoints_are_measured_and_the_result_is_kept(manager: RunManager, model_id: str) -> None:
    folder, sha256 = folder_and_hash(manager, model_id)
    assert read_accuracy(folder, sha256) is None
    assert manager.measurement() is None
    steps = manager.kept_steps(model_id)
    assert steps == [2, 4], "the checkpoint of the last step is the model itself"
    manager.measure_accuracy(model_id, 3, checkpoints=True)
    with pytest.raises(RunError, match="Another measurement is running"):
        manager.measure_accuracy(model_id, 3)
    with pytest.raises(RunError, match="is being measured"):
        manager.delete_model(model_id)
    with pytest.raises(RunError, match="is being measured"):
        manager.delete_run(manager.log.model(model_id).run_id)
    state = measured(manager)
    assert (state.model_id, state.problem, state.total) == (model_id, None, 9)
    accuracy = read_accuracy(folder, sha256)
    assert accuracy is not None
    assert [row.step for row in accuracy.steps] == [2, 4, 5]
    assert all([(score.dataset, score.asked) for score in row.scores] == [("Synthetic", 3)] for row in accuracy.steps)
    assert accuracy.limit == 3 and accuracy.seconds > 0
    manager.delete_model(model_id)


def test_a_cancelled_measurement_leaves_nothing_and_no_process(manager: RunManager, model_id: str) -> None:
    manager.measure_accuracy(model_id, 1000)
    process = measuring_process()
    manager.cancel_measurement()
    ended = there(manager.measurement())
    assert ended.ended and ended.problem is None
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert not list(folder_and_hash(manager, model_id)[0].glob("accuracy*"))
    manager.cancel_measurement()  # once more changes nothing


def test_what_cannot_be_measured_is_told_in_a_sentence(manager: RunManager, model_id: str) -> None:
    folder, _ = folder_and_hash(manager, model_id)
    (folder / "config.json").write_text("{")
    manager.measure_accuracy(model_id, 1)
    assert "cannot be opened" in (measured(manager).problem or "")
    assert not (folder / ACCURACY_FILE).exists()


def test_a_process_that_ends_without_a_word_is_told(manager: RunManager, model_id: str) -> None:
    manager.measure_accuracy(model_id, 1000)
    process = measuring_process()
    process.kill()
    assert "ended without a result" in (measured(manager).problem or "")


def test_what_is_kept_reads_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / ACCURACY_FILE).write_text(json.dumps(KEPT))
    expected = Accuracy(**{**KEPT, "steps": [StepScores(4, [Score(**SCORE)])]})
    assert read_accuracy(tmp_path, "ab") == expected


def test_the_figures_of_other_weights_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / ACCURACY_FILE).write_text(json.dumps(KEPT))
    with pytest.raises(StorageError, match="belongs to other weights"):
        read_accuracy(tmp_path, "ef")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        "{}",
        json.dumps({**KEPT, "steps": 3}),
        json.dumps({**KEPT, "steps": []}),
        json.dumps({**KEPT, "more": 1}),
        json.dumps({**KEPT, "left_out": []}),
        json.dumps({**KEPT, "seconds": "long"}),
        json.dumps({**KEPT, "steps": [{"step": 4, "scores": []}]}),
        json.dumps({**KEPT, "steps": [{"step": 4, "scores": [{**SCORE, "right": 11}]}]}),
        json.dumps({**KEPT, "steps": [{"step": 4, "scores": [{**SCORE, "asked": 0, "right": 0}]}]}),
        json.dumps({**KEPT, "steps": [{"step": "4", "scores": [SCORE]}]}),
        json.dumps({**KEPT, "steps": [{"step": 4, "scores": [{**SCORE, "right": "3"}]}]}),
        json.dumps({**KEPT, "steps": [{"step": 4, "scores": [{**SCORE, "commonest": 4}]}]}),
    ],
)
def test_a_damaged_file_is_told_as_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / ACCURACY_FILE).write_text(content)
    with pytest.raises(StorageError, match=r"cannot be read \(.*Measure it again"):
        read_accuracy(tmp_path, "ab")


def test_a_measurement_ends_with_the_studio(manager: RunManager, model_id: str) -> None:
    manager.measure_accuracy(model_id, 1000)
    process = measuring_process()
    manager.close()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "its end")

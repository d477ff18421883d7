"""Ways to lose a database or a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.config.sweep import Sweep
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.storage.progress_reader import ProgressReader
from tests.runs.manager.patient import measured


def all_there_is(studio: RunManager) -> list[dict[str, Any]]:
    """The rows and figures of each run, the newest first."""
    log = ProgressReader(studio.log.path)
    return [{**log.export_run(run.id), **measured(log, run.id)} for run in log.runs()]


def lose(home: Path) -> None:
    """Delete the database."""
    for path in home.glob("studio.sqlite*"):
        path.unlink()


def make_garbage(home: Path) -> None:
    database_path(home).write_bytes(b"This is no database. " * 10_000)


def cut_off(home: Path) -> None:
    path = database_path(home)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_some_pages(home: Path) -> None:
    content = bytearray(database_path(home).read_bytes())
    content[4096 * 2 : 4096 * 6] = b"\xa5" * (4096 * 4)
    database_path(home).write_bytes(content)


def edited(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    """The run's own row with these values; None of a value that is `...`."""

    def edit(rows: dict[str, Any]) -> Any:
        row = {**rows["runs"][0], **changes}
        return {**rows, "runs": [{column: value for column, value in row.items() if value is not ...}]}

    return edit


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "null": lambda _: None,
    "a list": lambda rows: [rows],
    "no tables": lambda _: {},
    "no run": lambda rows: {**rows, "runs": []},
    "two runs": lambda rows: {**rows, "runs": rows["runs"] * 2},
    "a word for a run": lambda rows: {**rows, "runs": ["run"]},
    "another's id": edited(id="another"),
    "no id": edited(id=...),
    "an unknown status": edited(status="levitating"),
    "no status": edited(status=...),
    "no name": edited(name=...),
    "no date": edited(created_at=...),
    "a date of another kind": edited(created_at=None),
    "a number for a date": edited(created_at=17),
    "no models' names": edited(model_names=...),
    "models' names that are none": edited(model_names="first, second"),
    "a number for models' names": edited(model_names=3),
    "no settings": edited(config=...),
    "settings that are a list": edited(config="[]"),
    "settings that are a number": edited(config=5),
    "a data report that is none": edited(data_report="{"),
    "tags that are none": edited(tags="demo"),
    "a number for tags": edited(tags="3"),
    "a word for progress": edited(progress="half"),
    "a word for seconds": edited(worked_seconds="long"),
    "a word for models": lambda rows: {**rows, "models": "first"},
    "words for models": lambda rows: {**rows, "models": ["first"]},
    "a model without id": lambda rows: {**rows, "models": [{**rows["models"][0], "id": None}]},
    "a model of another run": lambda rows: {**rows, "models": [{**rows["models"][0], "run_id": "another"}]},
    "details of a model that are none": lambda rows: {**rows, "models": [{**rows["models"][0], "details": "{"}]},
    "a file of no model": lambda rows: {**rows, "artifacts": [{**rows["artifacts"][0], "model_id": "another"}]},
}


CHANGES: dict[str, tuple[Any, ...]] = {
    "start": (TrainingConfig(), "late", ["late"]),
    "start_twin": ("run",),
    "start_branch": ("run", "done", 1, {}, "late"),
    "start_verification": ("run",),
    "start_sweep": (Sweep(TrainingConfig(), {"seed": [1, 2]}), "late"),
    "cancel_group": ("group",),
    "rename_run": ("run", "late"),
    "tag_runs": (["run"],),
    "describe_model": ("model",),
    "measure_accuracy": ("model", 1),
    "cancel_measurement": (),
    "pause": ("run",),
    "stop": ("run",),
    "cancel": ("run",),
    "resume": ("run",),
    "move_in_queue": ("run", 1),
    "delete_model": ("model",),
    "delete_run": ("run",),
    "restore": ("entry",),
    "forget_recovery_note": (),
    "remove_for_good": ("x",),
    "empty_trash": (),
    "remove_upload": ("x",),
}
LOOKS = {"close", "recovery_note", "resume_step", "wait", "silent_seconds", "memory_bytes", "checkpoint_steps"}


LOOKS |= {"batch_at", "kept_steps", "measurement", "introduce", "say_address", "weights", "prepare_worker"}

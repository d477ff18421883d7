"""Trackio's database on this computer, and nothing else of Trackio.

`trackio.init` is not used: it may print, monitor the processor, start a page in a notebook, and sends figures away if
TRACKIO_SPACE_ID or TRACKIO_SERVER_URL is set; it also has one current run for all threads of a context. The layer below
it, `trackio.sqlite_storage.SQLiteStorage`, writes one file, raises if it cannot, and takes the run with each call.
"""

from __future__ import annotations

import json
import os
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from cognate_core.contracts import Evaluation, Record, Rewind, StepMetrics, utc_now
from cognate_core.errors import StorageError
from cognate_core.storage.rows import Run
from cognate_core.tracking.tracker import Tracker, named_figures

PROJECT = "cognate-studio"
FOLDER = "trackio"
"""In the data directory."""

_importing = threading.Lock()


class TrackioTracker(Tracker):
    """A Trackio run for each model of the run, all in one project: its page can compare them.

    Args:
        folder: the folder of Trackio's database; a process has only one.

    Raises:
        ImportError: Trackio is not installed.
        StorageError: Trackio already writes to another folder in this process.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self._run, self._storage = run, _storage(folder)
        self._waiting: dict[str, list[tuple[int, str, dict[str, float]]]] = {}
        self._config: dict[str, Any] = json.loads(run.config.model_dump_json())

    def record(self, record: Record) -> None:
        match record:
            case Rewind():
                self._rewind(record)
            case StepMetrics() | Evaluation():
                entry = (record.step, utc_now(), dict(named_figures(record)))
                self._waiting.setdefault(record.model_name, []).append(entry)

    def flush(self) -> None:
        for model, entries in self._waiting.items():
            self._write(model, entries)
        self._waiting.clear()

    def close(self) -> None:
        self.flush()

    def _write(self, model: str, entries: list[tuple[int, str, dict[str, float]]]) -> None:
        steps, times, figures = (list(column) for column in zip(*entries, strict=True))
        self._storage.bulk_log(
            PROJECT, self._label(model), figures, steps, times, config=self._config, run_id=self._id(model)
        )

    def _rewind(self, rewind: Rewind) -> None:
        """Rewrite the run with the steps that count: Trackio cannot forget single steps."""
        self.flush()
        model = rewind.model_name
        kept = []
        for row in self._storage.get_logs(PROJECT, self._label(model), run_id=self._id(model)):
            figures = {name: value for name, value in row.items() if name not in ("step", "timestamp")}
            checked = any(name.startswith("heldout") for name in figures)
            if row["step"] <= (rewind.checked_step if checked else rewind.step):
                kept.append((row["step"], row["timestamp"], figures))
        self._storage.delete_run(PROJECT, self._label(model), run_id=self._id(model))
        if kept:
            self._write(model, kept)

    def _label(self, model: str) -> str:
        return model if model == self._run.name else f"{self._run.name}, {model}"

    def _id(self, model: str) -> str:
        return f"{self._run.id}/{model}"


def _storage(folder: Path) -> Any:
    """Trackio's storage. The folder is set before the import: Trackio reads it only then."""
    with _importing:
        os.environ["TRACKIO_DIR"] = str(folder)
        storage = import_module("trackio.sqlite_storage").SQLiteStorage
    if storage.get_project_db_path(PROJECT).parent != folder:
        raise StorageError("Trackio already writes to another folder in this process. Restart the studio")
    return storage

"""Recovery without the database: each run's folder describes the run, so the list of runs can be rebuilt."""

from __future__ import annotations

import json
from pathlib import Path

from cognate_core.contracts import TRAINING_LOG_FILE
from cognate_core.contracts.json_lines import read_records
from cognate_core.errors import CognateError
from cognate_core.files import replace_durably
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import check_rows

RUN_FILE = "run.json"
"""In a run's folder: its database rows, without measurements (those are in its models' own logs)."""


def write_run_file(log: ProgressReader, run_id: str, folder: Path) -> None:
    """Save a run's rows beside its files, unless the run was deleted. Raises OSError."""
    rows = log.export_run(run_id)
    if rows["runs"]:
        folder.mkdir(parents=True, exist_ok=True)
        replace_durably(folder / RUN_FILE, json.dumps(rows, indent=1).encode())


def add_missing_runs(log: ProgressLog, runs_folder: Path) -> tuple[int, list[str]]:
    """Add every run folder missing from the database; returns how many, and a sentence for each unreadable one."""
    found, problems = [], []
    for path in runs_folder.glob(f"*/{RUN_FILE}"):
        folder = path.parent
        if log.is_taken("runs", folder.name) or folder.is_symlink():
            continue
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            (run,) = rows["runs"]
            if run["id"] != folder.name:
                raise ValueError("it belongs to another run")
            check_rows(rows)
            found.append((run["created_at"], folder, rows))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            problems.append(f"The run in {folder.name} cannot be read ({error}).")
    added = 0
    for _, folder, rows in sorted(found, key=lambda each: (each[0], each[1])):
        try:
            log.import_rows(rows)
            fill_from_logs(log, folder)
            added += 1
        except CognateError as error:
            problems.append(f"The run in {folder.name} cannot be added. {error}")
    return added, problems


def fill_from_logs(log: ProgressLog, folder: Path) -> None:
    """Add records of a run that are in its models' own logs but not in the database."""
    for path in sorted(folder.glob(f"*/{TRAINING_LOG_FILE}")):
        log.fill_gaps(folder.name, read_records(path))

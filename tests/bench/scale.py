"""What a studio of years feels like: many runs of some hundred steps in one database, doubled again and again.

The basis of docs/scale.md: bytes for a row, and which waiting grows with what.
"""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.contracts import StepMetrics
from cognate_core.runs import database_path
from cognate_core.storage.curves import read_curves
from cognate_core.storage.progress_log import ProgressLog
from tests.bench.growth import grown
from tests.bench.timing import heading, line, seconds
from tests.faults.large_home import LONG_RUN, MODEL, make_large_home

STEPS = 500  # of each run
RUNS = [1_000, 2_000, 4_000]
WRITTEN = 5_000  # rows, to see whether writing slows down
COPIED = ("metrics", "evaluations", "samples", "ponder_histograms")


def fill(home: Path, runs: int) -> Path:
    """A data folder with `runs` runs of STEPS steps and one model each; its database."""
    make_large_home(home, STEPS, runs=1)
    path = database_path(home)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    columns = {
        table: ", ".join(
            row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] not in ("id", "run_id")
        )
        for table in COPIED
    }
    details = '{"model_name": "million", "artifacts": {}, "training_stats": {"steps": 500}}'
    with connection:
        connection.execute("CREATE TEMP TABLE other AS SELECT * FROM runs")
        for number in range(1, runs):
            run_id = f"{number:012x}"
            connection.execute("UPDATE other SET id = ?, name = ?", [run_id, f"Run {number}"])
            connection.execute("INSERT INTO runs SELECT * FROM other")
            connection.execute(
                "INSERT INTO models (id, run_id, name, status, parameter_count, created_at, details) "
                "VALUES (?, ?, ?, 'completed', 1, '2026-01-01', ?)",
                [f"m{run_id}", run_id, MODEL, details],
            )
            for table in COPIED:
                connection.execute(
                    f"INSERT INTO {table} (run_id, {columns[table]}) SELECT ?, {columns[table]} FROM {table} "
                    "WHERE run_id = ?",
                    [run_id, LONG_RUN],
                )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


def main() -> None:
    heading(f"Scale: runs of {STEPS} steps in one database; exponent at each doubling, 0 is no growth")
    with tempfile.TemporaryDirectory() as folder:
        logs: dict[int, ProgressLog] = {}
        for runs in RUNS:
            path = fill(Path(folder) / str(runs), runs)
            size = path.stat().st_size
            line(f"database of {runs:,} runs", f"{size / 1e6:,.0f} MB", f"{size / runs / STEPS:.0f} bytes a step")
            logs[runs] = ProgressLog(path)

        def checked(runs: int) -> None:
            connection = sqlite3.connect(logs[runs].path)
            connection.execute("PRAGMA quick_check").fetchall()
            connection.close()

        def write(runs: int) -> None:
            log = logs[runs]
            for step in (next(written) for _ in range(WRITTEN)):
                log.record(LONG_RUN, StepMetrics("written", step, 1.0, 1e-3, 1.0, 1.0, 2048, 0.2, 0.2 * step))
            log.set_coordination("k", {})  # waits until all is written

        config = TrainingConfig()
        begun, written = itertools.count(), itertools.count()
        middle = f"{RUNS[0] // 2:012x}"
        work: dict[str, Callable[[int], object]] = {
            "the newest 50 runs": lambda runs: logs[runs].runs(50),
            "all runs (Home)": lambda runs: logs[runs].runs(),
            "one run": lambda runs: logs[runs].run(middle),
            "one model": lambda runs: logs[runs].model(f"m{middle}"),
            "all models (Models)": lambda runs: logs[runs].models(),
            "curves of one run": lambda runs: read_curves(logs[runs].path, middle, MODEL),
            "whether more came (a watcher's look)": lambda runs: logs[runs].newest_ids(middle),
            "a run begun": lambda runs: logs[runs].create_run(f"new-{next(begun)}", "n", config, ["m"], Path(), None),
            f"{WRITTEN:,} rows written": write,
            "the check of the whole database at a start": checked,
        }
        for what, each in work.items():
            grown(what, RUNS, [seconds(partial(each, runs), repeats=3) for runs in RUNS])
        for log in logs.values():
            log.close()

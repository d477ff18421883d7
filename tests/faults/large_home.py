"""A data folder as after years of work: one run of a million steps, and 500 runs in all.

By hand: `python -m tests.faults.large_home FOLDER`.
"""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cognate_core.config import TrainingConfig
from cognate_core.runs import database_path
from cognate_core.storage.progress_log import ProgressLog

STEPS = 1_000_000
RUNS = 500
LONG_RUN, LONG_RUN_NAME, MODEL = "0123456789ab", "A million steps", "million"
SPIKE_STEP, SPIKE_LOSS = 654_321, 97.5
MISSING_STEP = 333_333
DATASETS = ("GSM8K", "SVAMP")


def make_large_home(home: Path, steps: int = STEPS, runs: int = RUNS) -> None:
    """Fill the new data folder `home`. The long run is the newest; the others have one step row each."""
    home.mkdir(parents=True)
    config = TrainingConfig(max_steps=steps)
    log = ProgressLog(database_path(home))
    log.create_run(LONG_RUN, LONG_RUN_NAME, config, [MODEL], home / "runs", None)
    log.close()
    connection = sqlite3.connect(database_path(home))
    connection.execute("PRAGMA synchronous = OFF")
    with connection:
        connection.execute(
            "UPDATE runs SET status = 'completed', progress = 1, step = ?, total_steps = ?, "
            "message = 'Complete', started_at = created_at, finished_at = created_at",
            [steps, steps],
        )
        connection.execute("CREATE TEMP TABLE other AS SELECT * FROM runs")
        for number in range(1, runs):
            connection.execute("UPDATE other SET id = ?, name = ?", [f"{number:012x}", f"Run {number}"])
            connection.execute("INSERT INTO runs SELECT * FROM other")
        connection.execute("UPDATE runs SET rowid = ? WHERE id = ?", [runs + 1, LONG_RUN])

        def insert(table: str, columns: str, rows: Iterator[tuple[object, ...]]) -> None:
            columns = f"run_id, model_name, step, {columns}"
            marks = ", ".join("?" * len(columns.split(", ")))
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)

        figures = (
            "loss, learning_rate, grad_norm, filtered_grad_norm, tokens, seconds, elapsed_seconds, ponder_steps, "
            "ponder_loss, memory_notes, memory_written, memory_gate, memory_null_share"
        )
        insert("metrics", figures, (row for number in range(1, runs) for row in _rows(f"{number:012x}", 1)))
        insert("metrics", figures, _rows(LONG_RUN, steps))
        checks = [(LONG_RUN, MODEL, step) for step in range(0, steps + 1, config.eval_interval)]
        each = [(*check, name) for check in checks for name in DATASETS]
        insert("evaluations", "dataset, loss, tokens", ((*check, 5 - 3 * check[2] / steps, 9) for check in each))
        insert("samples", "dataset, prompt, text, expected", ((*check, *["How many? " * 20] * 3) for check in each))
        counts = json.dumps([0, 900, 500, 200, 100, 50, 20, 5])
        insert("ponder_histograms", "counts", ((*check, counts) for check in checks[1:]))
    connection.close()


def _rows(run_id: str, steps: int) -> Iterator[tuple[object, ...]]:
    noise = np.random.default_rng(0).normal(size=steps)
    for step, n in enumerate(noise.tolist(), start=1):
        part = step / steps
        loss = (
            SPIKE_LOSS if step == SPIKE_STEP else None if step == MISSING_STEP else 2 + 7 * math.exp(-5 * part) + n / 9
        )
        rate, share = 1e-3 * (1 - part), 0.5 + n / 20
        of_step = (loss, rate, 2 + n, 1 + n, 2048, 0.1, 0.1 * step)
        yield run_id, MODEL, step, *of_step, 4 + n, share / 9, 40 + n, share / 7, share / 3, share / 2


if __name__ == "__main__":
    make_large_home(Path(sys.argv[1]))

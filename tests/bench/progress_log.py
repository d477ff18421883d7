"""The progress log: rows a second, and what logging costs a training step."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.contracts import StepMetrics
from cognate_core.storage.progress_log import ProgressLog
from tests.bench.timing import heading, line, seconds

ROWS = 20_000
FIRST_RUN_STEP_SECONDS = 0.2  # a step of the quickest preset; bench "model" measures it


def main() -> None:
    heading("Progress log")
    with tempfile.TemporaryDirectory() as folder:
        log = ProgressLog(Path(folder) / "log.sqlite")
        log.create_run("run", "bench", TrainingConfig(), ["m"], Path(folder), None)
        step = 0

        def append() -> None:
            nonlocal step
            for _ in range(ROWS):
                step += 1
                log.record("run", StepMetrics("m", step, 1.0, 1e-3, 1.0, 1.0, 2048, 0.2, 0.2 * step))

        append_seconds = seconds(append, repeats=1, warmups=0)
        write_seconds = append_seconds + seconds(lambda: log.set_coordination("k", {}), repeats=1, warmups=0)
        line("appending a row, for the trainer", f"{append_seconds / ROWS * 1e6:.1f} µs")
        share = append_seconds / ROWS / FIRST_RUN_STEP_SECONDS
        line("share of a 0.2 s step", f"{share:.4%}", "must stay below 1 %")
        line("rows written, with their commits", f"{ROWS / write_seconds:,.0f} a second")
        everything = seconds(lambda: log.metrics("run"), repeats=3)
        newest = seconds(lambda: log.metrics("run", after_id=ROWS - 5), repeats=5)
        line(f"reading all {ROWS:,} rows", f"{everything * 1000:.0f} ms")
        line("reading the 5 newest", f"{newest * 1000:.2f} ms", f"{everything / newest:.0f} x quicker")
        log.close()

"""What the progress log takes of a training step, and of the studio; and how fast it is written and read."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import Phase, Record, StepMetrics, TrainingProgress
from cognate_core.contracts.json_lines import record_from_json
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.runs.worker import Lines
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.training.hardware import choose_precision, keep_freed_memory
from cognate_core.training.text_loop import TextLoop
from cognate_core.training.trainer import _tee
from tests.bench.timing import heading, line, seconds

MADE_HERE: dict[str, Any] = {
    "dataset_sources": ["Synthetic"],
    "max_train_samples": 300,
    "max_eval_samples": 1,
    "sample_tokens": 0,
    "eval_interval": 100_000,
    "save_steps": 100_000,
    "precision": "fp32",
}
TINY: dict[str, Any] = {
    "d_model": 16,
    "n_layers": 1,
    "n_heads": 1,
    "act_enabled": False,
    "ltm_enabled": False,
    "batch_size": 1,
    "gradient_accumulation_steps": 1,
    "train_seq_len": 128,
    "vocab_size": 300,
}
ROUNDS = 3
ROWS = 20_000
LISTENER = [sys.executable, "-c", "import sys; sys.stdin.buffer.read()"]


class Stopwatch:
    """Calls a function and adds up what it takes."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def around(self, function: Callable[[], None]) -> None:
        start = time.perf_counter()
        function()
        self.seconds += time.perf_counter() - start
        self.calls += 1


def trained(config: TrainingConfig, data: PreparedData, folder: Path, *, logged: bool) -> tuple[float, Stopwatch]:
    """Seconds of a step, and what its records and the line with its progress took of them in this process."""
    watch, ends = Stopwatch(), []
    with (
        subprocess.Popen(LISTENER, stdin=subprocess.PIPE) as listener,
        (folder / "training_log.jsonl").open("a", encoding="utf-8", buffering=1) as log,
    ):
        lines = Lines(cast("BinaryIO", listener.stdin))
        sink = _tee(lines.record, log)

        def record(item: Record) -> None:
            if logged:
                watch.around(lambda: sink(item))

        def progress(step: int, total: int, loss: float, _: float) -> None:
            if logged:
                told = TrainingProgress(
                    step / total, "Training", Phase.TRAINING, step, total, loss if math.isfinite(loss) else None
                )
                watch.around(lambda: lines.say("progress", asdict(told)))
            ends.append(time.perf_counter())

        TextLoop("m", config, data, folder, choose_precision("fp32"), record, progress).run()
        listener.communicate()
    return (ends[-1] - ends[2]) / (len(ends) - 3), watch


def overhead(name: str, config: TrainingConfig, folder: Path) -> None:
    loader = MixtureLoader(config, folder / "cache", lambda _: None, lambda _: None)
    asyncio.run(loader.download_dataset("Synthetic", "built in"))
    data = PreparedData(Path(asyncio.run(loader.create_mixed_training_data())))
    steps, shares, costs = {True: 1e9, False: 1e9}, [], []
    for _ in range(ROUNDS):
        for logged in (True, False):
            step, watch = trained(config, data, folder, logged=logged)
            steps[logged] = min(steps[logged], step)
            if logged:
                costs.append(watch.seconds / config.max_steps)
                shares.append(costs[-1] / step)
    limit = ", must stay below 1 %" if name == "first-run" else ""
    line(f"{name}: a step, nothing recorded", f"{steps[False] * 1000:.2f} ms", f"best of {ROUNDS}, in turns")
    line(f"{name}: the same, recorded", f"{steps[True] * 1000:.2f} ms", f"{steps[True] / steps[False] - 1:+.1%}")
    line(
        f"{name}: records and progress, timed by themselves",
        f"{min(costs) * 1e6:.0f} µs",
        f"{min(shares):.3%} of a step{limit}",
    )


def studio(folder: Path) -> None:
    """The other end of the pipe: what each step costs the studio's process, its writing thread included."""
    log = ProgressLog(folder / "log.sqlite")
    log.create_run("run", "bench", TrainingConfig(), ["m"], folder, None)
    step = StepMetrics("m", 1, 1.0, 1e-3, 1.0, 1.0, 2048, 0.2, 0.2, 2.0, 0.1, 10.0, 0.1, 0.1, 0.9)
    values = {"type": "StepMetrics", **asdict(step)}
    said = [json.dumps({"record": {**values, "step": number}}) for number in range(1, ROWS + 1)]

    def heard() -> None:
        for text in said:
            log.record("run", record_from_json(json.loads(text)["record"]))

    start, cpu = time.perf_counter(), time.process_time()
    heard()
    log.set_coordination("k", {})  # waits until all is written
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    line(
        "studio: reading a line and writing its row",
        f"{cpu / ROWS * 1e6:.0f} µs",
        "of processor time, in its own process",
    )
    line("studio: rows written, with their commits", f"{ROWS / took:,.0f} a second")
    everything = seconds(lambda: log.metrics("run"), repeats=3)
    newest = seconds(lambda: log.metrics("run", after_id=ROWS - 5), repeats=5)
    line(f"studio: reading all {ROWS:,} rows", f"{everything * 1000:.0f} ms")
    line("studio: reading the 5 newest", f"{newest * 1000:.2f} ms", f"{everything / newest:.0f} x quicker")
    log.close()


def main() -> None:
    heading("The progress log's share of training")
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        first_run = PRESETS["first-run"].config.with_overrides({**MADE_HERE, "max_steps": 12})
        overhead("first-run", first_run, Path(folder))
        overhead("tiny", TrainingConfig(**{**MADE_HERE, **TINY, "max_steps": 300}), Path(folder))
        studio(Path(folder))

"""What becomes of waiting when rows, steps and runs are doubled: an exponent of 1 is linear, more grows faster."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Rewind, StepMetrics
from cognate_core.contracts.json_lines import read_records
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.packing import EncodedDocument, pack
from cognate_core.data.sources import synthetic_source
from cognate_core.insight.detectors import findings
from cognate_core.runs import database_path
from cognate_core.storage.curves import read_curves
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.training.trainer import _line, _shorten_log
from tests.bench.timing import heading, line, seconds
from tests.faults.large_home import LONG_RUN, MODEL, make_large_home

WORSE = 1.1
ROWS = 2_500
STEPS = 30_000  # beyond what is read step by step
RUNS = 125
LOG_LINES = 10_000


def grown(what: str, sizes: list[int], took: list[float]) -> None:
    """The seconds at each size, and the exponent of each doubling. Both together decide: one alone is noisy."""
    exponents = [math.log2(after / before) for before, after in pairwise(took)]
    times = ", ".join(f"{each * 1000:.1f}" for each in took)
    mark = f"   WORSE THAN {WORSE}" if sum(exponents) / len(exponents) > WORSE else ""
    beside = f"{times} ms for {', '.join(f'{size:,}' for size in sizes)}{mark}"
    line(what, ", ".join(f"{each:.2f}" for each in exponents), beside)


def measured(what: str, sizes: list[int], work: Callable[[int], object], rounds: int = 5) -> None:
    """The best of several rounds, the sizes in turns."""
    took = [math.inf] * len(sizes)
    for _ in range(rounds):
        for place, size in enumerate(sizes):
            took[place] = min(took[place], seconds(partial(work, size), repeats=1, warmups=0))
    grown(what, sizes, took)


def doubled(first: int) -> list[int]:
    return [first, 2 * first, 4 * first]


def of_rows(folder: Path) -> None:
    """Preparing data: all of it, and the packing alone, whose search could grow."""

    def prepare(rows: int) -> None:
        config = TrainingConfig(dataset_sources=["Synthetic"], max_train_samples=rows, max_eval_samples=10)
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            loader = MixtureLoader(config, Path(cache), lambda _: None, lambda _: None)
            asyncio.run(loader.download_dataset("Synthetic", "built in"))
            asyncio.run(loader.create_mixed_training_data())

    sizes = doubled(4 * ROWS)
    documents = {rows: [EncodedDocument([1] * (20 + 37 * n % 200), 5) for n in range(rows)] for rows in sizes}

    def packed(rows: int) -> None:
        pack(documents[rows], 512, answers_only=False)

    def made(rows: int) -> None:
        synthetic_source(TrainingConfig(max_train_samples=rows, max_eval_samples=10))

    measured("rows: made here", doubled(ROWS), made)
    measured("rows: data prepared", doubled(ROWS), prepare, rounds=3)
    measured("rows: packing alone", sizes, packed)


def of_steps(folder: Path) -> None:
    """Opening Monitor: each query for its charts, and what is said of them."""
    sizes = doubled(STEPS)
    readers = {}
    for size in sizes:
        make_large_home(folder / f"steps-{size}", size, runs=1)
        readers[size] = ProgressReader(database_path(folder / f"steps-{size}"))

    def captions(size: int) -> None:
        reader = readers[size]
        curves = read_curves(reader.path, LONG_RUN, MODEL)
        checks = reader.evaluations(LONG_RUN)
        config = reader.run(LONG_RUN).config
        loss, norm = curves.lines["loss"], curves.lines["grad_norm"]
        findings(loss, curves.mean_loss, curves.mean_counts, curves.missing_loss, norm, checks, config)

    queries: dict[str, Callable[[int], object]] = {
        "curves": lambda size: read_curves(readers[size].path, LONG_RUN, MODEL),
        "curves and their captions": captions,
        "held-out measurements": lambda size: readers[size].evaluations(LONG_RUN),
        "newest held-out measurements": lambda size: readers[size].newest_evaluations(LONG_RUN, MODEL),
        "ponder histograms": lambda size: readers[size].ponder_histograms(LONG_RUN),
        "steps with samples": lambda size: readers[size].sample_steps(LONG_RUN, MODEL),
        "samples of a step": lambda size: readers[size].samples_at(LONG_RUN, MODEL, size // 2),
        "pace (newest rows)": lambda size: readers[size].last_metrics(LONG_RUN, 50),
        "whether more came": lambda size: readers[size].newest_ids(LONG_RUN),
    }
    for what, query in queries.items():
        measured(f"steps: {what}", sizes, query)


def of_runs(folder: Path) -> None:
    """Opening Home, and beginning one more run."""
    sizes = doubled(RUNS)
    logs = {}
    for size in sizes:
        make_large_home(folder / f"runs-{size}", 200, runs=size)
        logs[size] = ProgressLog(database_path(folder / f"runs-{size}"))
    begun = iter(range(1_000_000))
    config = TrainingConfig()
    queries: dict[str, Callable[[int], object]] = {
        "list of runs": lambda size: logs[size].runs(),
        "queue": lambda size: logs[size].queued_run_ids(),
        "models": lambda size: logs[size].models(),
        "one run": lambda size: logs[size].run(LONG_RUN),
        "a run begun": lambda size: logs[size].create_run(f"new-{next(begun)}", "n", config, ["m"], folder, None),
    }
    for what, query in queries.items():
        measured(f"runs: {what}", sizes, query)
    for log in logs.values():
        log.close()


def of_resumes(folder: Path) -> None:
    """Going on from the middle: the model's log is shortened, the database forgets the rest."""
    sizes = doubled(LOG_LINES)
    paths, texts, logs = {}, {}, {}
    for size in sizes:
        steps = [StepMetrics(MODEL, n, 1.0, 1e-3, 1.0, 1.0, 2048, 0.2, 0.2 * n) for n in range(1, size + 1)]
        texts[size], paths[size] = "".join(map(_line, steps)), folder / f"log-{size}.jsonl"
        log = logs[size] = ProgressLog(folder / f"resume-{size}.sqlite")
        log.create_run("run", "bench", TrainingConfig(), [MODEL], folder, None)
        for step in steps:
            log.record("run", step)
        log.set_coordination("k", {})  # waits until all is written

    def shorten(size: int) -> None:
        paths[size].write_text(texts[size], encoding="utf-8")
        _shorten_log(paths[size], Rewind(MODEL, size // 2, size // 2))

    def rewind(size: int) -> None:
        logs[size].record("run", Rewind(MODEL, size // 2, size // 2))

    def refill(size: int) -> None:
        logs[size].fill_gaps("run", read_records(paths[size]))

    measured("resume: the model's log shortened", sizes, shorten)
    forgotten, refilled = [math.inf] * 3, [math.inf] * 3
    for _ in range(3):
        for place, size in enumerate(sizes):
            paths[size].write_text(texts[size], encoding="utf-8")
            forgotten[place] = min(forgotten[place], seconds(partial(rewind, size), 1, 0))
            refilled[place] = min(refilled[place], seconds(partial(refill, size), 1, 0))
    grown("resume: rows forgotten", sizes, forgotten)
    grown("resume: lost rows taken from the log", sizes, refilled)
    for log in logs.values():
        log.close()


def main() -> None:
    heading("Growth: exponent at each doubling; 1 is linear, 0 is no growth")
    with tempfile.TemporaryDirectory() as folder:
        for part in (of_rows, of_steps, of_runs, of_resumes):
            part(Path(folder))

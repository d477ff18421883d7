"""Small runs in processes, and stand-ins for a worker."""

from __future__ import annotations

import subprocess
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Record, StepMetrics
from cognate_core.runs import process as process_module
from cognate_core.runs.execution import RunContext
from cognate_core.runs.manager import RunManager
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from tests.tiny import OF_THE_MACHINE
from tests.waiting import LONG

OpenManager = Callable[..., RunManager]


STEPS = 24
ENDLESS = {"max_steps": 1_000_000, "eval_interval": 1_000_000}


def small_config(**changes: Any) -> TrainingConfig:
    """A few steps of a model that ponders and remembers; nothing but a pause or the end writes a checkpoint."""
    config = TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=60,
        max_eval_samples=10,
        train_seq_len=128,
        max_seq_len=128,
        d_model=16,
        n_layers=2,
        n_heads=2,
        max_act_steps=3,
        act_inference_steps=3,
        d_mem=16,
        mem_segment=64,
        mem_writes=4,
        vocab_size=400,
        max_steps=STEPS,
        batch_size=2,
        gradient_accumulation_steps=1,
        learning_rate=1e-2,
        eval_interval=STEPS // 2,
        sample_tokens=4,
        save_steps=100,
        precision="fp32",
        threads=1,
    )
    return config.with_overrides(changes)


def what_was_learned(studio: RunManager, run_id: str) -> dict[str, Any]:
    """All that training decides, and no clock; each must be equal to the last bit."""
    log = studio.log
    (model,) = log.models(run_id)
    clocks = {"id", "run_id", *OF_THE_MACHINE}
    tables = {
        "metrics": log.metrics(run_id),
        "evaluations": log.evaluations(run_id),
        "samples": log.samples(run_id),
    }
    return {
        **{
            table: [{column: value for column, value in row.items() if column not in clocks} for row in rows]
            for table, rows in tables.items()
        },
        "weights": next(file["sha256"] for file in log.artifacts(model.id) if file["kind"] == "weights"),
        "held out": model.details["training_stats"]["heldout_loss"],
        "status": model.status,
    }


def when_step(studio: RunManager, step: int, do: Callable[[str], object]) -> threading.Event:
    """Call `do(run_id)` as soon as the studio hears of this step or a later one; the event is set when it was done."""
    record, done = studio.log.record, threading.Event()

    def watch(run_id: str, each: Record) -> None:
        record(run_id, each)
        if isinstance(each, StepMetrics) and each.step >= step and not done.is_set():
            do(run_id)
            done.set()

    studio.log.record = watch  # type: ignore[method-assign, assignment]
    return done


def at_rest(studio: RunManager, run_id: str) -> Run:
    """The run once nobody works on it any more."""
    assert studio.wait(run_id, LONG), f"still {studio.log.run(run_id).status}"
    return studio.log.run(run_id)


def steps_of(log: ProgressReader, run_id: str) -> list[int]:
    return [row["step"] for row in log.metrics(run_id)]


def folders_of_models(home: Path, run_id: str) -> list[Path]:
    return [path for path in (home / "runs" / run_id).iterdir() if path.is_dir()]


def started_by_hand(context: RunContext, errors: Any) -> subprocess.Popen[bytes]:
    """A real worker, given its job as the studio gives it."""
    execution = process_module.ProcessExecution(context)
    Path(context.config.output_dir).mkdir(parents=True)
    return execution.started(errors)


HEAD = """
import json, os, select, signal, sys

def say(words):
    sys.stdout.write(json.dumps(words) + "\\n")
    sys.stdout.flush()

def end(status="completed", message="The stand-in has ended"):
    say({"outcome": {"status": status, "message": message}})
    sys.exit()

first_line = sys.stdin.readline()
"""


def play(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """From now on, the worker of a run is this script."""
    (folder / "stand_in.py").write_text(HEAD + textwrap.dedent(script))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(process_module, "WORKER_MODULE", "stand_in")

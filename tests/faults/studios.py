"""Studios that are started to be killed, and what is looked at afterwards."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.runs import database_path
from cognate_core.runs.process import workers
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from tests.waiting import LONG, until

ROOT = Path(__file__).parents[2]


class Host:
    """tests/faults/host.py in a process of its own."""

    def __init__(self, home: Path, order: str, subject: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.host", str(home), order, subject],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the studio did not start"
        answer = json.loads(line)
        self.run_id: str = answer["run_id"]
        self.found: dict[str, tuple[str, int]] = {run_id: (status, step) for run_id, status, step in answer["found"]}

    @property
    def log(self) -> ProgressReader:
        return ProgressReader(database_path(self.home))

    def run(self) -> Run:
        return self.log.run(self.run_id)

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._reap()

    def _reap(self) -> None:
        self.process.wait(LONG)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def wait_for_no_worker(run_id: str) -> None:
    """Until no worker of the run is left."""
    until(lambda: run_id not in workers(), "the end of the worker")


def wait_for_the_end(home: Path, run_id: str) -> None:
    """Until the run has ended. A long one is waited for as long as it makes steps."""
    log = ProgressReader(database_path(home))

    def ended() -> bool:
        return log.run(run_id).status.is_terminal

    while not ended():
        before = len(log_steps(home, run_id))
        until(lambda: ended() or len(log_steps(home, run_id)) > before, "another step")  # noqa: B023


def integrity(home: Path) -> str:
    connection = sqlite3.connect(database_path(home))
    try:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    finally:
        connection.close()
    return str(verdict)


def fingerprint(home: Path, run_id: str) -> dict[str, Any]:
    """What must be equal bit for bit: each step's loss, each check, each sample, and all tensors at the end."""
    log = ProgressReader(database_path(home))
    (folder,) = {path.parent for path in (home / "runs" / run_id).glob("*/model.safetensors")}
    last = max((folder / "checkpoints").glob("step-????????"))
    return {
        "losses": [(row["step"], row["loss"], row["grad_norm"]) for row in log.metrics(run_id)],
        "checks": [(row["step"], row["dataset"], row["loss"]) for row in log.evaluations(run_id)],
        "samples": [(row["step"], row["text"]) for row in log.samples(run_id)],
        "weights": digest(folder / "model.safetensors"),
        "checkpoint": last.name,
        "model": digest(last / "model.safetensors"),
        "optimizer and filter": digest(last / "optimizer.safetensors"),
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def log_steps(home: Path, run_id: str) -> list[dict[str, Any]]:
    """The step records of the model's own log, in order."""
    paths = list((home / "runs" / run_id).glob("*/training_log.jsonl"))
    if not paths:
        return []
    lines = paths[0].read_text(errors="replace").splitlines(keepends=True)
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record for record in records if record["type"] == "StepMetrics"]


def wait_for_training(home: Path, run_id: str, after_step: int = 0, steps: int = 3) -> None:
    """Until the worker's log has at least so many steps after that one."""

    def goes_on() -> bool:
        return sum(row["step"] > after_step for row in log_steps(home, run_id)) >= steps

    until(goes_on, "training")


def small_config(**changes: Any) -> TrainingConfig:
    """A model whose step takes milliseconds, with everything on, and many checkpoints."""
    values: dict[str, Any] = {
        "dataset_sources": ["Synthetic"],
        "max_train_samples": 60,
        "max_eval_samples": 6,
        "train_seq_len": 128,
        "max_seq_len": 128,
        "d_model": 16,
        "n_layers": 3,
        "n_heads": 2,
        "d_mem": 16,
        "mem_segment": 64,
        "max_act_steps": 3,
        "act_inference_steps": 3,
        "mem_writes": 4,
        "vocab_size": 400,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "eval_interval": 40,
        "sample_tokens": 4,
        "save_steps": 10,
        "precision": "fp32",
    }
    return TrainingConfig.from_values({**values, **changes})

"""Runs, models and measurements to write."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    Evaluation,
    Event,
    LayerFigures,
    ModelArtifacts,
    Phase,
    PonderHistogram,
    Record,
    RunStatus,
    Sample,
    StepMetrics,
    TrainingProgress,
    utc_now,
)
from cognate_core.storage.progress_log import ProgressLog

DEFAULTS = TrainingConfig()
TERMINAL = [status for status in RunStatus if status.is_terminal]
HOSTILE = {
    "SQL": "'; DROP TABLE runs; --\" OR 1=1",
    "emoji": "👩‍👩‍👧‍👦 🏴‍☠️ é́",
    "right to left": "\u202etxt.exe مرحبا שלום",
    "10,000 characters": "x😀" * 5000,
    "lines and NUL": "one\ntwo\r\n\tthree\0four",
    "HTML": "<script>alert(1)</script> & </b> ![x](javascript:1)",
    "formula": "=cmd|' /C calc'!A0",
    "path": "../../etc/passwd",
    "empty": "",
}


hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def add_run(log: ProgressLog, config: TrainingConfig, run_id: str, **fields: Any) -> str:
    values = {
        "name": "First",
        "model_names": ["m"],
        "folder": Path("/home/runs/x"),
        "start_key": None,
        **fields,
    }
    return log.create_run(run_id=run_id, config=config, **values)


def settle(log: ProgressLog) -> None:
    """Everything written so far is visible now: a call comes after all rows that were appended before it."""
    log.claim("no such run")


def bring_to(log: ProgressLog, run_id: str, status: RunStatus) -> None:
    """Put a run where it may never come by its own life."""
    connection = sqlite3.connect(log.path, isolation_level=None)
    assert connection.execute("UPDATE runs SET status = ? WHERE id = ?", [status.value, run_id]).rowcount == 1
    connection.close()


def step_metrics(step: int, model_name: str = "m", **fields: Any) -> StepMetrics:
    values: dict[str, Any] = {
        "loss": 1.5,
        "learning_rate": 1e-3,
        "grad_norm": 0.5,
        "filtered_grad_norm": 0.7,
        "tokens": 100,
    }
    values |= {"seconds": 0.1, "elapsed_seconds": 0.1 * step, **fields}
    return StepMetrics(model_name=model_name, step=step, **values)


def progress(phase: Phase, message: str = "Going", **fields: Any) -> TrainingProgress:
    return TrainingProgress(fields.pop("progress", 0.5), message, phase, **fields)


def a_model(model_id: str, **fields: Any) -> ModelArtifacts:
    values: dict[str, Any] = {
        "model_name": "m",
        "phase_name": Phase.TRAINING,
        "parameter_count": 1234,
        "created_at": utc_now(),
        "training_status": "completed",
        "focus": "Synthetic",
        "training_mode": "GrokFast",
        "datasets_used": ["Synthetic"],
        "training_stats": {"steps": 5, "heldout_loss": {"Synthetic": 2.5}},
        "grokfast_enabled": True,
        "act_enabled": False,
        "ltm_enabled": False,
        "artifacts": {"weights": "runs/x/m/model.safetensors"},
        "capabilities": ["text generation"],
    }
    return ModelArtifacts(model_id=model_id, **{**values, **fields})


def a_file(kind: str, path: str = "runs/x/m/model.safetensors") -> dict[str, Any]:
    return {"kind": kind, "path": path, "bytes": 10, "sha256": "0" * 64}


def measured(log: ProgressLog, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Everything that was measured of a run, without the numbers of the rows."""
    settle(log)
    tables = {
        "metrics": log.metrics(run_id),
        "histograms": log.ponder_histograms(run_id),
        "layers": log.layer_figures(run_id),
        "evaluations": log.evaluations(run_id),
        "samples": log.samples(run_id),
        "events": log.events(run_id),
    }
    return {
        name: [{key: value for key, value in row.items() if key not in ("id", "run_id")} for row in rows]
        for name, rows in tables.items()
    }


def a_life(model_name: str = "m", first: int = 1, last: int = 12, check_every: int = 4) -> list[Record]:
    """What a model records from one step to another, in its order."""
    records: list[Record] = [Event("info", "Number format fp32", model_name, first - 1, "2026-01-01T00:00:00+00:00")]
    for step in range(first, last + 1):
        records.append(step_metrics(step, model_name, loss=5.0 / step))
        if step % check_every == 0:
            records.append(PonderHistogram(model_name, step, [0, step, 2]))
            sizes: list[float | None] = [0.1, 1 / step]
            names, magnitudes = ["embedding", "layer 1"], [[step, 0], [1, 2]]
            records.append(LayerFigures(model_name, step, names, sizes, [None, 0.0], [1e-3, 2e-3], magnitudes))
            records += [Evaluation(model_name, step, name, 3.0 / step, 10) for name in ("GSM8K", "SVAMP", "Synthetic")]
            records += [Sample(model_name, step, name, "p", f"at {step}", "e") for name in ("GSM8K", "SVAMP")]
            records.append(Event("info", f"Checkpoint of {step}", model_name, step, "2026-01-01T00:00:00+00:00"))
    return records

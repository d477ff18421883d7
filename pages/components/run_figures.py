"""Figures of a run that several pages show, taken from the progress log."""

from __future__ import annotations

from datetime import datetime

from cognate_core.contracts import RunStatus
from cognate_core.insight.estimates import seconds_left
from cognate_core.insight.words import duration
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import Run

PACE_STEPS = 50  # the newest steps that the pace is measured over


def measured_seconds_left(log: ProgressLog, run: Run) -> float | None:
    """Seconds until all models are done at the recent pace, checks and samples included; None while unknown."""
    if run.status is not RunStatus.TRAINING or not run.step or not run.total_steps:
        return None
    rows = log.last_metrics(run.id, PACE_STEPS)
    rows = [row for row in rows if row["model_name"] == rows[-1]["model_name"]]
    if len(rows) < 2:
        return None
    pace = (rows[-1]["elapsed_seconds"] - rows[0]["elapsed_seconds"]) / (rows[-1]["step"] - rows[0]["step"])
    models_after = len(run.model_names) - 1 - run.model_names.index(rows[-1]["model_name"])
    this_model = seconds_left(run.step, run.total_steps, pace)
    return None if this_model is None else this_model + models_after * run.total_steps * pace


def time_estimate_line(log: ProgressLog, run: Run) -> str:
    """The run's time estimate, compared with the time it took once it has ended; empty without an estimate."""
    if run.time_estimate is None:
        return ""
    low, high = run.time_estimate["low_seconds"], run.time_estimate["high_seconds"]
    promised = f"Estimated for training: {duration(low)} to {duration(high)}"
    ended_early = (run.step or 0) < (run.total_steps or 0)
    if run.status is not RunStatus.COMPLETED or ended_early:
        return f"{promised}."
    seconds = log.training_seconds(run)
    if seconds is None:
        return f"{promised}."
    kept = (
        "as estimated" if low <= seconds <= high else "less than estimated" if seconds < low else "more than estimated"
    )
    return f"{promised}; it took {duration(seconds)}, {kept}."


def run_seconds(run: Run) -> float | None:
    """The run's working time in seconds, without pauses; None while unknown."""
    if run.worked_seconds is not None or run.started_at is None or run.finished_at is None:
        return run.worked_seconds
    # Older runs have no measured time.
    return (datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.started_at)).total_seconds()

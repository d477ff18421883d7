"""Figures of a run that several pages show, taken from the progress log."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cognate_core.contracts import RunStatus
from cognate_core.contracts.heldout import heldout_means
from cognate_core.insight.estimates import seconds_left
from cognate_core.insight.glossary import explained
from cognate_core.insight.words import duration
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import Run

PACE_STEPS = 50  # the newest steps that the pace is measured over


class Figure(NamedTuple):
    """A large number, what it is, and what stands behind its question mark."""

    label: str
    value: str
    help: str | None = None


def headline(log: ProgressLog, run: Run, model_name: str) -> list[Figure]:
    """The newest figures of one model of a run."""
    recent = log.last_metrics(run.id, PACE_STEPS, model_name=model_name)
    unseen = heldout_means(log.newest_evaluations(run.id, model_name))
    seconds, tokens = (sum(row[name] for row in recent) for name in ("seconds", "tokens"))
    lab = run.config.task == "arithmetic"
    things, unit = ("problems", "problems") if lab else ("text", "tokens")
    found = [
        Figure("Step", f"{run.step or 0:,} of {run.total_steps or run.config.max_steps:,}", explained("step")),
        Figure(
            "How wrong it is (loss)",
            _number(recent[-1]["loss"] if recent else None),
            explained("loss", f"Measured on the {things} it learns from."),
        ),
    ]
    if unseen.accuracy is not None:
        grokking = explained("grokking") if lab else None
        found.append(Figure("Unseen problems right", f"{unseen.accuracy:.1%}", grokking))
    heldout = f"On unseen {things} (held-out loss)"
    found.append(Figure(heldout, _number(unseen.loss), explained("held-out loss")))
    if unseen.bits_per_byte is not None:
        bits = explained("bits per byte", "Measured on unseen text.")
        found.append(Figure("Bits per byte", _number(unseen.bits_per_byte), bits))
    speed = f"{tokens / seconds:,.0f} {unit}/s" if seconds else "unknown"
    counted = None if lab else explained("token", "Only the tokens that it learns from count.")
    return [*found, Figure("Speed", speed, counted)]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


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

"""The curves of a run as arrays, read as they are drawn: every step of a short run, the extremes of a long one.

Beside the step rows, the database keeps a summary of each hundred (table metric_spans, filled by a trigger). From it, a
run of a million steps is read in a fraction of a second, and no spike is lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cognate_core.contracts.metrics import CURVES, METRICS
from cognate_core.storage.database import reading

SHORT_RUN = 20_000  # steps that are read one by one; above, two points of each hundred are enough for a chart
SPAN_STEPS = 100  # as in the trigger
_OF_MODEL = "WHERE run_id = ? AND model_name = ?"
_SPAN_COLUMNS = ["step", "mean_loss", "losses", "missing_step", "elapsed_seconds", "tokens"]

Floats = npt.NDArray[np.float64]
Curve = tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class Curves:
    """The data of one model's charts, in order of step."""

    lines: dict[str, Curve]  # for each figure asked for: the steps that have it, and its values
    mean_loss: Curve  # of the rows up to each step
    mean_counts: Floats  # how many rows each mean is over
    missing_loss: Floats  # steps whose loss is not a number, at least one per span
    gaps: dict[str, Floats]  # steps at which a figure's line is broken: it would hide what is not a number
    elapsed_seconds: Curve  # of training, up to each step
    tokens: Curve  # learned from, up to each step


def read_curves(path: Path, run_id: str, model_name: str, figures: Sequence[str] = CURVES) -> Curves:
    """The curves of one model of a run, from the database at `path`. `figures`: "loss" first, and others of CURVES.

    Raises:
        StorageError: there is no readable database.
    """
    ends = [column for figure in figures for column in _ends(figure)]
    model = (run_id, model_name)
    with reading(path) as connection:
        spans = _spans(connection, [*_SPAN_COLUMNS, *ends], model, 0, SHORT_RUN)
        first_end, begin = (spans[0, 0], spans[0, -1]) if spans.size else (-1, -1)
        columns = ["step", "elapsed_seconds", "tokens", *figures]
        rows = _table(connection, columns, f"metrics {_OF_MODEL} AND step > ?", *model, begin)
        # Time and tokens start at the first step, not at the end of its span.
        begins = f"metrics {_OF_MODEL} AND step = (SELECT min(step) FROM metrics {_OF_MODEL}) AND step < ?"
        first = _table(connection, ["step", "elapsed_seconds", "tokens"], begins, *model, *model, first_end)
    last_steps, means, counts, missing, elapsed, tokens = spans[: len(_SPAN_COLUMNS)]
    steps, losses = rows[0], rows[3]
    missing = np.r_[missing, steps[np.isnan(losses)]]
    missing = missing[np.isfinite(missing)]
    lines, gaps = {}, {}
    for number, figure in enumerate(figures):
        low, low_step, high, high_step = spans[len(_SPAN_COLUMNS) + 4 * number :][:4]
        lines[figure] = _in_order((low_step, high_step, steps), (low, high, rows[3 + number]))
        gaps[figure] = np.r_[last_steps[np.isnan(low)], steps[np.isnan(rows[3 + number])]]
        if not METRICS[figure].measured_always:
            gaps[figure] = np.intersect1d(gaps[figure], gaps["loss"])
    gaps["loss"] = np.union1d(gaps["loss"], missing)
    mean_loss, mean_counts = np.r_[means, losses], np.r_[counts, np.ones(len(losses))]
    known = np.isfinite(mean_loss)
    return Curves(
        lines=lines,
        mean_loss=(np.r_[last_steps, steps][known], mean_loss[known]),
        mean_counts=mean_counts[known],
        missing_loss=missing,
        gaps=gaps,
        elapsed_seconds=(np.r_[first[0], last_steps, steps], np.r_[first[1], elapsed, rows[1]]),
        tokens=(np.r_[first[0], last_steps, steps], np.r_[first[2], np.cumsum(np.r_[tokens, rows[2]])]),
    )


def read_line(path: Path, run_id: str, model_name: str, figure: str, after: int, points: int) -> Curve:
    """One figure after a step: every step, or the extremes of each hundred if these are half of `points` or more.

    Raises:
        StorageError: there is no readable database.
    """
    model, columns = (run_id, model_name), ["step", *_ends(figure)]
    short = min(SHORT_RUN, points * SPAN_STEPS // 4)
    with reading(path) as connection:
        last_steps, low, low_step, high, high_step = _spans(connection, columns, model, max(0, after), short)
        first, last = (last_steps[0] - SPAN_STEPS, last_steps[-1]) if len(last_steps) else (after, after)
        others = f"metrics {_OF_MODEL} AND step > ? AND (step <= ? OR step > ?)"  # before and after the hundreds
        steps, values = _table(connection, ["step", figure], others, *model, after, first, last)
    return _in_order((low_step, high_step, steps), (low, high, values))


def _ends(figure: str) -> list[str]:
    """The columns of metric_spans for a figure's lowest and highest value."""
    return [f"{figure}_{end}" for end in ("low", "low_step", "high", "high_step")]


def _spans(
    connection: sqlite3.Connection, columns: list[str], model: tuple[str, str], after: int, short: int
) -> Floats:
    """The summaries of each full hundred steps after a step; nothing if `short` steps or fewer follow it."""
    (last,) = connection.execute(f"SELECT max(step) FROM metrics {_OF_MODEL}", model).fetchone()
    many = (last or 0) - after > short
    whole = f"metric_spans {_OF_MODEL} AND step >= ? AND ?"
    return _table(connection, columns, whole, *model, after + SPAN_STEPS, many)


def _table(connection: sqlite3.Connection, columns: list[str], source: str, *values: object) -> Floats:
    """One array for each column; NULL becomes NaN."""
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(f"SELECT {', '.join(columns)} FROM {source} ORDER BY step", values).fetchall()
    return np.array(rows, dtype=np.float64).reshape(-1, len(columns)).T


def _in_order(steps: tuple[Floats, ...], values: tuple[Floats, ...]) -> Curve:
    """The `values` that are numbers, each step once, in order."""
    x, y = np.concatenate(steps), np.concatenate(values)
    x, places = np.unique(np.where(np.isfinite(y), x, np.nan), return_index=True)
    kept = np.isfinite(x)
    return x[kept], y[places[kept]]

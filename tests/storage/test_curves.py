"""Curves: of a short run each step, of a long one the extremes of each hundred; never a step that was taken back."""

from __future__ import annotations

import itertools
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import StepMetrics
from cognate_core.contracts.metrics import CURVES
from cognate_core.storage import curves
from cognate_core.storage.curves import Curves, read_curves, read_line
from cognate_core.storage.progress_log import ProgressLog

LONG = 1_250  # steps; not a whole number of spans
SPAN = 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studio.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[ProgressLog]:
    log = ProgressLog(path)
    log.create_run("r", "long", TrainingConfig(), ["m", "other"], path.parent, None)
    yield log
    log.close()


@pytest.fixture
def every_run_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "SHORT_RUN", 0)


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def record(log: ProgressLog, losses: dict[int, float], model: str = "m", **figures: float) -> None:
    for step, loss in losses.items():
        log.record("r", StepMetrics(model, step, loss, 0.1 / step, 1.0 + step % 7, 2.0, 10, 0.1, 0.1 * step, **figures))
    log.raise_refused("r")


def noise(steps: int) -> dict[int, float]:
    return dict(enumerate(np.random.default_rng(0).normal(size=steps).tolist(), start=1))


def points(found: Curves, figure: str) -> dict[float, float]:
    steps, values = found.lines[figure]
    assert steps.tolist() == sorted(set(steps.tolist()))
    return dict(zip(steps.tolist(), values.tolist(), strict=True))


def test_a_short_run_is_read_step_by_step(path: Path, log: ProgressLog) -> None:
    losses = noise(LONG)
    record(log, losses, ponder_steps=3.0)
    record(log, {1: 77.0}, model="other")
    found = read_curves(path, "r", "m")
    assert points(found, "loss") == losses
    assert points(found, "learning_rate") == {step: 0.1 / step for step in losses}
    assert points(found, "ponder_steps") == dict.fromkeys(losses, 3.0)
    assert points(found, "memory_gate") == {}
    assert found.mean_loss[1].tolist() == list(losses.values())
    assert found.mean_counts.tolist() == [1.0] * LONG
    assert len(found.missing_loss) == 0


@pytest.mark.usefixtures("every_run_is_long")
def test_of_a_long_run_the_extremes_of_each_hundred_steps_are_read(path: Path, log: ProgressLog) -> None:
    losses = noise(LONG)
    losses[617] = 99.0
    record(log, losses)
    record(log, dict.fromkeys(losses, 500.0), model="other")
    found = read_curves(path, "r", "m")
    expected = {step: loss for step, loss in losses.items() if step > LONG // SPAN * SPAN}  # the newest, each step
    for begin in range(1, LONG - SPAN, SPAN):
        span = {step: losses[step] for step in range(begin, begin + SPAN)}
        for extreme in (min, max):
            step = extreme(span, key=span.__getitem__)
            expected[step] = losses[step]
    assert points(found, "loss") == expected
    assert points(found, "grad_norm").keys() >= {7.0, 1250.0}
    assert found.mean_counts.tolist() == [100.0] * 12 + [1.0] * 50
    np.testing.assert_allclose(np.average(found.mean_loss[1], weights=found.mean_counts), np.mean([*losses.values()]))
    assert found.mean_loss[0].tolist() == [*range(SPAN, LONG, SPAN), *range(1201, 1251)]


@pytest.mark.parametrize("after", [-1, 0, 1, 640, 700, 1199, 1200, 1249, 1250, 9_999])
def test_one_line_alone_is_every_step_or_the_extremes_of_hundreds(path: Path, log: ProgressLog, after: int) -> None:
    losses = noise(LONG)
    losses[650] = 99.0
    record(log, losses)
    record(log, dict.fromkeys(losses, 500.0), model="other")
    later = {step: loss for step, loss in losses.items() if step > after}

    def line(points: int) -> dict[float, float]:
        steps, values = read_line(path, "r", "m", "loss", after, points)
        return dict(zip(steps.tolist(), values.tolist(), strict=True))

    assert line(50) == later, "no more than 25 times as many: each of them"
    few = line(10)
    assert few.items() <= later.items(), "never anything but steps"
    for extreme in (min, max):
        assert extreme(few.values(), default=None) == extreme(later.values(), default=None)
    assert (len(few) < len(later) / 3) if len(later) > 10 * SPAN // 4 else few == later


@pytest.mark.parametrize("short_run", [0, 10_000])
def test_a_loss_that_is_no_number_is_told_of_and_bends_nothing(
    path: Path, log: ProgressLog, short_run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "SHORT_RUN", short_run)
    losses = noise(350) | dict.fromkeys([*range(101, 201), 250, 349], math.nan)
    record(log, losses)
    found = read_curves(path, "r", "m")
    assert set(found.missing_loss.tolist()) >= {101.0, 250.0, 349.0}
    assert found.missing_loss.tolist() == sorted(found.missing_loss.tolist())
    assert np.isfinite(np.concatenate([*found.lines["loss"], *found.mean_loss])).all()
    assert found.mean_counts.sum() == 350 - 102
    assert set(found.gaps["loss"].tolist()) >= set(found.missing_loss.tolist())
    assert not len(found.gaps["learning_rate"]), "it was measured all the same"
    assert not set(range(101, 201)) & points(found, "loss").keys()
    assert {step for step in points(found, "grad_norm") if 100 < step <= 200}, "the other figures are there"


@pytest.mark.parametrize("short_run", [0, 10_000])
def test_a_gradient_that_is_no_number_breaks_its_own_line(
    path: Path, log: ProgressLog, short_run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "SHORT_RUN", short_run)
    for step in range(1, 351):
        norm = math.nan if 101 <= step <= 200 or step == 349 else 1.0
        log.record("r", StepMetrics("m", step, 5.0, 0.1, norm, 1.0, 10, 0.1, 0.1 * step))
    log.raise_refused("r")
    found = read_curves(path, "r", "m")
    assert {200.0, 349.0} <= set(found.gaps["grad_norm"].tolist()) <= {*range(101, 201), 349.0}
    assert not len(found.gaps["loss"]) and not len(found.gaps["filtered_grad_norm"])


@pytest.mark.usefixtures("every_run_is_long")
def test_steps_that_are_taken_back_leave_nothing_behind(path: Path, log: ProgressLog) -> None:
    record(log, {step: 1000.0 + step for step in range(1, 401)})
    execute(path, "DELETE FROM metrics WHERE step > 250")
    found = points(read_curves(path, "r", "m"), "loss")
    assert found.keys() == {1, 100, 101, 200, *range(201, 251)}
    record(log, {step: float(step) for step in range(251, 401)})
    found = points(read_curves(path, "r", "m"), "loss")
    assert found == {1: 1001, 100: 1100, 101: 1101, 200: 1200, 250: 1250, 251: 251, 301: 301, 400: 400}


@pytest.mark.usefixtures("every_run_is_long")
def test_runs_from_before_there_were_spans_are_read_alike(path: Path, log: ProgressLog) -> None:
    record(log, noise(LONG), ponder_loss=0.5)
    before = read_curves(path, "r", "m")
    log.close()
    execute(
        path,
        "DROP TRIGGER metrics_added",
        "DROP TRIGGER metrics_removed",
        "DROP TABLE metric_spans",
        *(f"ALTER TABLE metrics DROP COLUMN {figure}" for figure in ("accuracy", "cores", "memory_gb", "temperature")),
        "ALTER TABLE evaluations DROP COLUMN accuracy",
        "DELETE FROM _sqlite_migrations WHERE name IN ('spans_of_metrics', 'time_and_tokens_of_spans', 'accuracy')",
    )
    ProgressLog(path).close()
    after = read_curves(path, "r", "m")
    for figure in CURVES:
        assert points(after, figure) == points(before, figure)
    assert after.mean_counts.tolist() == before.mean_counts.tolist()


def timed(path: Path, first: int, last: int, model: str = "m") -> dict[int, tuple[float, int]]:
    """Rows of the steps `first` to `last`; for each step the time and the tokens up to it, added up by hand."""
    upto, seconds, tokens = dict[int, tuple[float, int]](), 100.0, 0
    rows = []
    for step in range(first, last + 1):
        seconds, tokens = seconds + 0.25 * (step % 3), tokens + 1000 + step % 17
        upto[step] = seconds, tokens
        rows.append(("r", model, step, 5.0, 1000 + step % 17, seconds))
    columns = "run_id, model_name, step, loss, tokens, elapsed_seconds"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(f"INSERT INTO metrics ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
    return upto


def assert_time_and_tokens(found: Curves, upto: dict[int, tuple[float, int]]) -> None:
    """Each point that was read is true, they are in order, and reach from end to end."""
    for place, (steps, values) in enumerate((found.elapsed_seconds, found.tokens)):
        assert steps.tolist() == sorted(set(steps.tolist()))
        assert values.tolist() == [upto[int(step)][place] for step in steps]
        assert (steps[0], steps[-1]) == (min(upto), max(upto))


def test_time_and_tokens_of_a_short_run_are_added_up_step_by_step(path: Path, log: ProgressLog) -> None:
    upto = timed(path, 1, 250)
    timed(path, 1, 300, model="other")
    found = read_curves(path, "r", "m")
    assert_time_and_tokens(found, upto)
    assert len(found.tokens[0]) == len(found.elapsed_seconds[0]) == 250


@pytest.mark.parametrize("first", [1, 551, 600], ids=["from the start", "a branch", "a branch before a hundred"])
def test_time_and_tokens_of_a_long_run_are_added_up_from_its_hundreds(path: Path, log: ProgressLog, first: int) -> None:
    last = curves.SHORT_RUN + 150
    upto = timed(path, first, last)
    timed(path, 1, 300, model="other")
    found = read_curves(path, "r", "m")
    assert_time_and_tokens(found, upto)
    assert len(found.tokens[0]) < last / SPAN + SPAN + 2
    assert max(after - before for before, after in itertools.pairwise(found.tokens[0])) <= SPAN


@pytest.mark.usefixtures("every_run_is_long")
def test_time_and_tokens_forget_steps_that_are_taken_back(path: Path, log: ProgressLog) -> None:
    timed(path, 1, 430)
    execute(path, "DELETE FROM metrics WHERE step > 250", "UPDATE metrics SET tokens = 7 WHERE step > 200")
    steps, tokens = read_curves(path, "r", "m").tokens
    assert (steps[-1], tokens[-1]) == (250, sum(1000 + step % 17 for step in range(1, 201)) + 50 * 7)


@pytest.mark.usefixtures("every_run_is_long")
def test_time_and_tokens_of_runs_from_before_they_were_added_up_are_read_alike(path: Path, log: ProgressLog) -> None:
    """As the version left it that had spans, but neither time nor tokens in them."""
    upto = timed(path, 1, LONG)
    before = read_curves(path, "r", "m")
    log.close()
    execute(path, "DELETE FROM metric_spans", "DROP TRIGGER metrics_added")
    for table in ("metrics", "evaluations"):
        execute(path, f"ALTER TABLE {table} DROP COLUMN accuracy")
    for column in (
        "elapsed_seconds",
        "tokens",
        *(f"accuracy_{end}" for end in ("low", "low_step", "high", "high_step")),
    ):
        execute(path, f"ALTER TABLE metric_spans DROP COLUMN {column}")
    execute(path, "DELETE FROM _sqlite_migrations WHERE name IN ('time_and_tokens_of_spans', 'accuracy')")
    log = ProgressLog(path)
    after = read_curves(path, "r", "m")
    assert_time_and_tokens(after, upto)
    assert after.tokens[0].tolist() == before.tokens[0].tolist()
    assert points(after, "loss") == points(before, "loss")
    record(log, dict.fromkeys(range(LONG + 1, LONG + 101), 1.0))
    log.close()
    steps, tokens = read_curves(path, "r", "m").tokens
    assert (steps[-1], tokens[-1]) == (LONG + 100, upto[LONG][1] + 100 * 10), "what comes later is added up, too"


def test_a_run_without_steps_has_empty_curves(path: Path, log: ProgressLog) -> None:
    found = read_curves(path, "r", "m")
    assert found.lines.keys() == set(CURVES)
    assert all(points(found, figure) == {} for figure in CURVES)
    assert len(found.mean_counts) == len(found.missing_loss) == 0
    assert [len(each) for each in (*found.elapsed_seconds, *found.tokens)] == [0] * 4

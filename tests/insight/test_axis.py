"""What stands along the bottom: each step where it was measured to be, in a unit that suits the whole run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core.insight.axis import Axis, By, Floats, axis_by

BY: tuple[By, ...] = ("step", "time", "tokens")
NOTHING = np.array([]), np.array([])


def measured(*pairs: tuple[float, float]) -> tuple[Floats, Floats]:
    steps, values = np.array(pairs, dtype=np.float64).T
    return steps, values


def places(axis: Axis, *steps: float) -> list[float]:
    return axis.at(np.array(steps, dtype=np.float64)).tolist()


def test_by_step_each_step_is_its_own_place() -> None:
    axis = axis_by("step", 500, measured((1, 9.0), (500, 99.0)), measured((1, 64.0)))
    assert (axis.title, axis.end, axis.planned, axis.is_steps, axis.whole) == ("step", 500.0, "", True, True)
    assert places(axis, 0, 1, 7.5, 499) == [0, 1, 7.5, 499]


@pytest.mark.parametrize(("last", "end"), [(1, 50), (47, 50), (48, 100), (96, 200), (190, 200), (191, 400), (400, 400)])
def test_the_axis_of_a_run_that_goes_on_follows_its_steps(last: int, end: int) -> None:
    axis = axis_by("step", 400, measured((1, 1.0), (last, 9.0)), NOTHING)
    assert (axis.end, axis.planned) == (end, " (of 400 planned)" if end < 400 else "")


def test_before_the_first_step_the_axis_is_that_of_the_plan() -> None:
    assert axis_by("step", 400, NOTHING, NOTHING) == Axis(end=400.0)


def test_by_tokens_each_step_stands_at_what_was_learned_from_up_to_it() -> None:
    axis = axis_by("tokens", 500, NOTHING, measured((1, 100.0), (2, 300.0), (4, 700.0)))
    assert (axis.title, axis.end, axis.is_steps, axis.whole) == ("tokens learned from", 700.0, False, True)
    assert places(axis, 0, 1, 2, 3, 4) == [0, 100, 300, 500, 700], "of the check before the first step, too"


def test_by_time_each_step_stands_at_its_second() -> None:
    axis = axis_by("time", 500, measured((1, 2.0), (3, 8.0)), NOTHING)
    assert (axis.title, axis.end, axis.is_steps, axis.whole) == ("training time (s)", 8.0, False, False)
    assert places(axis, 0, 1, 2, 3) == [0, 2, 5, 8]


def test_beyond_what_was_measured_the_nearest_place_is_taken() -> None:
    """A check or a finding may be told before the row of its step is written."""
    axis = axis_by("time", 500, measured((1, 2.0), (3, 8.0)), NOTHING)
    assert places(axis, 4, 1000) == [8, 8]


def test_a_branch_goes_on_where_its_mother_was() -> None:
    elapsed, tokens = measured((501, 50.5), (502, 51.0)), measured((501, 10.0), (502, 20.0))
    by_tokens = axis_by("tokens", 900, elapsed, tokens, tokens_before=5000.0)
    assert places(by_tokens, 500, 501, 502) == [5000, 5010, 5020]
    assert by_tokens.end == 5020
    by_time = axis_by("time", 900, elapsed, tokens, tokens_before=5000.0)
    assert places(by_time, 501, 502) == [50.5, 51.0], "its clock counts the parent's time"
    assert places(by_time, 500)[0] > 40, "not at the beginning of all"


@pytest.mark.parametrize(
    ("seconds", "unit", "size"),
    [(0.5, "s", 1), (179.9, "s", 1), (180, "min", 60), (10_799, "min", 60), (10_800, "h", 3600), (1e6, "h", 3600)],
)
def test_the_unit_of_time_suits_the_run(seconds: float, unit: str, size: int) -> None:
    axis = axis_by("time", 500, measured((1, seconds / 2), (2, seconds)), NOTHING)
    assert axis.title == f"training time ({unit})"
    assert not axis.whole
    assert axis.end == pytest.approx(seconds / size)
    assert places(axis, 0, 1, 2) == pytest.approx([0, seconds / 2 / size, seconds / size])


def test_runs_over_one_another_have_the_unit_of_the_longest() -> None:
    short = axis_by("time", 500, measured((1, 30.0), (2, 60.0)), NOTHING, longest=36_000.0)
    long = axis_by("time", 500, measured((1, 30.0), (2, 36_000.0)), NOTHING, longest=36_000.0)
    assert short.title == long.title == "training time (h)"
    assert places(short, 2) == [60 / 3600]
    assert (short.end, long.end) == (60 / 3600, 10.0)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("values", [NOTHING, measured((1, math.nan), (480, math.nan))])
def test_of_a_run_with_nothing_measured_the_axis_is_of_steps(by: By, values: tuple[Floats, Floats]) -> None:
    axis = axis_by(by, 500, values, values, tokens_before=3.0)
    assert (axis.title, axis.end, axis.is_steps) == ("step", 500.0, True)
    assert places(axis, 3, 4) == [3, 4]


def test_what_is_not_known_is_passed_over() -> None:
    values = measured((1, 10.0), (2, math.nan), (3, 30.0), (4, math.nan))
    for by in ("time", "tokens"):
        axis = axis_by(by, 500, values, values)
        assert axis.end == 30
        assert places(axis, 1, 2, 3, 4) == [10, 20, 30, 30]


@pytest.mark.parametrize("by", ["time", "tokens"])
@given(
    start=st.integers(1, 1000),
    each=st.lists(st.tuples(st.integers(1, 100), st.floats(0, 1e6) | st.just(math.nan)), min_size=1, max_size=30),
    before=st.floats(0, 1e9),
    asked=st.lists(st.floats(0, 5000), min_size=2, max_size=20),
)
def test_a_later_step_never_stands_further_left(
    by: By, start: int, each: list[tuple[int, float]], before: float, asked: list[float]
) -> None:
    apart, took = np.array(each, dtype=np.float64).T
    steps = start - 1 + np.cumsum(apart)
    values = np.where(np.isnan(took), np.nan, np.nancumsum(took))
    axis = axis_by(by, 5000, (steps, values), (steps, values), before)
    found = axis.at(np.sort(np.array(asked)))
    assert np.all(np.isfinite(found))
    slack = 1e-9 * max(1.0, axis.end)  # of the last digit of a float
    assert np.all(np.diff(found) >= -slack)
    assert axis.is_steps or found.max() <= axis.end + slack

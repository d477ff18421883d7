"""When a model has grokked, and when it knew by heart: read from what was measured, and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core.config.presets import PRESETS, VARIANTS
from cognate_core.contracts import GROKKED_ACCURACY
from cognate_core.insight.charts import View, table_chart
from cognate_core.insight.detectors import findings
from cognate_core.insight.grokking import PUBLISHED, grokked_at, grokking_finding, known_by_heart_at, published_steps
from tests.arithmetic.tiny import config_of

SHARES = st.lists(st.none() | st.floats(0, 1), max_size=30)


def checks(shares: list[float | None]) -> list[dict[str, Any]]:
    return [
        {"step": 10 * number, "accuracy": share, "loss": 1.0, "dataset": "m", "model_name": "m"}
        for number, share in enumerate(shares)
    ]


def curve(values: list[float]) -> tuple[Any, Any]:
    return np.arange(1.0, len(values) + 1), np.array(values)


@given(shares=SHARES)
def test_it_has_grokked_at_the_first_check_with_95_percent(shares: list[float | None]) -> None:
    reached = [10 * number for number, share in enumerate(shares) if share is not None and share >= GROKKED_ACCURACY]
    assert grokked_at(checks(shares)) == (min(reached) if reached else None)


@given(shares=st.lists(st.sampled_from([0.0, 0.5, 0.97, 1.0]), max_size=60))
def test_by_heart_is_a_stretch_of_ten_steps(shares: list[float]) -> None:
    expected = next(
        (end for end in range(10, len(shares) + 1) if sum(shares[end - 10 : end]) / 10 >= 0.99 - 1e-9), None
    )
    assert known_by_heart_at(*curve(shares)) == expected


def test_one_lucky_batch_is_not_knowing_by_heart() -> None:
    assert known_by_heart_at(*curve([0.2] * 5 + [1.0] + [0.2] * 20)) is None


def test_the_finding_says_both_and_needs_understanding() -> None:
    learned = curve([0.1] * 20 + [1.0] * 80)
    assert grokking_finding(checks([0.0, 0.2, 0.5]), *learned) is None
    found = grokking_finding(checks([0.0, 0.2, 0.5, 0.94, 0.96, 1.0]), *learned)
    assert found is not None
    assert (found.kind, found.title) == ("grokking", "Grokked at step 40")
    assert "by heart at step 30" in found.cause and "At step 40 it has 95%" in found.cause


def test_of_a_calculator_only_numbers_that_are_none_and_grokking_are_told() -> None:
    """A held-out loss that rises for long is what grokking looks like, and no reason to warn."""
    config = config_of(max_steps=1000)
    steps = np.arange(1.0, 1001)
    losses, none = np.exp(-steps / 50), (np.empty(0), np.empty(0))
    rising = [{**row, "loss": 2.0 + row["step"] / 100} for row in checks([0.0] * 100)]
    curves: dict[str, Any] = {"missing": np.empty(0), "gradient": none, "config": config}
    arguments = ((steps, losses), (steps, losses), np.ones(1000))
    assert findings(*arguments, evaluations=rising, **curves) == []
    late = [*rising, {**rising[-1], "step": 1000, "accuracy": 0.99}]
    kinds = [found.kind for found in findings(*arguments, evaluations=late, **curves, accuracy=(steps, np.ones(1000)))]
    assert kinds == ["grokking"]


@pytest.mark.parametrize("name", VARIANTS)
def test_what_was_published_stands_beside_that_very_problem_alone(name: str) -> None:
    config = PRESETS["grokking"].config.with_overrides(VARIANTS[name].overrides)
    assert published_steps(config) == PUBLISHED
    for other in ({"arithmetic_modulus": 59}, {"arithmetic_operation": "+"}, {"arithmetic_train_share": 0.4}):
        assert published_steps(config.with_overrides(other)) == {}
    assert published_steps(PRESETS["cognate-25m"].config) == {}


def test_the_matched_control_differs_in_the_filter_alone() -> None:
    fast, control = (
        PRESETS["grokking"].config.with_overrides(VARIANTS[name].overrides) for name in ("grokfast", "control")
    )
    assert {name for name, value in fast if value != getattr(control, name)} == {"grokfast_enabled"}


def test_the_table_has_a_cell_for_each_problem() -> None:
    right = np.array([[True, False], [False, True], [True, True]])
    learned = np.array([[True, True], [False, False], [False, True]])
    figure = table_chart(right, learned, 1, View())
    cells = next(np.array(trace["z"]) for trace in figure["data"] if "z" in trace)
    assert sorted(cells.shape) == [2, 3]
    assert len(np.unique(cells)) == 4, "right and wrong, learned from and never seen, are told apart"

"""The learning rate: up in a straight line, flat if so wished, down along a cosine, never below zero."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import learning_rate_at, peak_learning_rate

PLAIN: dict[str, Any] = {"grokfast_enabled": False}


def rates(config: TrainingConfig) -> list[float]:
    return [learning_rate_at(step, config) for step in range(1, config.max_steps + 1)]


@st.composite
def configs(draw: st.DrawFn) -> TrainingConfig:
    return TrainingConfig(
        max_steps=draw(st.integers(1, 300)),
        learning_rate=draw(st.floats(1e-8, 1)),
        warmup_ratio=draw(st.sampled_from([0.0, 1.0]) | st.floats(0, 1)),
        min_lr_ratio=draw(st.sampled_from([0.0, 1.0]) | st.floats(0, 1)),
        decay_ratio=draw(st.sampled_from([0.0, 1.0]) | st.floats(0, 1)),
        grokfast_enabled=draw(st.booleans()),
        grokfast_keep_step_size=draw(st.booleans()),
        grokfast_lamb=draw(st.floats(0, 100)),
    )


@settings(max_examples=150)
@given(config=configs())
def test_the_rate_stays_between_zero_and_its_peak(config: TrainingConfig) -> None:
    peak = peak_learning_rate(config)
    for rate in rates(config):
        assert 0 <= rate <= peak * (1 + 1e-12)


@settings(max_examples=100)
@given(config=configs())
def test_up_in_a_straight_line_flat_then_down_along_a_cosine(config: TrainingConfig) -> None:
    found, peak, steps = rates(config), peak_learning_rate(config), config.max_steps
    warmup = round(config.warmup_ratio * steps)
    for n in range(1, warmup + 1):
        assert found[n - 1] == pytest.approx(n * peak / warmup)
    floor = config.min_lr_ratio * peak
    flat = max(warmup, steps - round(config.decay_ratio * steps))
    assert found[warmup:flat] == [peak] * (flat - warmup)
    for n in range(flat + 1, steps + 1):
        angle = math.pi * (n - flat) / (steps - flat)
        assert found[n - 1] == pytest.approx(floor + (peak - floor) * (math.cos(angle / 2) ** 2), abs=peak * 1e-12)
    down = found[max(warmup, 1) - 1 :]
    assert all(later <= earlier + peak * 1e-12 for earlier, later in itertools.pairwise(down))
    if flat < steps:
        assert found[-1] == pytest.approx(floor, abs=peak * 1e-12)


def test_a_schedule_of_ten_steps_in_figures() -> None:
    config = TrainingConfig(max_steps=10, learning_rate=0.1, warmup_ratio=0.4, min_lr_ratio=0.2, **PLAIN)
    expected = [0.025, 0.05, 0.075, 0.1, 0.0946410, 0.08, 0.06, 0.04, 0.0253590, 0.02]
    assert rates(config) == pytest.approx(expected, abs=1e-6)


def test_the_rate_stays_flat_until_the_last_share_of_the_steps() -> None:
    config = TrainingConfig(max_steps=10, learning_rate=0.1, warmup_ratio=0.2, min_lr_ratio=0, decay_ratio=0.4, **PLAIN)
    expected = [0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0853553, 0.05, 0.0146447, 0.0]
    assert rates(config) == pytest.approx(expected, abs=1e-6)


def test_without_a_warm_up_the_rate_falls_from_the_start() -> None:
    found = rates(TrainingConfig(max_steps=50, learning_rate=0.1, warmup_ratio=0, min_lr_ratio=0, **PLAIN))
    assert 0.099 < found[0] < 0.1
    assert all(later < earlier for earlier, later in itertools.pairwise(found))


def test_a_warm_up_of_all_steps_ends_at_the_peak() -> None:
    found = rates(TrainingConfig(max_steps=8, learning_rate=0.8, warmup_ratio=1, **PLAIN))
    assert found == pytest.approx([0.1 * n for n in range(1, 9)])


def test_a_minimum_of_one_keeps_the_peak() -> None:
    found = rates(TrainingConfig(max_steps=20, learning_rate=0.3, warmup_ratio=0.1, min_lr_ratio=1, **PLAIN))
    assert found == pytest.approx([0.15] + [0.3] * 19)


@pytest.mark.parametrize(
    ("enabled", "keep", "expected"), [(True, True, 0.1), (True, False, 0.3), (False, True, 0.3), (False, False, 0.3)]
)
def test_keep_the_step_size_divides_by_what_the_filter_adds(enabled: bool, keep: bool, expected: float) -> None:
    config = TrainingConfig(
        learning_rate=0.3, grokfast_enabled=enabled, grokfast_keep_step_size=keep, grokfast_lamb=2.0
    )
    assert peak_learning_rate(config) == pytest.approx(expected)
    warm = round(config.warmup_ratio * config.max_steps)
    assert learning_rate_at(warm, config) == pytest.approx(expected)

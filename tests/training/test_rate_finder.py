"""The sweep itself: which rates, how many steps, and when it ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RecordSink, StepMetrics
from cognate_core.data.prepared import PreparedData
from cognate_core.training import rate_finder
from cognate_core.training.rate_finder import FEWEST_STEPS, HIGHEST, LOWEST, MOST_STEPS, TIMED_STEPS, sweep_rates

CONFIG = TrainingConfig(grokfast_enabled=False)
LOSS = 5.0


class Sweep:
    """A sweep over a loop whose loss is a function of the rate of the step before; each step takes `seconds`."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        loss: Callable[[float], float] = lambda _: LOSS,
        seconds: float = 0.1,
        config: TrainingConfig = CONFIG,
    ) -> None:
        self.rates: list[float] = []  # that the loop was told
        self.found: list[tuple[float, float]] = []
        self.planned = 0

        def made(*arguments: Any) -> Sweep:
            self._record = cast(RecordSink, arguments[5])
            return self

        monkeypatch.setattr(rate_finder, "loop_for", lambda _: made)
        self._loss, ticks = loss, itertools.count()
        data = cast(PreparedData, None)  # this loop reads none
        self.exploded = sweep_rates(config, data, Path(), self._tell, clock=lambda: seconds * next(ticks))

    def step_at(self, rate: float) -> None:
        loss = self._loss(self.rates[-1]) if self.rates else LOSS
        self.rates.append(rate)
        self._record(StepMetrics("m", len(self.rates), loss, rate, 1.0, 1.0, 1, 0.1, 0.1))

    def _tell(self, rate: float, loss: float, planned: int) -> None:
        self.found.append((rate, loss))
        self.planned = planned


def test_the_rate_grows_by_the_same_factor_from_the_lowest_to_the_highest(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(monkeypatch)
    grown = sweep.rates[TIMED_STEPS:]
    assert sweep.rates[:TIMED_STEPS] == [LOWEST] * TIMED_STEPS
    assert (grown[0], len(grown)) == (LOWEST, MOST_STEPS)
    assert grown[-1] == pytest.approx(HIGHEST)
    factors = [after / before for before, after in itertools.pairwise(grown)]
    assert factors == pytest.approx([factors[0]] * len(factors))
    assert not sweep.exploded


def test_a_loss_stands_beside_the_rate_of_the_step_that_it_comes_of(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(monkeypatch, loss=lambda rate: LOSS - rate)
    rates = sweep.rates[TIMED_STEPS:-1]
    assert [rate for rate, _ in sweep.found] == pytest.approx(rates)
    assert [loss for _, loss in sweep.found] == pytest.approx([LOSS - rate for rate in rates])


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, MOST_STEPS), (0.6, MOST_STEPS), (1.0, 60), (9.0, FEWEST_STEPS)])
def test_slow_steps_are_fewer_but_never_too_few(monkeypatch: pytest.MonkeyPatch, seconds: float, steps: int) -> None:
    assert Sweep(monkeypatch, seconds=seconds).planned == steps


def test_it_ends_when_the_loss_explodes(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(monkeypatch, loss=lambda rate: LOSS if rate < 0.01 else 100.0)
    assert sweep.exploded
    assert 0.01 < sweep.rates[-1] < 0.03


def test_it_ends_at_a_loss_that_is_no_number_and_tells_none(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(monkeypatch, loss=lambda rate: LOSS if rate < 0.01 else math.nan)
    assert sweep.exploded
    assert all(math.isfinite(loss) for _, loss in sweep.found)


def test_a_rate_is_what_the_setting_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """With "keep the step size", what the filter lengthens is divided out of the setting."""
    config = TrainingConfig(grokfast_enabled=True, grokfast_keep_step_size=True, grokfast_lamb=3.0)
    sweep = Sweep(monkeypatch, config=config)
    assert sweep.found[0][0] == pytest.approx(LOWEST)
    assert sweep.rates[TIMED_STEPS] == pytest.approx(LOWEST / 4)

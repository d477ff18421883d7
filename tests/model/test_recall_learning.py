"""What memory is for: a fact from beyond the reach of attention. The benchmark `recall` has the larger one."""

from __future__ import annotations

import pytest

from tests.bench.recall import CONFIG, accuracy, trained
from tests.recall_task import RecallTask

TASK = RecallTask(facts=3)
SMALL = CONFIG.with_overrides({"n_layers": 2})


@pytest.mark.slow
def test_with_memory_it_learns_what_it_cannot_learn_without() -> None:
    assert SMALL.n_layers * (SMALL.attention_window - 1) < TASK.distance, "attention would reach it"
    with_memory = accuracy(trained(SMALL, TASK, steps=80), TASK, sequences=128)
    without = accuracy(trained(SMALL.with_overrides({"ltm_enabled": False}), TASK, steps=80), TASK, sequences=128)
    assert with_memory >= 0.9
    assert without <= TASK.chance + 0.1

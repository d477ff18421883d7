from __future__ import annotations

import numpy as np
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import learning_rate_at
from cognate_core.data.packing import Packed
from cognate_core.data.prepared import Batches
from cognate_core.insight.charts import View
from cognate_core.insight.plan import passes, passes_chart, schedule_chart


def test_the_rate_is_drawn_as_training_will_use_it() -> None:
    config = TrainingConfig(max_steps=50)
    trace = schedule_chart(config, View())["data"][0]
    assert trace["x"] == list(range(1, 51))
    assert trace["y"] == [learning_rate_at(step, config) for step in range(1, 51)]


def test_a_long_schedule_has_few_points_and_both_ends() -> None:
    config = TrainingConfig(max_steps=1_000_000)
    trace = schedule_chart(config, View())["data"][0]
    assert len(trace["x"]) <= 400
    assert trace["x"][0] == 1
    assert trace["x"][-1] == 1_000_000
    assert max(trace["y"]) == pytest.approx(config.learning_rate, rel=0.01)


@pytest.mark.parametrize("weights", [{}, {"GSM8K": 3.0, "SVAMP": 1.0}, {"GSM8K": 1.0, "SVAMP": 0.0}])
def test_passes_are_those_that_drawing_really_makes(weights: dict[str, float]) -> None:
    config = TrainingConfig(
        dataset_sources=["GSM8K", "SVAMP"],
        mixture_weights=weights,
        max_steps=40,
        batch_size=3,
        gradient_accumulation_steps=2,
    )
    sequences = {"GSM8K": 30, "SVAMP": 7}
    rows = {
        name: Packed(np.zeros((count, 3), np.uint16), np.ones((count, 3), np.uint8), 0)
        for name, count in sequences.items()
    }
    batches = Batches(rows, weights, 3, seed=0)
    for _ in range(40 * 2):
        batches.next()
    told = passes(config, sequences)
    for name, really in batches.epochs().items():
        assert told[name] == pytest.approx(really, abs=1 / sequences[name])


def test_datasets_without_a_sequence_are_left_out() -> None:
    config = TrainingConfig(dataset_sources=["GSM8K", "SVAMP"])
    assert list(passes(config, {"GSM8K": 0, "SVAMP": 5})) == ["SVAMP"]
    assert passes(config, {}) == {}
    assert [trace["name"] for trace in passes_chart(config, {"GSM8K": 3, "SVAMP": 5}, View())["data"]] == [
        "GSM8K",
        "SVAMP",
    ]

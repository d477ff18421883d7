"""The order of the phases, progress, parameters and seeds."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Phase, RunStatus, TrainingProgress
from cognate_core.errors import ConfigError, RunError
from cognate_core.service import TrainingService, seeds_from
from cognate_core.testing import MockDatasetLoader, MockModelTrainer, MockProgressEmitter
from tests.service.doubles import FIVE_STEPS, TASK, HookedEmitter, StepTrainer, ThreadTrainer, run


def test_phases_come_in_the_order_of_the_specification() -> None:
    outcome = run(["a", "b"])
    assert outcome.phases == [
        "Training Initialization",
        "Dataset Preparation",
        "Model Training",
        "Training Complete",
    ]
    assert outcome.session.status is RunStatus.COMPLETED
    assert outcome.session.progress is outcome.last


def test_each_phase_keeps_to_its_share() -> None:
    shares: dict[str, list[float]] = {}
    for progress in run(None).emitter.progress:
        shares.setdefault(progress.phase_name, []).append(progress.progress)
    assert shares[Phase.INITIALIZATION] == [0.0]
    assert (shares[Phase.DATASETS][0], shares[Phase.DATASETS][-1]) == (0.05, 0.20)
    assert shares[Phase.TRAINING][0] == 0.25
    assert shares[Phase.TRAINING][-1] == pytest.approx(0.95, abs=1e-12)
    assert shares[Phase.COMPLETE] == [1.0]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_models_share_the_training_evenly(count: int) -> None:
    outcome = run([f"model {n}" for n in range(count)])
    share = 0.7 / count
    for n in range(count):
        told = [p for p in outcome.emitter.progress if p.message == f"Training model {n}"]
        assert [p.step for p in told] == [None, 1, 2, 3, 4, 5]
        expected = [0.25 + n * share] + [0.25 + (n + step / 5) * share for step in range(1, 6)]
        assert [p.progress for p in told] == pytest.approx(expected)
        assert all((p.total_steps, p.learning_rate) == (5, 2e-4) for p in told[1:])


@settings(max_examples=60)
@given(
    calls=st.lists(st.tuples(st.integers(-3, 9), st.integers(0, 6), st.floats()), max_size=8),
    count=st.integers(1, 8),
)
@example(calls=[(9, 1, 1.0), (1, 9, 1.0), (0, 0, math.nan)], count=3)
def test_progress_never_runs_backwards_and_ends_at_exactly_one(calls: list[tuple[int, int, float]], count: int) -> None:
    outcome = run([f"model {n}" for n in range(count)], trainer=StepTrainer(calls))
    assert outcome.shares == sorted(outcome.shares)
    assert outcome.shares[0] == 0.0 and outcome.shares[-1] == 1.0
    assert all(share < 0.951 for share in outcome.shares[:-1])


def test_losses_that_are_no_number_are_told_as_none() -> None:
    trainer = StepTrainer([(1, 4, math.nan), (2, 4, math.inf), (3, 4, -math.inf), (4, 4, 2.5)])
    told = [p.loss for p in run(trainer=trainer).emitter.progress if p.step is not None]
    assert told == [None, None, None, 2.5]


def test_no_part_of_the_progress_is_lost_or_told_out_of_order_from_another_thread() -> None:
    finished: list[int | None] = []
    inside = 0

    async def slow(progress: TrainingProgress) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1, "the next emission began before this one was awaited"
        for _ in range(10):
            await asyncio.sleep(0)  # it is the turn of whoever waits
        inside -= 1
        finished.append(progress.step)

    config = TrainingConfig(max_steps=40)
    outcome = run(["a", "b"], config=config, emitter=HookedEmitter(slow), trainer=ThreadTrainer())
    steps = list(range(1, 41))
    assert [step for step in finished if step is not None] == steps + steps
    assert finished[-1] is None and outcome.last.phase_name == Phase.COMPLETE
    assert outcome.session.status is RunStatus.COMPLETED


def test_training_parameters_reach_the_trainer() -> None:
    outcome = run(["a", "b"], parameters={"max_steps": "3", "learning_rate": 0.01, "grokfast_enabled": False})
    for config in outcome.trainer.configs.values():
        assert (config.max_steps, config.learning_rate, config.grokfast_enabled) == (3, 0.01, False)
    assert max(p.step or 0 for p in outcome.emitter.progress) == 3
    assert [model.training_mode for model in outcome.models] == ["AdamW", "AdamW"]


def test_parameters_are_for_one_session_only() -> None:
    trainer = MockModelTrainer()
    service = TrainingService(MockProgressEmitter(), MockDatasetLoader(), trainer, FIVE_STEPS)

    async def both() -> None:
        await service.start_training_session("one", {"max_steps": 1}, ["first"])
        await service.start_training_session("two", None, ["second"])
        await service.execute_training_pipeline("one")
        await service.execute_training_pipeline("two")

    asyncio.run(both())
    assert (trainer.configs["first"].max_steps, trainer.configs["second"].max_steps) == (1, 5)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"max_steps": 0}, "Training steps must be 1 to 10,000,000; got 0"),
        ({"learning_rate": "fast"}, "Learning rate must be a number"),
        ({"stepz": 3}, "There is no setting called 'stepz'"),
        ({"n_heads": 5}, "Width 216 cannot be shared evenly by 5"),
    ],
)
def test_parameters_that_cannot_be_used(parameters: dict[str, Any], sentence: str) -> None:
    emitter = MockProgressEmitter()
    service = TrainingService(emitter, MockDatasetLoader(), MockModelTrainer(), FIVE_STEPS)
    with pytest.raises(ConfigError, match=sentence):
        asyncio.run(service.start_training_session(TASK, parameters))
    assert emitter.progress == []
    with pytest.raises(RunError, match="no training session"):
        asyncio.run(service.get_training_status(TASK))


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""], ["  "]])
def test_model_names_that_cannot_be_used(names: list[str]) -> None:
    service = TrainingService(MockProgressEmitter(), MockDatasetLoader(), MockModelTrainer())
    with pytest.raises(ConfigError, match="Give at least one model name") as caught:
        asyncio.run(service.start_training_session(TASK, model_names=names))
    assert list(caught.value.problems) == ["model_names"]


def test_three_models_by_default_with_the_seeds_of_the_specification() -> None:
    seeds = {name: config.seed for name, config in run(None).trainer.configs.items()}
    assert seeds == {"cognate_foundation_1": 42, "cognate_foundation_2": 1337, "cognate_foundation_3": 2023}


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (42, [42, 1337, 2023, 43, 44, 45]),
        (1337, [1337, 42, 2023, 1338, 1339, 1340]),
        (2022, [2022, 42, 1337, 2023, 2024, 2025]),
        (0, [0, 42, 1337, 2023, 1, 2]),
    ],
)
def test_seeds_begin_with_the_config_and_the_specification(seed: int, expected: list[int]) -> None:
    assert list(itertools.islice(seeds_from(seed), 6)) == expected


@given(seed=st.integers(0, 2**31 - 1))
@example(seed=2**31 - 1)
def test_seeds_are_distinct_and_valid_settings(seed: int) -> None:
    seeds = list(itertools.islice(seeds_from(seed), 20))
    assert seeds[0] == seed
    assert len(set(seeds)) == 20
    for each in seeds:
        assert TrainingConfig.from_values({"seed": each}).seed == each


def test_same_configuration_gives_the_same_seeds() -> None:
    names = [f"model {n}" for n in range(5)]
    first, second = ({n: c.seed for n, c in run(names).trainer.configs.items()} for _ in range(2))
    assert first == second

"""Several models at once."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ProgressCallback, RunStatus, TrainingProgress
from cognate_core.errors import (
    CancelRequested,
    Interruption,
    PauseRequested,
    StopRequested,
    StorageError,
    TrainingError,
)
from cognate_core.service import TrainingService, TrainingSession, seeds_from
from cognate_core.testing import MockDatasetLoader, MockModelTrainer, MockProgressEmitter
from tests.service.doubles import TASK, HookedEmitter
from tests.waiting import LONG, MOMENT

SIDE_BY_SIDE = TrainingConfig(max_steps=5, engine="ray", ray_parallel_models=2)
ENDLESS = 1_000_000


class SlowTrainer(MockModelTrainer):
    """Each in a thread of its own; counts how many models are trained at the same time.

    None goes on before `at_once` of them have been trained at the same time, and had a moment for one too many.
    """

    def __init__(self, failing: str | None = None, at_once: int = 2, steps: int = 5) -> None:
        super().__init__()
        self.failing, self.at_once, self.steps = failing, at_once, steps
        self.changed = threading.Condition()
        self.now: set[str] = set()
        self.most = 0
        self.saved: list[str] = []

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self._train, model_name, config, progress_callback)

    def _train(self, name: str, config: TrainingConfig, progress_callback: ProgressCallback) -> dict[str, Any]:
        self.configs[name] = config
        with self.changed:
            self.now.add(name)
            self.most = max(self.most, len(self.now))
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.most >= self.at_once, LONG)
            self.changed.wait_for(lambda: self.most > self.at_once, MOMENT)
        pace = threading.Event()
        try:
            for step in range(1, self.steps + 1):
                if name == self.failing and step == 3:
                    raise TrainingError("It broke.")
                progress_callback(step, self.steps, 1.0, 0.1)
                pace.wait(0.001)  # so that others are heard
        except PauseRequested:
            self.saved.append(name)
            raise
        finally:
            with self.changed:
                self.now.remove(name)
        return asyncio.run(MockModelTrainer().train_model(name, config, lambda *_: None))


def at_once(
    trainer: SlowTrainer, emitter: MockProgressEmitter, names: Sequence[str], config: TrainingConfig = SIDE_BY_SIDE
) -> tuple[TrainingService, TrainingSession]:
    service = TrainingService(emitter, MockDatasetLoader(), trainer, config)
    session = asyncio.run(service.start_training_session(TASK, model_names=names))
    return service, session


def test_several_models_are_trained_at_once() -> None:
    trainer, emitter = SlowTrainer(), MockProgressEmitter()
    service, session = at_once(trainer, emitter, ["a", "b", "c"])
    models = asyncio.run(service.execute_training_pipeline(TASK))
    assert trainer.most == 2
    assert [model.model_name for model in models] == ["a", "b", "c"]
    assert [trainer.configs[name].seed for name in "abc"] == list(itertools.islice(seeds_from(42), 3))
    told = [progress.progress for progress in emitter.progress]
    assert told == sorted(told) and told[-1] == 1.0
    assert session.status is RunStatus.COMPLETED


def test_the_local_engine_trains_one_after_the_other() -> None:
    trainer = SlowTrainer(at_once=1)
    alone = SIDE_BY_SIDE.with_overrides({"engine": "local"})
    service, _ = at_once(trainer, MockProgressEmitter(), ["a", "b", "c"], alone)
    asyncio.run(service.execute_training_pipeline(TASK))
    assert trainer.most == 1


def test_a_failure_is_no_matter_for_the_model_beside_it() -> None:
    service, session = at_once(SlowTrainer(failing="a"), MockProgressEmitter(), ["a", "b", "c"])
    models = asyncio.run(service.execute_training_pipeline(TASK))
    assert [model.model_name for model in models] == ["b", "c"]
    assert session.failures == {"a": "It broke."}
    assert session.status is RunStatus.COMPLETED_WITH_FAILURES


@pytest.mark.parametrize("kind", [PauseRequested, CancelRequested, StopRequested])
def test_a_command_reaches_all_that_are_trained(kind: type[Interruption]) -> None:
    async def command(progress: TrainingProgress) -> None:
        if progress.step == 2:
            service.interrupt(TASK, kind)

    trainer = SlowTrainer(steps=ENDLESS)
    service, session = at_once(trainer, HookedEmitter(command), ["a", "b", "c"])
    asyncio.run(service.execute_training_pipeline(TASK))
    assert "c" not in trainer.configs, "no other was begun"
    assert not trainer.now
    assert trainer.saved == [] if kind is not PauseRequested else sorted(trainer.saved) == ["a", "b"]
    ends = {PauseRequested: RunStatus.PAUSED, CancelRequested: RunStatus.CANCELLED, StopRequested: RunStatus.STOPPED}
    assert session.status is ends[kind]


def test_when_nobody_can_be_told_all_save_what_they_have() -> None:
    async def refuse(progress: TrainingProgress) -> None:
        if progress.step == 2 and progress.message == "Training a":
            raise StorageError("The disk is gone.")

    trainer = SlowTrainer(steps=ENDLESS)
    service, session = at_once(trainer, HookedEmitter(refuse), ["a", "b", "c"])
    with pytest.raises(StorageError, match="The disk is gone"):
        asyncio.run(service.execute_training_pipeline(TASK))
    assert "b" in trainer.saved and "c" not in trainer.configs
    assert session.status is RunStatus.FAILED

"""Doubles of the three interfaces that do something at a moment of the test, and one run of the pipeline."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ModelArtifacts, ProgressCallback, TrainingProgress
from cognate_core.errors import StopRequested
from cognate_core.service import TrainingService, TrainingSession
from cognate_core.testing import MockDatasetLoader, MockModelTrainer, MockProgressEmitter

TASK = "training_001"
FIVE_STEPS = TrainingConfig(max_steps=5)


Hook = Callable[[], Awaitable[object]]


class HookedEmitter(MockProgressEmitter):
    """Calls `hook(progress)` before it keeps the progress, and `model_hook()` after it kept a model."""

    def __init__(
        self, hook: Callable[[TrainingProgress], Awaitable[None]] | None = None, model_hook: Hook | None = None
    ) -> None:
        super().__init__()
        self.hook, self.model_hook = hook, model_hook

    async def emit_progress(self, progress: TrainingProgress) -> None:
        if self.hook is not None:
            await self.hook(progress)
        await super().emit_progress(progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        await super().emit_model_completed(artifacts)
        if self.model_hook is not None:
            await self.model_hook()


class HookedLoader(MockDatasetLoader):
    """Calls a hook while it downloads, or while it mixes."""

    def __init__(self, downloading: Hook | None = None, mixing: Hook | None = None) -> None:
        super().__init__()
        self.downloading, self.mixing = downloading, mixing
        self.asked_for: list[tuple[str, str]] = []

    async def download_dataset(self, dataset_name: str, dataset_id: str) -> bool:
        self.asked_for.append((dataset_name, dataset_id))
        if self.downloading is not None:
            await self.downloading()
        return await super().download_dataset(dataset_name, dataset_id)

    async def create_mixed_training_data(self) -> str:
        if self.mixing is not None:
            await self.mixing()
        return await super().create_mixed_training_data()


FIVE_CALLS = tuple((step, 5, 2.0) for step in range(1, 6))


class StepTrainer(MockModelTrainer):
    """Calls back with `calls`, and runs `hook` after the first `after` of them (of `model`, or of each model).

    Stopped at its very first call it has nothing to keep and lets the request through, as the real trainer does.
    """

    def __init__(
        self,
        calls: Sequence[tuple[int, int, float]] = FIVE_CALLS,
        hook: Hook | None = None,
        after: int = 2,
        model: str | None = None,
    ) -> None:
        super().__init__()
        self.calls, self.hook, self.after, self.model = calls, hook, after, model

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        self.configs[model_name] = config
        status, done = "completed", 0
        for number, (step, total, loss) in enumerate(self.calls):
            if self.hook is not None and number == self.after and self.model in (None, model_name):
                await self.hook()
            try:
                progress_callback(step, total, loss, config.learning_rate)
            except StopRequested:
                if not done:
                    raise
                status = "stopped"
                break
            done += 1
            await asyncio.sleep(0)
        result = await MockModelTrainer().train_model(model_name, config, lambda *_: None)
        return {**result, "training_status": status, "training_stats": {"steps": done}}


class ThreadTrainer(MockModelTrainer):
    """The mock in a thread of its own, as a real trainer works."""

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        work = super().train_model(model_name, config, progress_callback)
        return await asyncio.to_thread(asyncio.run, work)


@dataclass
class Outcome:
    """What a pipeline left behind."""

    service: TrainingService
    session: TrainingSession
    emitter: MockProgressEmitter
    trainer: MockModelTrainer
    models: list[ModelArtifacts] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def phases(self) -> list[str]:
        return [phase for phase, _ in itertools.groupby(p.phase_name for p in self.emitter.progress)]

    @property
    def shares(self) -> list[float]:
        return [p.progress for p in self.emitter.progress]

    @property
    def last(self) -> TrainingProgress:
        return self.emitter.progress[-1]


def run(
    names: Sequence[str] | None = ("a",),
    *,
    config: TrainingConfig = FIVE_STEPS,
    emitter: MockProgressEmitter | None = None,
    loader: MockDatasetLoader | None = None,
    trainer: MockModelTrainer | None = None,
    parameters: dict[str, Any] | None = None,
    prepare: Callable[[TrainingService], Awaitable[object]] | None = None,
    connect: Callable[[TrainingService], None] | None = None,
) -> Outcome:
    """Start and execute one session. `prepare` runs between the two; `connect` gives doubles the service."""
    emitter, trainer = emitter or MockProgressEmitter(), trainer or MockModelTrainer()
    service = TrainingService(emitter, loader or MockDatasetLoader(), trainer, config)
    if connect is not None:
        connect(service)

    async def work() -> Outcome:
        session = await service.start_training_session(TASK, parameters, names)
        outcome = Outcome(service, session, emitter, trainer)
        if prepare is not None:
            await prepare(service)
        try:
            outcome.models = await service.execute_training_pipeline(TASK)
        except Exception as error:  # noqa: BLE001  (each test judges it)
            outcome.error = error
        return outcome

    return asyncio.run(work())

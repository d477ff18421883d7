"""TrainingService: the order of work of a training run, and nothing else.

It prepares the data, then trains the models one after the other (or several at once if the engine can). It reports
progress at each step and records each model's failure separately. Loader, trainer and emitter are injected.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cognate_core.config import DATASETS, OPTIMIZERS, TrainingConfig
from cognate_core.contracts import (
    ARITHMETIC,
    DatasetLoader,
    ModelArtifacts,
    ModelTrainer,
    Phase,
    ProgressCallback,
    ProgressEmitter,
    RunStatus,
    TrainingProgress,
    utc_now,
)
from cognate_core.errors import (
    CancelRequested,
    ConfigError,
    Diverged,
    Interruption,
    PauseRequested,
    RunError,
    StopRequested,
    TrainingError,
    plain_sentence,
)

COORDINATION_KEY = "swarm/phase2/services/training"
"""The storage layer's key for the running sessions, the database's path, and a heartbeat."""

DEFAULT_MODEL_NAMES = ("cognate_foundation_1", "cognate_foundation_2", "cognate_foundation_3")
DEFAULT_SEEDS = (42, 1337, 2023)

GoesOn = Callable[[str], bool]
"""Whether an earlier execution of a session left a checkpoint of the model with this name to continue from."""

_DATA_START, _DATA_END = 0.05, 0.20
_TRAIN_START, _TRAIN_END = 0.25, 0.95


@dataclass(slots=True)
class TrainingSession:
    """One run of the pipeline."""

    task_id: str
    config: TrainingConfig
    model_names: list[str]
    status: RunStatus = RunStatus.QUEUED
    begun: bool = False
    progress: TrainingProgress = field(
        default_factory=lambda: TrainingProgress(0.0, "Waiting to start", Phase.INITIALIZATION)
    )
    models: list[ModelArtifacts] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # model name -> sentence
    created_at: str = field(default_factory=utc_now)
    finished_at: str | None = None
    interruption: type[Interruption] | None = None
    goes_on: GoesOn = lambda _: False
    shares: dict[str, float] = field(default_factory=dict)  # model name -> how far it is trained, 0 to 1
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)  # keeps reports in order


class TrainingService:
    """Runs training sessions with the given loader, trainer and emitter."""

    def __init__(
        self,
        progress_emitter: ProgressEmitter,
        dataset_loader: DatasetLoader,
        model_trainer: ModelTrainer,
        config: TrainingConfig | None = None,
    ) -> None:
        self._emitter = progress_emitter
        self._loader = dataset_loader
        self._trainer = model_trainer
        self._config = config or TrainingConfig()
        self._sessions: dict[str, TrainingSession] = {}

    async def start_training_session(
        self,
        task_id: str,
        training_parameters: Mapping[str, Any] | None = None,
        model_names: Sequence[str] | None = None,
        completed_models: Sequence[ModelArtifacts] = (),
        goes_on: GoesOn = lambda _: False,
    ) -> TrainingSession:
        """Register a session. `training_parameters` override the service's config for this session.

        `completed_models`: finished by an earlier execution of the session; they are not trained again.
        `goes_on`: says which other models can continue, so that even an early stop saves them.

        Raises:
            ConfigError: a parameter cannot be used, or the model names are empty or not distinct.
            RunError: a session with this id already exists.
        """
        if task_id in self._sessions:
            raise RunError(f"A training session {task_id!r} already exists. Choose another id.")
        names = list(DEFAULT_MODEL_NAMES if model_names is None else model_names)
        if (
            isinstance(model_names, str)
            or not names
            or len(set(names)) != len(names)
            or not all(name.strip() for name in names)
        ):
            raise ConfigError({"model_names": "Give at least one model name, and a different one for each model."})
        config = self._config.with_overrides(training_parameters or {})
        session = TrainingSession(task_id, config, names, models=list(completed_models), goes_on=goes_on)
        self._sessions[task_id] = session
        await self._emit(session, 0.0, "Preparing the training", Phase.INITIALIZATION)
        return session

    async def execute_training_pipeline(self, task_id: str) -> list[ModelArtifacts]:
        """Run the session to its end and return the trained models.

        If a model fails, the others continue, and the session ends as "completed with failures".

        Raises:
            DataError: there is nothing to train on.
            TrainingError: no model could be trained (Diverged if all diverged). If only one model failed, its own
                error is raised.
            RunError: the session is unknown or has already been run.
        """
        session = self._session(task_id)
        if session.begun:
            raise RunError(f"The training session {task_id!r} is {session.status} and cannot be started again.")
        session.begun = True
        try:
            self.raise_while_preparing(task_id)
            config = await self._prepare_data(session)
            await self._train_models(session, config)
        except CancelRequested:
            await self._finish(session, RunStatus.CANCELLED, "Cancelled", Phase.CANCELLED)
        except PauseRequested:
            await self._finish(session, RunStatus.PAUSED, "Paused", session.progress.phase_name)
        except StopRequested:
            if session.models:
                await self._finish(session, RunStatus.STOPPED, "Stopped and saved", Phase.COMPLETE)
            else:
                await self._finish(session, RunStatus.STOPPED, "Stopped before training began", Phase.CANCELLED)
        except BaseException as error:
            failed = RunStatus.DIVERGED if isinstance(error, Diverged) else RunStatus.FAILED
            await self._finish(session, failed, plain_sentence(error), Phase.FAILED)
            raise
        return list(session.models)

    async def get_training_status(self, task_id: str) -> TrainingSession:
        """The session's current state. Raises RunError if there is none."""
        return self._session(task_id)

    async def list_trained_models(self) -> list[ModelArtifacts]:
        """Every model that this service trained, oldest first."""
        return [model for session in self._sessions.values() for model in session.models]

    async def get_model_artifacts(self, model_id: str) -> ModelArtifacts:
        """The model with this id. Raises RunError if there is none."""
        for model in await self.list_trained_models():
            if model.model_id == model_id:
                return model
        raise RunError(f"There is no trained model {model_id!r}.")

    async def cancel_training_session(self, task_id: str) -> bool:
        """Ask the session to end without saving. False if it has already ended."""
        return self.interrupt(task_id, CancelRequested)

    async def stop_training_session(self, task_id: str) -> bool:
        """Ask the session to save its model and end. False if it has already ended."""
        return self.interrupt(task_id, StopRequested)

    def cleanup_completed_sessions(self, max_age_hours: float = 24) -> int:
        """Forget sessions that ended longer ago than this; returns how many. Files stay."""
        limit = datetime.now(UTC) - timedelta(hours=max_age_hours)
        old = [
            task_id
            for task_id, session in self._sessions.items()
            if session.finished_at and datetime.fromisoformat(session.finished_at) <= limit
        ]
        for task_id in old:
            del self._sessions[task_id]
        return len(old)

    def interrupt(self, task_id: str, kind: type[Interruption]) -> bool:
        """Ask for a pause, stop or cancel, from any thread. False if the session has already ended."""
        session = self._session(task_id)
        if session.finished_at is not None:
            return False
        session.interruption = stronger(session.interruption, kind)
        session.status = INTERRUPTIONS[session.interruption]
        return True

    def raise_if_interrupted(self, task_id: str) -> None:
        """For loaders and trainers, between two pieces of work: raises the person's command, if there is one."""
        interruption = self._session(task_id).interruption
        if interruption is not None:
            raise interruption

    def raise_while_preparing(self, task_id: str) -> None:
        """For loaders: raises the person's command, unless it is a stop that must first save an earlier checkpoint."""
        session = self._session(task_id)
        done = {model.model_name for model in session.models}
        if not any(self._is_to_be_saved(session, name) for name in session.model_names if name not in done):
            self.raise_if_interrupted(task_id)

    def _is_to_be_saved(self, session: TrainingSession, name: str) -> bool:
        """Whether the person asked for a stop, and the trainer has a state of this model to save."""
        return session.interruption is StopRequested and session.goes_on(name)

    # The order of work

    async def _prepare_data(self, session: TrainingSession) -> TrainingConfig:
        session.status = RunStatus.PREPARING
        config = session.config
        if config.task == "arithmetic":
            wanted = {ARITHMETIC: "built in"}
        elif config.dataset_path:
            wanted = {"Own file": config.dataset_path}
        else:
            wanted = {name: DATASETS[name].id for name in config.dataset_sources}
        await self._emit(session, _DATA_START, "Fetching the datasets", Phase.DATASETS)
        for done, (name, dataset_id) in enumerate(wanted.items()):
            self.raise_while_preparing(session.task_id)
            loaded = await self._loader.download_dataset(name, dataset_id)
            share = (done + 1) / (len(wanted) + 1)
            await self._emit(
                session,
                _DATA_START + share * (_DATA_END - _DATA_START),
                f"{name} is ready" if loaded else f"{name} is not available",
                Phase.DATASETS,
            )
        self.raise_while_preparing(session.task_id)
        folder = await self._loader.create_mixed_training_data()
        await self._emit(session, _DATA_END, "The training data is ready", Phase.DATASETS)
        return config.model_copy(update={"prepared_data": folder})

    async def _train_models(self, session: TrainingSession, config: TrainingConfig) -> None:
        session.status = RunStatus.TRAINING
        done = {model.model_name for model in session.models}
        session.shares = {name: float(name in done) for name in session.model_names}
        errors: list[Exception] = []
        waiting = [
            pair for pair in zip(session.model_names, seeds_from(config.seed), strict=False) if pair[0] not in done
        ]
        models = iter(waiting)

        async def worker() -> None:
            """Train one model after the other, in parallel with other workers."""
            try:
                for name, seed in models:
                    if not self._is_to_be_saved(session, name):
                        self.raise_if_interrupted(session.task_id)
                    its_config = config.model_copy(update={"seed": seed})
                    try:
                        await self._train_model(session, name, its_config, errors)
                    except PauseRequested:
                        if not self._is_to_be_saved(session, name):
                            raise
                        await self._train_model(session, name, its_config, errors)  # a stop followed the pause
            except BaseException:
                if at_once > 1:  # if one worker ends, the others save their state and end, too
                    self.interrupt(session.task_id, PauseRequested)
                raise

        at_once = config.ray_parallel_models if config.engine == "ray" else 1
        ends = await asyncio.gather(*(worker() for _ in range(min(at_once, len(waiting)))), return_exceptions=True)
        raised = [end for end in ends if end is not None]
        for end in sorted(raised, key=lambda end: isinstance(end, Interruption)):  # errors first: they say why
            raise session.interruption if isinstance(end, Interruption) and session.interruption else end
        if not session.models:
            raise _no_model(errors, session.failures)
        if session.failures:
            failed = "; ".join(f"{name}: {why}" for name, why in session.failures.items())
            await self._finish(
                session, RunStatus.COMPLETED_WITH_FAILURES, f"Some models failed. {failed}", Phase.COMPLETE
            )
        else:
            await self._finish(session, RunStatus.COMPLETED, _completion(session.models), Phase.COMPLETE)

    async def _train_model(
        self, session: TrainingSession, name: str, config: TrainingConfig, errors: list[Exception]
    ) -> None:
        """Train one model. Its failure is recorded; the others continue."""
        await self._emit_training(session, name, 0.0)
        relay = _ProgressRelay(self, session, name)
        try:
            async with relay as callback:
                result = await self._trainer.train_model(name, config, callback)
            artifacts = _artifacts(name, config, result)
        except Interruption:
            raise
        except Exception as error:  # noqa: BLE001  (any error is recorded, and the other models continue)
            if relay.error is not None:
                raise relay.error from None  # the emitter's fault, not the model's
            session.failures[name] = plain_sentence(error)
            errors.append(error)
            return
        finally:
            session.shares[name] = 1.0
        session.models.append(artifacts)
        session.models.sort(key=lambda model: session.model_names.index(model.model_name))
        await self._emitter.emit_model_completed(artifacts)
        if artifacts.training_status == "stopped":
            raise StopRequested

    async def _emit_training(self, session: TrainingSession, name: str, share: float, **figures: Any) -> None:
        """Report that this share of a model's training is done."""
        session.shares[name] = share
        whole = sum(session.shares.values()) / len(session.shares)
        progress = _TRAIN_START + (_TRAIN_END - _TRAIN_START) * whole
        await self._emit(session, progress, f"Training {name}", Phase.TRAINING, **figures)

    async def _emit(
        self,
        session: TrainingSession,
        progress: float,
        message: str,
        phase: str,
        **figures: Any,
    ) -> None:
        async with session.telling:
            never_back = min(1.0, max(progress, session.progress.progress))
            session.progress = TrainingProgress(never_back, message, phase, **figures)
            await self._emitter.emit_progress(session.progress)

    async def _finish(self, session: TrainingSession, status: RunStatus, message: str, phase: str) -> None:
        session.status = status
        session.finished_at = utc_now()
        progress = 1.0 if phase is Phase.COMPLETE else session.progress.progress
        await self._emit(session, progress, message, phase)

    def _session(self, task_id: str) -> TrainingSession:
        if task_id not in self._sessions:
            raise RunError(f"There is no training session {task_id!r}.")
        return self._sessions[task_id]


class _ProgressRelay:
    """Passes a trainer's plain callbacks, from any thread, to the emitter's coroutine.

    Keeps the order, awaits every emission, and raises the emitter's error in the trainer at its next call.
    """

    def __init__(self, service: TrainingService, session: TrainingSession, name: str) -> None:
        self._service, self._session, self._name = service, session, name
        self._queue: asyncio.Queue[tuple[int, int, float, float] | None] = asyncio.Queue()
        self.error: Exception | None = None  # the emitter's

    async def __aenter__(self) -> ProgressCallback:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._pump())
        return self._callback

    async def __aexit__(self, *exc_info: object) -> None:
        self._loop.call_soon(self._queue.put_nowait, None)  # after the pending calls
        await self._task
        if self.error is not None:
            raise self.error

    def _callback(self, step: int, total_steps: int, loss: float, learning_rate: float) -> None:
        if self.error is not None:
            raise self.error
        self._loop.call_soon_threadsafe(self._queue.put_nowait, (step, total_steps, loss, learning_rate))
        self._service.raise_if_interrupted(self._session.task_id)

    async def _pump(self) -> None:
        while (item := await self._queue.get()) is not None:
            if self.error is not None:
                continue  # keep draining, so that leaving never blocks
            step, total_steps, loss, learning_rate = item
            try:
                await self._service._emit_training(
                    self._session,
                    self._name,
                    min(1.0, step / max(1, total_steps)),
                    step=step,
                    total_steps=total_steps,
                    loss=loss if math.isfinite(loss) else None,
                    learning_rate=learning_rate,
                )
            except Exception as error:  # noqa: BLE001  (the trainer and the caller get any error)
                self.error = error


INTERRUPTIONS: dict[type[Interruption], RunStatus] = {  # the weaker ones first
    PauseRequested: RunStatus.PAUSING,
    StopRequested: RunStatus.STOPPING,
    CancelRequested: RunStatus.CANCELLING,
}


def stronger(one: type[Interruption] | None, other: type[Interruption]) -> type[Interruption]:
    """The stronger of two commands: a cancel overrides a stop, and a stop overrides a pause."""
    order = list(INTERRUPTIONS)
    return other if one is None else max(one, other, key=order.index)


def seeds_from(seed: int) -> itertools.chain[int]:
    """Endless distinct seeds: the config's own first, then the specification's, then counting up."""
    fixed = list(dict.fromkeys((seed, *DEFAULT_SEEDS)))
    return itertools.chain(fixed, (n % 2**31 for n in itertools.count(seed + 1) if n % 2**31 not in fixed))


def _artifacts(name: str, config: TrainingConfig, result: Mapping[str, Any]) -> ModelArtifacts:
    return ModelArtifacts(
        model_id=uuid.uuid4().hex[:12],
        model_name=name,
        phase_name=Phase.TRAINING,
        parameter_count=result["parameter_count"],
        created_at=utc_now(),
        training_status=result["training_status"],
        focus=", ".join(result["datasets_used"]),
        training_mode="GrokFast" if result["grokfast_enabled"] else OPTIMIZERS[config.optimizer],
        datasets_used=list(result["datasets_used"]),
        training_stats=dict(result["training_stats"]),
        grokfast_enabled=result["grokfast_enabled"],
        act_enabled=result["act_enabled"],
        ltm_enabled=result["ltm_enabled"],
        artifacts=dict(result["artifacts"]),
        capabilities=["modular arithmetic" if config.task == "arithmetic" else "text generation"],
    )


def _completion(models: Sequence[ModelArtifacts]) -> str:
    """That training is complete, and which models ended early and why."""
    said = "Training is complete"
    for model in models:
        stats = model.training_stats
        if "ended_early" in stats:
            name = f"{model.model_name}: " if len(models) > 1 else ""
            said += f". {name}{stats['ended_early']} The model is from step {stats['weights_step']:,}"
    return said


def _no_model(errors: list[Exception], failures: Mapping[str, str]) -> Exception:
    """The error for the whole session: the only one there is, else one sentence about all models."""
    if len(errors) == 1:
        return errors[0]
    kind = Diverged if all(isinstance(error, Diverged) for error in errors) else TrainingError
    return kind("No model could be trained. " + " ".join(f"{name}: {why}" for name, why in failures.items()))

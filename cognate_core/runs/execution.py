"""One execution of a run, from its start or resumption to its end: in this process or in a separate one.

Both use `run_pipeline` and report the same things to a RunContext.
"""

from __future__ import annotations

import asyncio
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, assert_never

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ModelArtifacts, ProgressEmitter, RecordSink, RunStatus
from cognate_core.errors import (
    CancelRequested,
    Diverged,
    Interruption,
    PauseRequested,
    StopRequested,
    is_out_of_memory,
    plain_sentence,
)
from cognate_core.extras import require_installed
from cognate_core.files import is_disk_full
from cognate_core.runs.derived import checkpoint_steps
from cognate_core.service import INTERRUPTIONS, TrainingService, stronger

ASKED_BY = {status: kind for kind, status in INTERRUPTIONS.items()}
"""The command that a run with this status has received."""

COMMANDS: dict[str, type[Interruption]] = {"pause": PauseRequested, "stop": StopRequested, "cancel": CancelRequested}
"""The commands of a worker process."""

LOAD = "load"
"""The first line for a spare worker: load the libraries, then wait for the job."""


def begin_folder(run_folder: Path) -> Path:
    """The folder of the checkpoint that a branch starts from."""
    return run_folder / "begin"


BuildService = Callable[["RunContext"], TrainingService]


@dataclass(slots=True)
class RunContext:
    """What a service needs to know about its run, and where its output goes.

    `completed`: models that an earlier execution of this run finished. `data_hash`: of the data it trained on.
    `show`: shows a sentence to people. `chooses_threads`: whether the run may choose its number of threads, because it
    has the process for itself.
    """

    run_id: str
    config: TrainingConfig
    model_names: Sequence[str]
    completed: Sequence[ModelArtifacts]
    data_hash: str | None
    home: Path
    record: RecordSink
    show: Callable[[str], None]
    emitter: ProgressEmitter
    service: TrainingService | None = None
    interruption: type[Interruption] | None = None
    chooses_threads: bool = False

    def tell(self, message: str) -> None:
        """Show what is being done while data is prepared. Raises the Interruption that the person asked for."""
        self.show(message)
        if self.service is not None:
            self.service.raise_while_preparing(self.run_id)
        elif self.interruption is not None:
            raise self.interruption

    def interrupt(self, kind: type[Interruption]) -> None:
        """Ask the run to end, from any thread. A weaker command does not replace a stronger one."""
        self.interruption = stronger(self.interruption, kind)
        if self.service is not None:
            self.service.interrupt(self.run_id, self.interruption)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended."""

    status: RunStatus
    message: str
    error: str | None = None
    error_details: str | None = None
    lacking: Literal["memory", "disk"] | None = field(default=None, kw_only=True)  # if it failed because of that

    def columns(self) -> dict[str, Any]:
        """The columns of the run's row that it sets."""
        return {key: value for key, value in asdict(self).items() if key not in ("status", "lacking")}


def build_real_service(context: RunContext) -> TrainingService:
    """The service that fetches real data and trains real models. It continues where an earlier execution ended."""
    # Imported here because they load torch and datasets, which would delay the pages.
    from cognate_core.data.arithmetic_loader import ArithmeticLoader
    from cognate_core.data.loader import MixtureLoader
    from cognate_core.training.ray_trainer import RayTrainer
    from cognate_core.training.trainer import TorchTrainer

    require_installed(context.config)
    trainer: type[RayTrainer | TorchTrainer]
    match context.config.engine:
        case "local":
            trainer = TorchTrainer
        case "ray":
            trainer = RayTrainer
        case unknown:
            assert_never(unknown)
    cache = context.home / "cache"
    begin = begin_folder(Path(context.config.output_dir))
    return TrainingService(
        progress_emitter=context.emitter,
        dataset_loader=ArithmeticLoader(context.config, cache, context.record)
        if context.config.task == "arithmetic"  # `loop_for` knows only this and text
        else MixtureLoader(
            context.config, cache, context.record, context.tell, context.data_hash, goes_on=_goes_on(context, begin)
        ),
        model_trainer=trainer(
            context.record,
            resume=True,
            begin=begin if begin.is_dir() else None,
            chooses_threads=context.chooses_threads and not context.config.threads,
        ),
        config=context.config,
    )


def _goes_on(context: RunContext, begin: Path) -> bool:
    """Whether one of the run's models continues from a checkpoint."""
    folder = Path(context.config.output_dir)
    return begin.is_dir() or any(checkpoint_steps(folder, name) for name in context.model_names)


def run_pipeline(context: RunContext, build_service: BuildService) -> Outcome:
    """Carry out a run in the calling thread. Every error becomes an Outcome."""
    try:
        return asyncio.run(_pipeline(context, build_service))
    except BaseException as error:  # noqa: BLE001  (a separate thread or process has no caller: the outcome reports it)
        status = RunStatus.DIVERGED if isinstance(error, Diverged) else RunStatus.FAILED
        sentence = plain_sentence(error)
        return Outcome(status, sentence, sentence, traceback.format_exc(), lacking=lacking(error))


def lacking(error: BaseException) -> Literal["memory", "disk"] | None:
    """What was lacking, if the error says so."""
    if is_out_of_memory(error):
        return "memory"
    return "disk" if is_disk_full(error) else None


async def _pipeline(context: RunContext, build_service: BuildService) -> Outcome:
    service = build_service(context)
    folder = Path(context.config.output_dir)
    await service.start_training_session(
        context.run_id,
        model_names=context.model_names,
        completed_models=context.completed,
        goes_on=lambda name: bool(checkpoint_steps(folder, name)),
    )
    context.service = service
    if context.interruption is not None:  # it came before there was a service
        service.interrupt(context.run_id, context.interruption)
    await service.execute_training_pipeline(context.run_id)
    session = await service.get_training_status(context.run_id)
    failures = " ".join(f"{name}: {why}" for name, why in session.failures.items())
    return Outcome(session.status, session.progress.message, failures or None)


class Execution(ABC):
    """One execution of a run."""

    @abstractmethod
    def run(self) -> Outcome:
        """Carry it out; blocks until it ends."""

    @abstractmethod
    def interrupt(self, kind: type[Interruption]) -> None:
        """Ask it to end, from any thread. Never waits."""

    @property
    def pid(self) -> int | None:
        """The id of its process; None if it has none."""
        return None

    @property
    def silent_seconds(self) -> float:
        """Seconds since its last sign of life."""
        return 0.0

    @property
    def memory_bytes(self) -> int | None:
        """The memory that its process uses now; None if it has none."""
        return None

    @abstractmethod
    def kill(self) -> None:
        """End it by force, if possible. From any thread."""


class ThreadExecution(Execution):
    """In the calling thread: for tests and notebooks. It cannot be killed."""

    def __init__(self, context: RunContext, build_service: BuildService) -> None:
        self._context, self._build_service = context, build_service

    def run(self) -> Outcome:
        return run_pipeline(self._context, self._build_service)

    def interrupt(self, kind: type[Interruption]) -> None:
        self._context.interrupt(kind)

    def kill(self) -> None:
        """Does nothing: a thread cannot be killed. It ends with the process."""


class RefusedExecution(Execution):
    """An execution of a run that cannot start: `run` raises the reason."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self) -> Outcome:
        raise self._error

    def interrupt(self, kind: type[Interruption]) -> None:
        """Does nothing: it ends at once."""

    def kill(self) -> None:
        """Does nothing: there is nothing to end."""

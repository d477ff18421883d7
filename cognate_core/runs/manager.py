"""RunManager: a background thread for each run, a queue, stop and cancel. What it knows is in the database.

One process at a time manages a data directory. A page may ask from any thread and at any moment; after a restart
everything is read back from SQLite.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Record, RunStatus, utc_now
from cognate_core.errors import ConfigError, Diverged, RunError, plain_sentence
from cognate_core.service import COORDINATION_KEY, TrainingService
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressLog, SQLiteProgressEmitter

HEARTBEAT_SECONDS = 10.0
CLOSE_SECONDS = 8.0  # how long closing waits for running models to be saved
MAX_NAME_LENGTH = 80

BuildService = Callable[["RunContext"], TrainingService]


class RunContext:
    """What a service needs of the run that it is built for."""

    def __init__(self, run_id: str, config: TrainingConfig, log: ProgressLog, store: ArtifactStore) -> None:
        self.run_id, self.config, self.log, self.store = run_id, config, log, store
        self.service: TrainingService | None = None

    def record(self, record: Record) -> None:
        """A RecordSink."""
        self.log.record(self.run_id, record)

    def tell(self, message: str) -> None:
        """Show what is being done; raises what the person asked for meanwhile."""
        self.log.set_message(self.run_id, message)
        if self.service is not None:
            self.service.raise_if_interrupted(self.run_id)


def build_real_service(context: RunContext) -> TrainingService:
    """The service that fetches real data and trains real models, inside the calling thread."""
    # Imported here because they load torch and datasets, which the pages must not wait for.
    from cognate_core.data.loader import MixtureLoader
    from cognate_core.training.trainer import TorchTrainer

    cache = context.store.home / "cache"
    return TrainingService(
        progress_emitter=SQLiteProgressEmitter(context.log, context.run_id, context.store),
        dataset_loader=MixtureLoader(context.config, cache, context.record, context.tell),
        model_trainer=TorchTrainer(context.record),
        config=context.config,
    )


class RunManager:
    """Starts, queues, stops and cancels runs.

    Args:
        home: the data directory; everything is kept below it.
        max_parallel: how many runs train at once; others wait.
        build_service: makes the service of a run, within the run's thread.

    Raises:
        RunError: another process manages this directory.
        StorageError: the database cannot be opened.
    """

    def __init__(self, home: Path, max_parallel: int = 1, build_service: BuildService = build_real_service) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home.resolve()
        self._owner_lock = FileLock(self.home / "owner.lock")
        try:
            self._owner_lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"Cognate Studio is already running with the data folder {self.home}. Use that one, close it, or "
                "choose another folder with COGNATE_HOME."
            ) from error
        try:
            self.log = ProgressLog(database_path(self.home))
        except BaseException:
            self._owner_lock.release()
            raise
        self.store = ArtifactStore(self.home)
        self._max_parallel, self._build_service = max_parallel, build_service
        self._lock = threading.Lock()
        self._contexts: dict[str, RunContext] = {}  # of the runs that are being executed
        self._threads: dict[str, threading.Thread] = {}
        self._run_ended = threading.Condition()
        self._closing = threading.Event()
        self._started_at = utc_now()
        self.log.interrupt_unfinished()
        self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heartbeat.start()
        self._start_waiting()

    def start(
        self,
        config: TrainingConfig,
        name: str,
        model_names: Sequence[str],
        start_key: str | None = None,
    ) -> str:
        """Queue a run, and start it when there is room; its id. A second call with one start_key changes nothing.

        Raises:
            ConfigError: the name cannot be used.
        """
        run_id = uuid.uuid4().hex[:12]
        folder = self.home / "runs" / run_id
        config = config.model_copy(update={"output_dir": str(folder)})
        run_id = self.log.create_run(run_id, valid_name(name), config, list(model_names), folder, start_key)
        self._start_waiting()
        return run_id

    def stop(self, run_id: str) -> bool:
        """Save what there is and end the run. False when it has ended already."""
        return self._interrupt(run_id, RunStatus.STOPPING)

    def cancel(self, run_id: str) -> bool:
        """End the run without saving. False when it has ended already."""
        return self._interrupt(run_id, RunStatus.CANCELLING)

    def delete_model(self, model_id: str) -> None:
        """Move a model's files to the trash and forget it.

        Raises:
            RunError: there is no such model.
        """
        self.log.model(model_id)
        self.store.move_to_trash(self.log.artifacts(model_id), model_id)
        self.log.remove_model(model_id)

    def wait(self, run_id: str, timeout: float | None = None) -> bool:
        """Wait until the run has ended, `timeout` seconds at most; whether it has."""
        with self._run_ended:
            return self._run_ended.wait_for(lambda: self.log.run(run_id).status.is_terminal, timeout)

    def close(self) -> None:
        """Save what is being trained, mark it interrupted, and let the data directory go."""
        self._closing.set()
        with self._lock:
            for run_id, context in self._contexts.items():
                if context.service is not None:
                    asyncio.run(context.service.stop_training_session(run_id))
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(CLOSE_SECONDS)
        self._heartbeat.join()
        self.log.close()
        self._owner_lock.release()

    # Inside

    def _start_waiting(self) -> None:
        """Start queued runs while there is room."""
        with self._lock:
            if self._closing.is_set():
                return
            for run_id in self.log.queued_run_ids():
                if len(self._contexts) >= self._max_parallel:
                    return
                if not self.log.claim(run_id):
                    continue
                run = self.log.run(run_id)
                self._contexts[run_id] = RunContext(run_id, run.config, self.log, self.store)
                thread = threading.Thread(
                    target=self._execute, args=(run_id, run.model_names), name=f"run-{run_id}", daemon=True
                )
                self._threads[run_id] = thread
                thread.start()

    def _execute(self, run_id: str, model_names: list[str]) -> None:
        """The body of a run's thread."""
        context = self._contexts[run_id]
        status, columns = RunStatus.FAILED, dict[str, Any]()
        try:
            status, columns = asyncio.run(self._pipeline(context, model_names))
        except BaseException as error:  # noqa: BLE001  (a thread has no caller: the run's row is told)
            status = RunStatus.DIVERGED if isinstance(error, Diverged) else RunStatus.FAILED
            columns = {"error": plain_sentence(error), "error_details": traceback.format_exc()}
        finally:
            if self._closing.is_set() and status is RunStatus.STOPPED:
                status = RunStatus.INTERRUPTED
                columns["message"] = "The studio was closed; what was trained until then is saved"
            self.log.set_status(run_id, status, **columns)
            with self._lock:
                del self._contexts[run_id]
                del self._threads[run_id]
            with self._run_ended:
                self._run_ended.notify_all()
            self._start_waiting()

    async def _pipeline(self, context: RunContext, model_names: list[str]) -> tuple[RunStatus, dict[str, Any]]:
        service = self._build_service(context)
        await service.start_training_session(context.run_id, model_names=model_names)
        context.service = service
        await self._catch_up_interruption(context, service)
        await service.execute_training_pipeline(context.run_id)
        session = await service.get_training_status(context.run_id)
        return session.status, {"message": session.progress.message, "error": _failures(session.failures)}

    async def _catch_up_interruption(self, context: RunContext, service: TrainingService) -> None:
        """A stop or cancel that came before there was a service to tell."""
        status = self.log.run(context.run_id).status
        if status is RunStatus.CANCELLING:
            await service.cancel_training_session(context.run_id)
        elif status is RunStatus.STOPPING or self._closing.is_set():
            await service.stop_training_session(context.run_id)

    def _interrupt(self, run_id: str, status: RunStatus) -> bool:
        run = self.log.run(run_id)
        if run.status is RunStatus.QUEUED and self.log.set_status(
            run_id, RunStatus.CANCELLED, message="Cancelled before it began"
        ):
            return True
        if run.status is RunStatus.CANCELLING and status is RunStatus.STOPPING:
            return True  # a stop does not take a cancel back
        if not self.log.set_status(run_id, status):
            return False
        context = self._contexts.get(run_id)
        if context is not None and context.service is not None:
            ask = (
                context.service.cancel_training_session
                if status is RunStatus.CANCELLING
                else context.service.stop_training_session
            )
            asyncio.run(ask(run_id))
        return True

    def _beat(self) -> None:
        """Keep the coordination record fresh until closing."""
        while True:
            self.log.set_coordination(
                COORDINATION_KEY,
                {
                    "pid": os.getpid(),
                    "database": str(self.log.path),
                    "started_at": self._started_at,
                    "active_runs": list(self._contexts),
                    "open": not self._closing.is_set(),
                },
            )
            if self._closing.wait(HEARTBEAT_SECONDS):
                break


def valid_name(name: str) -> str:
    """A run's or model's name without surrounding space.

    Raises:
        ConfigError: it is empty, too long, or holds control characters.
    """
    stripped = name.strip()
    if not stripped:
        raise ConfigError({"name": "Give the run a name, so that you find it again."})
    if len(stripped) > MAX_NAME_LENGTH:
        raise ConfigError({"name": f"The name has {len(stripped)} characters; {MAX_NAME_LENGTH} fit. Shorten it."})
    if not stripped.isprintable():
        raise ConfigError({"name": "The name holds a character that cannot be shown. Type it again."})
    return stripped


def database_path(home: Path) -> Path:
    """Where the database of a data directory lies."""
    return home / "studio.sqlite"


def default_home() -> Path:
    """The data directory: COGNATE_HOME, or the usual place for data of this user."""
    chosen = os.environ.get("COGNATE_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("cognate-studio", appauthor=False))


def _failures(failures: dict[str, str]) -> str | None:
    return " ".join(f"{name}: {why}" for name, why in failures.items()) or None

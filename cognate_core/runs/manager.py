"""RunManager: a background thread for each run, a queue, stop and cancel. What it knows is in the database.

One process at a time manages a data directory. A page may ask from any thread and at any moment; after a restart
everything is read back from SQLite.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import traceback
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Record, RunStatus, utc_now
from cognate_core.errors import (
    CancelRequested,
    ConfigError,
    Diverged,
    RunError,
    StopRequested,
    StorageError,
    plain_sentence,
)
from cognate_core.service import COORDINATION_KEY, TrainingService
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressLog, SQLiteProgressEmitter

_log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
_BEGUN = tuple(status for status in RunStatus if status is not RunStatus.QUEUED)
RETRY_SECONDS = 1.0  # between two tries to write how a run ended
CLOSE_SECONDS = 8.0  # how long closing waits for running models to be saved
MAX_MODELS = 20  # of one run, as page and command line offer it
MAX_NAME_LENGTH = 80
_TURNS_TEXT = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # would turn the text around it, too

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
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"The data folder {home} cannot be made ({error}). Check COGNATE_HOME.") from error
        self.home = home.resolve()
        self._owner_lock = FileLock(self.home / "owner.lock", thread_local=False)  # any thread may close
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
        self._closed = False
        self._heartbeat_ends = threading.Event()
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
        names = [valid_name(model_name) for model_name in model_names]
        config = self._in_this_home(run_id, config)
        run_id = self.log.create_run(run_id, valid_name(name), config, names, Path(config.output_dir), start_key)
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
            self._run_ended.wait_for(lambda: self._closed or self.log.run(run_id).status.is_terminal, timeout)
        return self.log.run(run_id).status.is_terminal

    def close(self) -> None:
        """Save what is being trained, mark it interrupted, and let the data directory go."""
        self._closing.set()
        with self._lock:
            for run_id, context in self._contexts.items():
                if context.service is not None:
                    context.service.interrupt(run_id, StopRequested)
            threads = list(self._threads.values())
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._heartbeat_ends.set()
        self._heartbeat.join()
        self.log.close()
        self._owner_lock.release()
        self._closed = True
        self._tell_who_waits()

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
                if run.config_error:
                    sentence = f"The settings of this run cannot be read any more. {run.config_error}"
                    self.log.set_status(run_id, RunStatus.FAILED, message=sentence, error=sentence)
                    continue
                config = self._in_this_home(run_id, run.config)
                self._contexts[run_id] = RunContext(run_id, config, self.log, self.store)
                thread = threading.Thread(
                    target=self._execute, args=(run_id, run.model_names), name=f"run-{run_id}", daemon=True
                )
                self._threads[run_id] = thread
                thread.start()

    def _in_this_home(self, run_id: str, config: TrainingConfig) -> TrainingConfig:
        """`config` with the run's own folder; the data directory may have been moved since it was queued."""
        return config.model_copy(update={"output_dir": str(self.home / "runs" / run_id)})

    def _execute(self, run_id: str, model_names: list[str]) -> None:
        """The body of a run's thread."""
        context = self._contexts[run_id]
        status, columns = RunStatus.FAILED, dict[str, Any]()
        try:
            status, columns = asyncio.run(self._pipeline(context, model_names))
        except BaseException as error:  # noqa: BLE001  (a thread has no caller: the run's row is told)
            status = RunStatus.DIVERGED if isinstance(error, Diverged) else RunStatus.FAILED
            sentence = plain_sentence(error)
            columns = {"message": sentence, "error": sentence, "error_details": traceback.format_exc()}
        written = self._write_end(run_id, status, columns)
        with self._lock:
            del self._contexts[run_id]
        next_started = self._start_next()
        while not (written and next_started) and not self._closing.wait(RETRY_SECONDS):
            columns.pop("error_details", None)  # less to write, should the disk be full
            written = written or self._write_end(run_id, status, columns)
            next_started = next_started or self._start_next()
        with self._lock:
            del self._threads[run_id]

    def _start_next(self) -> bool:
        """Start what waits; False when the database refuses."""
        try:
            self._start_waiting()
        except StorageError as error:
            _log.warning("The next run could not be started yet: %s", error)
            return False
        return True

    def _write_end(self, run_id: str, status: RunStatus, columns: dict[str, Any]) -> bool:
        """Write how a run ended; False when the database refuses. What is never written reads "interrupted" later."""
        try:
            self.log.set_status(run_id, status, **columns)
        except StorageError as error:
            _log.warning("The end of run %s could not be written yet: %s", run_id, error)
            return False
        self._tell_who_waits()
        return True

    async def _pipeline(self, context: RunContext, model_names: list[str]) -> tuple[RunStatus, dict[str, Any]]:
        service = self._build_service(context)
        await service.start_training_session(context.run_id, model_names=model_names)
        context.service = service
        self._catch_up_interruption(context, service)
        await service.execute_training_pipeline(context.run_id)
        session = await service.get_training_status(context.run_id)
        self.log.raise_refused(context.run_id)
        if self._closing.is_set() and session.status is RunStatus.STOPPED:
            saved = "; what was trained until then is saved" if session.models else ""
            return RunStatus.INTERRUPTED, {"message": f"The studio was closed while this run was going{saved}"}
        return session.status, {"message": session.progress.message, "error": _failures(session.failures)}

    def _catch_up_interruption(self, context: RunContext, service: TrainingService) -> None:
        """A stop or cancel that came before there was a service to tell."""
        status = self.log.run(context.run_id).status
        if status is RunStatus.CANCELLING:
            service.interrupt(context.run_id, CancelRequested)
        elif status is RunStatus.STOPPING or self._closing.is_set():
            service.interrupt(context.run_id, StopRequested)

    def _interrupt(self, run_id: str, status: RunStatus) -> bool:
        run = self.log.run(run_id)
        if run.status is RunStatus.QUEUED and self.log.set_status(
            run_id, RunStatus.CANCELLED, unless=_BEGUN, message="Cancelled before it began"
        ):
            self._tell_who_waits()
            return True
        context = self._contexts.get(run_id)
        if context is not None and context.service is not None:  # first: it must end even if nothing can be written
            asked = CancelRequested if status is RunStatus.CANCELLING else StopRequested
            context.service.interrupt(run_id, asked)
        # A stop does not take a cancel back.
        unless = (RunStatus.CANCELLING,) if status is RunStatus.STOPPING else ()
        return self.log.set_status(run_id, status, unless=unless) or self.log.run(run_id).status is RunStatus.CANCELLING

    def _tell_who_waits(self) -> None:
        with self._run_ended:
            self._run_ended.notify_all()

    def _beat(self) -> None:
        """Keep the coordination record fresh; the last one says that the studio is closed."""
        last = False
        while True:
            state = {
                "pid": os.getpid(),
                "database": str(self.log.path),
                "started_at": self._started_at,
                "active_runs": list(self._contexts),
                "open": not last,
            }
            try:
                self.log.set_coordination(COORDINATION_KEY, state)
            except StorageError as error:
                _log.warning("The heartbeat could not be written: %s", error)
            if last:
                return
            last = self._heartbeat_ends.wait(HEARTBEAT_SECONDS)


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
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _TURNS_TEXT for letter in stripped):
        raise ConfigError({"name": "The name holds a character that cannot be shown. Type it again."})
    return stripped


def numbered_names(name: str, count: int) -> list[str]:
    """The names of a run's models: the run's own for one, else numbered."""
    return [name] if count == 1 else [f"{name} {number}" for number in range(1, count + 1)]


def database_path(home: Path) -> Path:
    """Where the database of a data directory lies."""
    return home / "studio.sqlite"


def default_home() -> Path:
    """The data directory: COGNATE_HOME, or the usual place for data of this user."""
    chosen = os.environ.get("COGNATE_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("cognate-studio", appauthor=False))


def _failures(failures: dict[str, str]) -> str | None:
    return " ".join(f"{name}: {why}" for name, why in failures.items()) or None

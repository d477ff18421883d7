"""The queue: starts waiting runs when there is room, each followed by a thread, and records how each ends."""

from __future__ import annotations

import logging
import shutil
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ModelArtifacts, Origin, RunStatus, TimeEstimate
from cognate_core.contracts.json_lines import report_from_json
from cognate_core.errors import ConfigError, DiskFull, PauseRequested, RunError, StorageError, plain_sentence
from cognate_core.extras import require_installed
from cognate_core.runs.broadcast import WebSocketProgressEmitter
from cognate_core.runs.cores import usable_cores
from cognate_core.runs.derived import checkpoint_steps, keep_beginning
from cognate_core.runs.execution import (
    ASKED_BY,
    BuildService,
    Execution,
    Outcome,
    RefusedExecution,
    RunContext,
    ThreadExecution,
    begin_folder,
)
from cognate_core.runs.fan_out import FanOutEmitter
from cognate_core.runs.names import valid_name
from cognate_core.runs.process import ProcessExecution, kill_group, workers
from cognate_core.runs.recovery import fill_from_logs
from cognate_core.runs.timing import Timing
from cognate_core.runs.workspace import Workspace
from cognate_core.storage.progress_emitter import SQLiteProgressEmitter
from cognate_core.storage.rows import Run, TrainedModel
from cognate_core.tracking import Tracking, tracking_of

_log = logging.getLogger(__name__)

Executor = Literal["process", "thread"]


class Scheduler(Workspace):
    """Waiting and active runs."""

    _timing: Timing
    _max_parallel: int
    _executor: Executor
    _build_service: BuildService
    _tracking: dict[str, Tracking]  # of each execution
    _threads: dict[str, threading.Thread]
    _run_ended: threading.Condition
    _closing: threading.Event
    _closed: bool
    _heartbeat: threading.Thread
    _owner_lock: FileLock

    def prepare_worker(self) -> None:
        """Let a worker load its libraries for the next new run, while a person still chooses its settings.

        Does nothing if a new run would have to wait.
        """
        has_room = len(self._executions) < self._max_parallel
        if has_room and self._executor == "process" and not self._closing.is_set():
            self._spare.prepare()

    def pause(self, run_id: str) -> bool:
        """Write a checkpoint and pause the run. False if it has already ended."""
        return self._interrupt(run_id, RunStatus.PAUSING)

    def stop(self, run_id: str) -> bool:
        """Save the model as it is and end the run. False if it has already ended."""
        return self._interrupt(run_id, RunStatus.STOPPING)

    def cancel(self, run_id: str) -> bool:
        """End the run without saving. False if it has already ended."""
        return self._interrupt(run_id, RunStatus.CANCELLING)

    def resume(self, run_id: str) -> None:
        """Queue a run again that was paused, stopped or interrupted, or that failed or crashed.

        It continues from its last intact checkpoint.

        Raises:
            RunError: it is active, already queued, completed, cancelled or diverged.
            ConfigError: its engine is not installed here.
            DiskFull: the disk has no room for the run's files.
        """
        run = self.log.run(run_id)
        if run.status.can_resume:
            require_installed(run.config)
            self._require_space(run.config)
        with self._lock:
            requeued = self.log.requeue(run_id)
        if not requeued:
            raise RunError(f"A run that is {self.log.run(run_id).status} cannot be resumed.")
        self._tell(run_id)
        self._start_next()

    def resume_step(self, run_id: str) -> int:
        """The step after which a resumed run would continue, by its checkpoints; 0: from the start."""
        return max(checkpoint_steps(self._folder(run_id)), default=0)

    def move_in_queue(self, run_id: str, places: int) -> None:
        """Swap a waiting run with the one `places` earlier (negative) or later in the queue."""
        self.log.move_in_queue(run_id, places)

    def silent_seconds(self, run_id: str) -> float | None:
        """Seconds since the run's worker last reported; None if it has none in this process."""
        execution = self._executions.get(run_id)
        return None if execution is None else execution.silent_seconds

    def memory_bytes(self, run_id: str) -> int | None:
        """The memory that the run's worker uses now; None if it has none in this process."""
        execution = self._executions.get(run_id)
        return None if execution is None else execution.memory_bytes

    def wait(self, run_id: str, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds until the run is paused or has ended; returns whether it is."""

        def rests() -> bool:
            status = self.log.run(run_id).status
            return (status.is_terminal or status is RunStatus.PAUSED) and self._execution_of(run_id) is None

        with self._run_ended:
            self._run_ended.wait_for(lambda: self._closed or rests(), timeout)
        return rests()

    def close(self) -> None:
        """Let active runs write checkpoints, mark them interrupted, and release the data directory."""
        self._closing.set()
        self._measuring.cancel()
        self.rate_finder.cancel()
        self._spare.end()
        with self._lock:
            executions, threads = list(self._executions.values()), list(self._threads.values())
        for execution in executions:
            execution.interrupt(PauseRequested)
        deadline = self._timing.clock() + self._timing.close
        for thread in threads:
            thread.join(max(0.0, deadline - self._timing.clock()))
        for execution in executions:
            execution.kill()  # those still running: their last checkpoint is kept
        deadline = max(deadline, self._timing.clock() + self._timing.killed)
        for thread in threads:
            thread.join(max(0.0, deadline - self._timing.clock()))
        self.broadcast.close()
        self._end_heartbeat()
        self.log.close()
        self._owner_lock.release()
        self._closed = True
        self._tell_who_waits()

    def _enqueue(
        self,
        config: TrainingConfig,
        name: str,
        model_names: Sequence[str],
        start_key: str | None,
        origin: Origin | None,
        time_estimate: TimeEstimate | None,
        checkpoint: Path | None = None,
    ) -> str:
        require_whole(start_key)
        run_name, names = valid_name(name), [valid_name(each, "model") for each in model_names]
        if len(set(names)) < len(names):
            raise ConfigError({"model_names": "Two models have the same name. Give each its own."})
        require_installed(config)
        self._require_space(config)
        run_id = self._spare.new_run_id()
        config = self._in_this_home(run_id, config)
        folder = self._folder(run_id)
        try:
            if checkpoint is not None:
                folder.mkdir(parents=True)
                keep_beginning(checkpoint, begin_folder(folder))
            given = self.log.create_run(run_id, run_name, config, names, folder, start_key, origin, time_estimate)
        except BaseException:
            self._spare.give_back(run_id)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if given == run_id:
            self._announce(run_id)
        else:
            self._spare.give_back(run_id)
            shutil.rmtree(folder, ignore_errors=True)
        self._start_next()
        return given

    def _has_room(self, run_id: str) -> bool:
        """Whether one more run can train. Grokking lab runs are small and race side by side."""
        if len(self._executions) < self._max_parallel:
            return True
        if not self._max_parallel:
            return False
        beside = [self.log.run(each) for each in (run_id, *self._executions)]
        return len(beside) <= usable_cores() and all(
            not run.config_error and run.config.task == "arithmetic" for run in beside
        )

    def _start_waiting(self) -> None:
        """Start queued runs while there is room."""
        with self._lock:
            if self._closing.is_set():
                return
            for run_id in self.log.queued_run_ids():
                if not self._has_room(run_id):
                    return
                if run_id in self._executions:
                    continue  # its last execution is just ending; that thread will check again
                run, models = self.log.run(run_id), self.log.models(run_id)
                if not self.log.claim(run_id):
                    continue
                # From here on nothing may raise: the run's thread records any failure.
                self._tell(run_id)
                try:
                    self._executions[run_id] = self._execution(run, models)
                except Exception as error:  # noqa: BLE001  (rows of another version, folders in the way, ...)
                    self._executions[run_id] = RefusedExecution(error)
                thread = threading.Thread(target=self._execute, args=(run,), name=f"run-{run_id}", daemon=True)
                self._threads[run_id] = thread
                try:
                    thread.start()
                except RuntimeError as error:  # this computer allows no more threads
                    del self._threads[run_id], self._executions[run_id]
                    sentence = plain_sentence(error)
                    self.log.set_status(run_id, RunStatus.FAILED, message=sentence, error=sentence)

    def _execution(self, run: Run, models: Sequence[TrainedModel]) -> Execution:
        if run.config_error:
            raise RunError(f"The settings of this run can no longer be read. {run.config_error}")
        completed = [ModelArtifacts(**model.details) for model in reversed(models) if model.status == "completed"]
        emitter = FanOutEmitter(
            [
                SQLiteProgressEmitter(self.log, run.id, self.store),
                WebSocketProgressEmitter(self.broadcast, run.id, partial(self._kept_as, run.id)),
            ]
        )
        tracking = tracking_of(run, self.home, self.log, emitter, partial(self.log.record, run.id))
        self._tracking[run.id] = tracking
        context = RunContext(
            run_id=run.id,
            config=self._in_this_home(run.id, run.config),
            model_names=run.model_names,
            completed=completed,
            data_hash=self._data_hash(run),
            home=self.home,
            record=tracking.record,
            show=partial(self.log.set_message, run.id),
            emitter=tracking,
        )
        return (
            ProcessExecution(context, self._timing, self._spare)
            if self._executor == "process"
            else ThreadExecution(context, self._build_service)
        )

    def _data_hash(self, run: Run) -> str | None:
        """The hash of the run's data. A twin or branch without data of its own uses its parent's."""
        report = run.data_report
        if report is None and run.relation in ("twin", "branch") and run.parent_run_id:
            with suppress(RunError):  # it may be gone
                report = self.log.run(run.parent_run_id).data_report
            if report is not None:
                self.log.record(run.id, replace(report_from_json(report), from_cache=True))
        return report["content_hash"] if report else None

    def _execute(self, run: Run) -> None:
        """The body of a run's thread."""
        execution, began = self._executions[run.id], self._timing.clock()
        try:
            outcome = self._carried_out(run.id, execution)
        except BaseException as error:  # noqa: BLE001  (a thread has no caller: the run's row reports it)
            sentence = plain_sentence(error)
            outcome = Outcome(RunStatus.FAILED, sentence, sentence, traceback.format_exc())
        columns = outcome.columns()
        columns["worked_seconds"] = (run.worked_seconds or 0.0) + self._timing.clock() - began
        written = self._write_end(run.id, outcome.status, columns)
        next_started = self._start_next()
        while not (written and next_started) and not self._closing.wait(self._timing.retry):
            columns.pop("error_details", None)  # less to write if the disk is full
            written = written or self._write_end(run.id, outcome.status, columns)
            next_started = next_started or self._start_next()
        with self._lock:
            if self._threads.get(run.id) is threading.current_thread():
                del self._threads[run.id]

    def _carried_out(self, run_id: str, execution: Execution) -> Outcome:
        try:
            self._keep_run_file(run_id)
            asked = ASKED_BY.get(self.log.run(run_id).status)  # asked before there was an execution
            if asked is not None:
                execution.interrupt(asked)
            if self._closing.is_set():
                execution.interrupt(PauseRequested)
            fill_from_logs(self.log, self._folder(run_id))
            outcome = execution.run()
            self.log.raise_refused(run_id)
        finally:
            if run_id in self._tracking:
                self._tracking.pop(run_id).close(self._closing)  # before its folder may be deleted
        if self._closing.is_set() and outcome.status in (RunStatus.PAUSED, RunStatus.CRASHED):
            return Outcome(RunStatus.INTERRUPTED, "The studio was closed while this run was going")
        if outcome.status is RunStatus.CANCELLED:
            self._discard_unfinished(run_id)
        return self._with_advice(run_id, outcome)

    def _start_next(self) -> bool:
        """Start waiting runs. False if the database fails; the heartbeat tries again."""
        try:
            self._start_waiting()
        except StorageError as error:
            if str(error) != self.none_begins:  # log repeated failures once
                _log.warning("The next run could not be started yet: %s", error)
            self.none_begins = str(error)
            return False
        self.none_begins = None
        return True

    def _write_end(self, run_id: str, status: RunStatus, columns: dict[str, Any]) -> bool:
        """Write how a run ended; False if the database fails. A run whose end is never written becomes interrupted."""
        with self._ending:
            try:
                self.log.set_status(run_id, status, **columns)
            except StorageError as error:
                _log.warning("The end of run %s could not be written yet: %s", run_id, error)
                if isinstance(error, DiskFull):
                    self._reserve.give_up()  # the next try can use its space
                return False
            else:
                self._announce(run_id)
            finally:
                with self._lock:
                    self._executions.pop(run_id, None)
        self._tell_who_waits()
        return True

    def _take_out(self, run_id: str) -> bool:
        """Remove a run from the queue; False if it is not waiting there."""
        # A run that was trained before keeps that training.
        rest, message = (
            (RunStatus.PAUSED, "Removed from the queue")
            if self.resume_step(run_id)
            else (RunStatus.CANCELLED, "Cancelled before it began")
        )
        if not self.log.set_status(run_id, rest, only_from=RunStatus.QUEUED, message=message):
            return False
        self._announce(run_id)
        self._tell_who_waits()
        return True

    def _interrupt(self, run_id: str, status: RunStatus) -> bool:
        run = self.log.run(run_id)
        if run.status is RunStatus.QUEUED:
            if self._take_out(run_id):
                return True
            run = self.log.run(run_id)  # it has just started
        if not run.status.is_active:
            return False
        execution = self._execution_of(run_id)  # a claimed run gets one before the lock is released
        try:
            shown = self.log.set_status(run_id, status)  # before the command: the end must be written after it
        except StorageError as error:
            if execution is None:
                raise
            _log.warning("The command for run %s cannot be shown before the run has ended: %s", run_id, error)
            execution.interrupt(ASKED_BY[status])  # it must end even if nothing can be written
            return True
        if not shown:
            return self.log.run(run_id).status.is_active
        self._tell(run_id)
        if execution is not None:
            execution.interrupt(ASKED_BY[status])
        return True

    def _execution_of(self, run_id: str) -> Execution | None:
        with self._lock:
            return self._executions.get(run_id)

    def _threads_of(self, run: Run) -> int:
        """The number of threads that trained its models at the end; 0 if unknown or more than this computer has."""
        known = {model.details["training_stats"].get("threads", 0) for model in self.log.models(run.id)}
        alone = run.config.task == "text" and run.config.engine == "local"  # not split over several workers
        threads = int(known.pop()) if len(known) == 1 and alone else 0
        return threads if threads <= usable_cores() else 0

    def _discard_unfinished(self, run_id: str) -> None:
        """Remove the folders of a cancelled run that belong to no finished model."""
        finished = {(self.home / row["path"]).parent for row in self.log.export_run(run_id)["artifacts"]}
        for folder in self._folder(run_id).glob("*"):
            if folder.is_dir() and folder not in finished:
                shutil.rmtree(folder, ignore_errors=True)

    def _with_advice(self, run_id: str, outcome: Outcome) -> Outcome:
        """If memory or disk space was lacking, say what to choose or how much is needed."""
        config = self.log.run(run_id).as_trained
        sentence = None
        if outcome.lacking == "memory":
            from cognate_core.insight.estimates import fitting_batch_size

            fits = fitting_batch_size(config, psutil.virtual_memory().available)
            sentence = f"Out of memory: try batch size {fits}."
            if fits is None:
                sentence = "Out of memory, at any batch size: choose a smaller model or training length."
        elif outcome.lacking == "disk":
            try:
                self._require_space(config)
            except DiskFull as error:
                sentence = str(error)
        return replace(outcome, message=sentence, error=sentence) if sentence else outcome

    def _end_orphans(self, run_ids: Sequence[str]) -> None:
        """Workers of a killed studio write a checkpoint and end by themselves. Kill those that hang."""
        orphans = {run_id: pid for run_id, pid in (workers() if run_ids else {}).items() if run_id in run_ids}

        def end() -> None:
            self._closing.wait(self._timing.orphan)
            for run_id, pid in workers().items():
                if orphans.get(run_id) == pid:
                    kill_group(pid)

        if orphans:
            threading.Thread(target=end, name="orphans", daemon=True).start()

    def _tell_who_waits(self) -> None:
        with self._run_ended:
            self._run_ended.notify_all()

    def _beat(self) -> None:
        """Update the coordination record at intervals. The last update says that the studio is closed."""
        ends = False
        while not ends:
            self._say_state()
            if self.none_begins is not None:
                try:
                    self._start_next()
                except Exception:  # noqa: BLE001  (the heartbeat must continue)
                    _log.exception("Waiting runs could not be started")
            ends = self._heartbeat_ends.wait(self._timing.heartbeat)
        self._say_state()

    def _end_heartbeat(self) -> None:
        self._heartbeat_ends.set()
        self._heartbeat.join()


def require_whole(start_key: str | None) -> None:
    if start_key is not None and start_key != start_key.encode(errors="replace").decode():
        raise ConfigError({"start_key": "The start key contains an invalid character. Send another."})

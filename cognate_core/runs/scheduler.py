"""The queue: what waits begins when there is room, in a thread that follows its process; and how each ends."""

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
    """Runs that wait and that are going on."""

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
        """Have a worker load its libraries for the next new run, while somebody still chooses its settings.

        Nothing is done while a run would have to wait for its turn.
        """
        has_room = len(self._executions) < self._max_parallel
        if has_room and self._executor == "process" and not self._closing.is_set():
            self._spare.prepare()

    def pause(self, run_id: str) -> bool:
        """Write a checkpoint and let the run rest. False when it has ended already."""
        return self._interrupt(run_id, RunStatus.PAUSING)

    def stop(self, run_id: str) -> bool:
        """Save the model as it is and end the run. False when it has ended already."""
        return self._interrupt(run_id, RunStatus.STOPPING)

    def cancel(self, run_id: str) -> bool:
        """End the run without saving. False when it has ended already."""
        return self._interrupt(run_id, RunStatus.CANCELLING)

    def resume(self, run_id: str) -> None:
        """Queue a run again that was paused, stopped or broken off; it goes on from its last sound checkpoint.

        Raises:
            RunError: it is going on, waits already, or has come to its end.
            ConfigError: its engine is not installed here.
            DiskFull: the disk has no room for what the run will keep.
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
        """The step after which a resumed run would go on, by the checkpoints that are there; 0 for from the start."""
        return max(checkpoint_steps(self._folder(run_id)), default=0)

    def move_in_queue(self, run_id: str, places: int) -> None:
        """Let a waiting run change places with the one `places` before (negative) or behind it."""
        self.log.move_in_queue(run_id, places)

    def silent_seconds(self, run_id: str) -> float | None:
        """How long nothing was heard of who works on the run; None when nobody does, or not for this process."""
        execution = self._executions.get(run_id)
        return None if execution is None else execution.silent_seconds

    def memory_bytes(self, run_id: str) -> int | None:
        """How much memory the run's worker has now; None when there is none, or not for this process."""
        execution = self._executions.get(run_id)
        return None if execution is None else execution.memory_bytes

    def wait(self, run_id: str, timeout: float | None = None) -> bool:
        """Wait until nobody works on the run and it waits for no turn, `timeout` seconds at most; whether it is so."""

        def rests() -> bool:
            status = self.log.run(run_id).status
            return (status.is_terminal or status is RunStatus.PAUSED) and self._execution_of(run_id) is None

        with self._run_ended:
            self._run_ended.wait_for(lambda: self._closed or rests(), timeout)
        return rests()

    def close(self) -> None:
        """Have checkpoints written of what is being trained, mark it interrupted, and let the data directory go."""
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
            execution.kill()  # those that are still there: their last checkpoint stands
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
            raise ConfigError({"model_names": "Two models have one name. Give each its own."})
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
        """Whether one more run can train. The variants of the Grokking lab are small, and race side by side."""
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
                    continue  # its last life is just ending: that one's thread looks again
                run, models = self.log.run(run_id), self.log.models(run_id)
                if not self.log.claim(run_id):
                    continue
                # From here on nothing may be raised: whatever is wrong, the run's thread writes that it failed.
                self._tell(run_id)
                try:
                    self._executions[run_id] = self._execution(run, models)
                except Exception as error:  # noqa: BLE001  (rows of another version, folders that are in the way, ...)
                    self._executions[run_id] = RefusedExecution(error)
                thread = threading.Thread(target=self._execute, args=(run,), name=f"run-{run_id}", daemon=True)
                self._threads[run_id] = thread
                try:
                    thread.start()
                except RuntimeError as error:  # this computer gives no more threads
                    del self._threads[run_id], self._executions[run_id]
                    sentence = plain_sentence(error)
                    self.log.set_status(run_id, RunStatus.FAILED, message=sentence, error=sentence)

    def _execution(self, run: Run, models: Sequence[TrainedModel]) -> Execution:
        if run.config_error:
            raise RunError(f"The settings of this run cannot be read any more. {run.config_error}")
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
        """Of the data that the run began with. A twin and a branch read what the run has that they were made of."""
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
        except BaseException as error:  # noqa: BLE001  (a thread has no caller: the run's row is told)
            sentence = plain_sentence(error)
            outcome = Outcome(RunStatus.FAILED, sentence, sentence, traceback.format_exc())
        columns = outcome.columns()
        columns["worked_seconds"] = (run.worked_seconds or 0.0) + self._timing.clock() - began
        written = self._write_end(run.id, outcome.status, columns)
        next_started = self._start_next()
        while not (written and next_started) and not self._closing.wait(self._timing.retry):
            columns.pop("error_details", None)  # less to write, should the disk be full
            written = written or self._write_end(run.id, outcome.status, columns)
            next_started = next_started or self._start_next()
        with self._lock:
            if self._threads.get(run.id) is threading.current_thread():
                del self._threads[run.id]

    def _carried_out(self, run_id: str, execution: Execution) -> Outcome:
        try:
            self._keep_run_file(run_id)
            asked = ASKED_BY.get(self.log.run(run_id).status)  # before there was an execution to tell
            if asked is not None:
                execution.interrupt(asked)
            if self._closing.is_set():
                execution.interrupt(PauseRequested)
            fill_from_logs(self.log, self._folder(run_id))
            outcome = execution.run()
            self.log.raise_refused(run_id)
        finally:
            if run_id in self._tracking:
                self._tracking.pop(run_id).close(self._closing)  # before its folder may go
        if self._closing.is_set() and outcome.status in (RunStatus.PAUSED, RunStatus.CRASHED):
            return Outcome(RunStatus.INTERRUPTED, "The studio was closed while this run was going")
        if outcome.status is RunStatus.CANCELLED:
            self._discard_unfinished(run_id)
        return self._with_advice(run_id, outcome)

    def _start_next(self) -> bool:
        """Start what waits; False when the database refuses: the heartbeat tries again."""
        try:
            self._start_waiting()
        except StorageError as error:
            if str(error) != self.none_begins:  # it is tried again and again
                _log.warning("The next run could not be started yet: %s", error)
            self.none_begins = str(error)
            return False
        self.none_begins = None
        return True

    def _write_end(self, run_id: str, status: RunStatus, columns: dict[str, Any]) -> bool:
        """Write how a run ended; False when the database refuses. What is never written reads "interrupted" later."""
        with self._ending:
            try:
                self.log.set_status(run_id, status, **columns)
            except StorageError as error:
                _log.warning("The end of run %s could not be written yet: %s", run_id, error)
                if isinstance(error, DiskFull):
                    self._reserve.give_up()  # the next try has its room
                return False
            else:
                self._announce(run_id)
            finally:
                with self._lock:
                    self._executions.pop(run_id, None)
        self._tell_who_waits()
        return True

    def _take_out(self, run_id: str) -> bool:
        """Take a run out of the queue; False when it does not wait there."""
        # What was trained in an earlier life is not lost by this.
        rest, message = (
            (RunStatus.PAUSED, "Taken out of the queue")
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
            run = self.log.run(run_id)  # its turn came at this moment
        if not run.status.is_active:
            return False
        execution = self._execution_of(run_id)  # a claimed run has one before the lock is free
        try:
            shown = self.log.set_status(run_id, status)  # before it is heard: its end must not be written first
        except StorageError as error:
            if execution is None:
                raise
            _log.warning("What was asked of run %s cannot be shown before it has ended: %s", run_id, error)
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
        """How many threads trained its models at their end; 0 where that is not known, or more than there are here."""
        known = {model.details["training_stats"].get("threads", 0) for model in self.log.models(run.id)}
        alone = run.config.task == "text" and run.config.engine == "local"  # of several workers each has its own
        threads = int(known.pop()) if len(known) == 1 and alone else 0
        return threads if threads <= usable_cores() else 0

    def _discard_unfinished(self, run_id: str) -> None:
        """Remove the folders of a cancelled run that belong to no finished model."""
        finished = {(self.home / row["path"]).parent for row in self.log.export_run(run_id)["artifacts"]}
        for folder in self._folder(run_id).glob("*"):
            if folder.is_dir() and folder not in finished:
                shutil.rmtree(folder, ignore_errors=True)

    def _with_advice(self, run_id: str, outcome: Outcome) -> Outcome:
        """Where memory or disk was lacking, say how much there must be."""
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
        """Workers of a studio that was killed write a checkpoint and end by themselves; end those here that hang."""
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
        """Keep the coordination record fresh; the last one says that the studio is closed."""
        ends = False
        while not ends:
            self._say_state()
            if self.none_begins is not None:
                try:
                    self._start_next()
                except Exception:  # noqa: BLE001  (whatever it was, the heart goes on)
                    _log.exception("What waits could not be started")
            ends = self._heartbeat_ends.wait(self._timing.heartbeat)
        self._say_state()

    def _end_heartbeat(self) -> None:
        self._heartbeat_ends.set()
        self._heartbeat.join()


def require_whole(start_key: str | None) -> None:
    if start_key is not None and start_key != start_key.encode(errors="replace").decode():
        raise ConfigError({"start_key": "The key of this start holds half a letter. Send another."})

"""RunManager: a queue of runs, each carried out in a process of its own; pause, resume, stop, cancel, delete.

One process at a time manages a data directory. A page may ask from any thread and at any moment; after a restart
everything is read back from SQLite, and from the runs' folders where SQLite was damaged.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import psutil
from filelock import FileLock, Timeout

from cognate_core.config import TrainingConfig
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import (
    BatchSequence,
    ModelArtifacts,
    Origin,
    Quote,
    RunStatus,
    TrainingProgress,
    utc_now,
)
from cognate_core.errors import (
    ConfigError,
    DiskFull,
    NotFound,
    PauseRequested,
    RunError,
    StorageError,
    plain_sentence,
)
from cognate_core.extras import require_installed
from cognate_core.files import allow_open_files, require_space
from cognate_core.labels import folder_name
from cognate_core.records import report_from_json
from cognate_core.runs.accuracy import Job, Measurement, Measuring
from cognate_core.runs.broadcast import MOST_LISTENERS, Broadcast, WebSocketProgressEmitter
from cognate_core.runs.cores import usable_cores
from cognate_core.runs.execution import (
    ASKED_BY,
    BuildService,
    Execution,
    Outcome,
    RefusedExecution,
    RunContext,
    ThreadExecution,
    begin_folder,
    build_real_service,
)
from cognate_core.runs.fan_out import FanOutEmitter
from cognate_core.runs.home import Reserve, database_path, made_home, not_writable, owner_sentence
from cognate_core.runs.names import MAX_NAME_LENGTH, name_after, numbered_names, valid_name, valid_tag
from cognate_core.runs.offspring import (
    branch_config,
    checkpoint_folder,
    checkpoint_steps,
    keep_beginning,
    twin_config,
    twin_key,
)
from cognate_core.runs.process import ProcessExecution, kill_group, workers
from cognate_core.runs.rate_finder import RateFinder
from cognate_core.runs.recovery import add_missing_runs, fill_from_logs, write_run_file
from cognate_core.runs.spare import SpareWorker, new_id
from cognate_core.runs.timing import Timing
from cognate_core.service import COORDINATION_KEY, seeds_from
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.database import set_damaged_aside
from cognate_core.storage.progress_emitter import SQLiteProgressEmitter
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import NewRun, Row, Run, TrainedModel
from cognate_core.storage.trash import Trash, TrashEntry
from cognate_core.tracking import Tracking, tracking_of

_log = logging.getLogger(__name__)

RECOVERY_KEY = "cognate-studio/recovery"
MAX_NOTE_LENGTH = 4000

Executor = Literal["process", "thread"]
T = TypeVar("T")


class RunManager:
    """Starts, queues, pauses, resumes, stops, cancels and deletes runs.

    Args:
        home: the data directory; everything is kept below it.
        max_parallel: how many runs train at once; others wait. Of the Grokking lab, as many as there are cores. With 0
            none begins: they wait for whoever manages the directory next.
        executor: "process": each run in a process of its own. "thread": in a thread of this one, for tests and
            notebooks.
        build_service: makes the service of a run, within its thread; "thread" only.
        timing: how long it waits for what.

    Attributes:
        broadcast: tells whoever listens what happens to runs.
        read_only: why nothing can be changed here, None when it can (see ReadOnlyManager).
        none_begins: why no waiting run could begin when that was last tried, None when it could. It is tried again.

    Raises:
        RunError: another process manages this directory.
        StorageError: the directory or the database cannot be written.
    """

    read_only: str | None = None
    none_begins: str | None = None

    def __init__(
        self,
        home: Path,
        max_parallel: int = 1,
        executor: Executor = "process",
        build_service: BuildService = build_real_service,
        timing: Timing = Timing(),  # noqa: B008  (it never changes)
    ) -> None:
        self.home = made_home(home)
        self._timing = timing
        self._owner_lock = FileLock(self.home / "owner.lock", thread_local=False)  # any thread may close
        try:
            self._owner_lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(owner_sentence(self.home)) from error
        except OSError as error:
            raise StorageError(not_writable(self.home, error)) from error
        with ExitStack() as opened:  # what was opened is closed should opening fail
            opened.callback(self._owner_lock.release)
            self._reserve = Reserve(self.home)
            self._reserve.keep()
            damaged = set_damaged_aside(database_path(self.home))
            self.log = ProgressLog(database_path(self.home))
            opened.callback(self.log.close)
            self.store, self.trash = ArtifactStore(self.home), Trash(self.home)
            self._telling = threading.Lock()
            self._measuring, self.rate_finder = Measuring(), RateFinder(self.home)
            self._spare = SpareWorker(timing.spare)
            self._max_parallel, self._executor, self._build_service = max_parallel, executor, build_service
            self._lock = threading.Lock()
            self._ending = threading.RLock()  # what has ended is deleted only once all of its end is written
            self._executions: dict[str, Execution] = {}
            self._tracking: dict[str, Tracking] = {}  # of each execution
            self._threads: dict[str, threading.Thread] = {}
            self._run_ended = threading.Condition()
            self._closing = threading.Event()
            self._closed = False
            self._heartbeat_ends = threading.Event()
            self._started_at = utc_now()
            self._address: str | None = None
            # Each listener is an open socket: half of what may be open stays for everything else.
            most_listeners = allow_open_files(2 * MOST_LISTENERS) // 2
            self.broadcast = Broadcast(self._newest_event_id(), most_listeners)
            self._rebuild(damaged)
            interrupted = self._with_reserve(self.log.interrupt_unfinished)
            for run_id in interrupted:
                self._announce(run_id)
            for run in self.log.unfinished_runs():
                self.broadcast.introduce(run.id, run.status, _progress_of(run))
            self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._heartbeat.start()
            opened.callback(self._end_heartbeat)
            self._end_orphans(interrupted)
            self._start_next()
            opened.pop_all()

    def start(
        self,
        config: TrainingConfig,
        name: str,
        model_names: Sequence[str],
        start_key: str | None = None,
        origin: Origin | None = None,
        quote: Quote | None = None,
    ) -> str:
        """Queue a run, and start it when there is room; its id. A second call with one start_key changes nothing.

        `origin`: the run that it was made of. `quote`: what was promised of its time.

        Raises:
            ConfigError: a name or the key cannot be used, or an engine or tracker is not installed.
            DiskFull: the disk has no room for what the run will keep.
        """
        return self._enqueue(config, name, model_names, start_key, origin, quote)

    def prepare_worker(self) -> None:
        """Have a worker load its libraries for the next new run, while somebody still chooses its settings.

        Nothing is done while a run would have to wait for its turn.
        """
        has_room = len(self._executions) < self._max_parallel
        if has_room and self._executor == "process" and not self._closing.is_set():
            self._spare.prepare()

    def start_twin(self, run_id: str) -> str:
        """Start the same run with GrokFast switched the other way; its id. When there is such a twin already, its id.

        Raises:
            DiskFull: the disk has no room for it.
        """
        run = self.log.run(run_id)
        config = twin_config(run.config)
        name = name_after(run.name, " (filter on)" if config.grokfast_enabled else " (filter off)")
        names = numbered_names(name, len(run.model_names))
        return self.start(config, name, names, start_key=twin_key(run_id), origin=Origin(run_id, "twin"))

    def start_verification(self, run_id: str, start_key: str | None = None) -> str:
        """Start the same run once more, to see whether the same comes of it; its id.

        Raises:
            RunError: it has not ended, so that there is nothing yet to compare with.
            DiskFull: the disk has no room for it.
        """
        run = self.log.run(run_id)
        if run.config_error or not run.status.is_terminal:
            why = run.config_error or f"It is {run.status}."
            raise RunError(f"There is nothing yet that a repetition could be compared with. {why}")
        name = name_after(run.name, ", verified")
        # The trackers are perhaps those of another person. With as many threads, sums have the same last bits.
        update = {"trackers": [], "threads": run.config.threads or self._threads_of(run)}
        config = run.config.model_copy(update=update)
        return self.start(config, name, run.model_names, start_key, Origin(run_id, "verification"))

    def start_branch(
        self,
        run_id: str,
        model_name: str,
        step: int,
        changes: Mapping[str, Any],
        name: str,
        start_key: str | None = None,
    ) -> str:
        """Start a run of one model that goes on from a checkpoint of this run, with changed settings; its id.

        Raises:
            ConfigError: a setting cannot be changed on the way, or the name cannot be used.
            RunError: the run has no checkpoint of that step any more.
            DiskFull: the disk has no room for it.
        """
        run = self.log.run(run_id)
        config = branch_config(run.config.model_copy(update={"seed": _seed_of(run, model_name)}), step, changes)
        checkpoint = checkpoint_folder(self._folder(run_id), model_name, step)
        return self._enqueue(config, name, [name], start_key, Origin(run_id, "branch", step), None, checkpoint)

    def start_sweep(
        self, sweep: Sweep, name: str, start_key: str | None = None, origin: Origin | None = None
    ) -> tuple[str, list[str]]:
        """Queue the runs of a sweep as one group, all or none: the group's id, and theirs.

        A second call with one start_key changes nothing. `origin`: the run whose settings the sweep begins with.

        Raises:
            ConfigError: settings contradict (see Sweep.configs), or a name or the key cannot be used.
            DiskFull: the disk has no room for what all of them will keep.
        """
        _require_whole(start_key)
        group_name, configs = valid_name(name, "sweep"), [config for _, config in sweep.configs()]
        names = [valid_name(each) for each in sweep.names(group_name, MAX_NAME_LENGTH)]
        group_id = new_id()
        new_runs = []
        for number, (run_name, config) in enumerate(zip(names, configs, strict=True)):
            run_id = new_id()
            key = None if start_key is None else f"sweep-{number}-{start_key}"
            folder, config = self._folder(run_id), self._in_this_home(run_id, config)
            new_runs.append(
                NewRun(run_id, run_name, config, [run_name], folder, key, origin, None, group_id, group_name)
            )
        for config in configs:
            require_installed(config)
        self._require_space(*configs)
        given = self.log.create_runs(new_runs)
        if given == [new.id for new in new_runs]:
            for run_id in given:
                self._announce(run_id)
        else:  # the same press came a second time
            group_id = self.log.run(given[0]).group_id or group_id
        self._start_next()
        return group_id, given

    def cancel_group(self, group_id: str, *, going: bool = True) -> int:
        """Take what waits of a sweep out of the queue, and cancel what is `going`; how many runs that were.

        Raises:
            RunError: there is no such sweep.
        """
        runs = self.log.runs_of_group(group_id)
        # What waits goes first, from behind: else the next one would begin in between.
        ended = [run.id for run in reversed(runs) if self._take_out(run.id)]
        if going:
            ended += [run.id for run in runs if run.id not in ended and self.cancel(run.id)]
        return len(ended)

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

    def introduce(self, run_id: str) -> None:
        """Let `broadcast` know how a run stands of which it was told nothing yet. Raises NotFound: there is no such."""
        run = self.log.run(run_id)
        self.broadcast.introduce(run_id, run.status, _progress_of(run))

    def move_in_queue(self, run_id: str, places: int) -> None:
        """Let a waiting run change places with the one `places` before (negative) or behind it."""
        self.log.move_in_queue(run_id, places)

    def delete_model(self, model_id: str) -> None:
        """Move a model's files to the trash and forget it.

        Raises:
            RunError: there is no such model, or its run is going on.
        """
        with self._ending:
            model = self.log.model(model_id)
            self._require_rest(model.run_id, "Its run is going on")
            self._require_unmeasured(model_id)
            files = self.log.artifacts(model_id)
            own = self._folder(model.run_id) / folder_name(model.trained_as)
            folder = (self.home / files[0]["path"]).parent if files else own
            self._move_to_trash("model", model.id, model.name, folder, self.log.export_model(model_id))
            self._keep_run_file(model.run_id)

    def delete_run(self, run_id: str) -> None:
        """Move a run, its models and its files to the trash and forget it.

        Raises:
            RunError: there is no such run, it waits or is going on.
        """
        with self._ending, self._lock:
            run = self.log.run(run_id)
            self._require_rest(run_id, "The run is going on")
            for model in self.log.models(run_id):
                self._require_unmeasured(model.id)
            self._move_to_trash("run", run_id, run.name, self._folder(run_id), self.log.export_run(run_id))

    def put_back(self, entry_id: str) -> TrashEntry:
        """Take something out of the trash and have it again as it was.

        Raises:
            RunError: it is no longer there, or (a model) its run is not.
        """
        with self._ending:
            entry = self.trash.entry(entry_id)
            if entry.kind == "model":
                for row in entry.rows["models"]:
                    self.log.run(row["run_id"])
            entry = self.trash.put_back(entry_id)
            (own,) = entry.rows[f"{entry.kind}s"]
            known = self._with_reserve(lambda: self.log.put_back(entry_id))
            if not known and not self.log.is_taken("runs" if entry.kind == "run" else "models", own["id"]):
                self.log.import_rows(entry.rows)  # of an earlier version, or the database was lost since
                if entry.kind == "run":
                    fill_from_logs(self.log, self.home / entry.origin)
            self._keep_run_file(own["id"] if entry.kind == "run" else own["run_id"])
            self.trash.remove(entry_id)
            return entry

    def remove_for_good(self, entry_id: str) -> None:
        """Remove something from the trash.

        Raises:
            RunError: it is no longer there.
            StorageError: it could not be removed, and is still in the trash.
        """
        with self._ending, self.trash.given_up(entry_id):
            self._with_reserve(lambda: self.log.forget(entry_id))
        self.trash.remove(entry_id)  # this may take long
        self._reserve.keep()

    def empty_trash(self) -> int:
        """Remove all that lies in the trash for good; how many entries there were.

        Raises:
            StorageError: some cannot be removed; the others are.
        """
        entries, removed, refused = self.trash.entries(), 0, list[StorageError]()
        for entry in entries:
            try:
                self.remove_for_good(entry.id)
                removed += 1
            except NotFound:
                continue  # somebody else removed it, or put it back
            except StorageError as error:
                refused.append(error)
        if refused:
            raise StorageError(
                f"{len(refused):,} of {len(entries):,} items in the trash cannot be removed. {refused[0]}"
            ) from refused[0]
        return removed

    def silent_seconds(self, run_id: str) -> float | None:
        """How long nothing was heard of who works on the run; None when nobody does, or not for this process."""
        execution = self._executions.get(run_id)
        return None if execution is None else execution.silent_seconds

    def memory_bytes(self, run_id: str) -> int | None:
        """How much memory the run's worker has now; None when there is none, or not for this process."""
        execution = self._executions.get(run_id)
        return None if execution is None else execution.memory_bytes

    def checkpoint_steps(self, run_id: str, model_name: str) -> list[int]:
        """The steps at which a model of the run has a checkpoint."""
        return checkpoint_steps(self._folder(run_id), model_name)

    def batch_at(self, run_id: str, model_name: str, step: int) -> list[BatchSequence]:
        """What a model of the run read at a step, as one entry for each sequence.

        Raises:
            RunError: the run has no such model.
            DataError: the data that it read are no longer there, or lie too far on to be drawn again.
        """
        from cognate_core.data.replay import batch_at

        run = self.log.run(run_id)
        seed = _seed_of(run, model_name)
        if run.data_report is None:
            raise RunError("This run has read nothing yet.")
        prepared = self.home / "cache" / "prepared" / run.data_report["content_hash"]
        return batch_at(prepared, run.config, seed, step, begin_folder(self._folder(run_id)))

    def recovery_note(self) -> str | None:
        """What was rebuilt when the studio was last opened on a damaged database; None once it was read."""
        record = self.log.coordination(RECOVERY_KEY)
        return record["note"] if record else None

    def forget_recovery_note(self) -> None:
        """It was read."""
        self.log.set_coordination(RECOVERY_KEY, {"note": None})

    def say_address(self, address: str) -> None:
        """Keep in the coordination record where other programs reach this manager."""
        self._address = address
        self._say_state()

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

    def rename_run(self, run_id: str, name: str) -> None:
        """Call a run otherwise. Its models keep their names. Raises ConfigError when the name cannot be used."""
        self.log.rename_run(self.log.run(run_id).id, valid_name(name))
        self._keep_run_file(run_id)

    def describe_model(self, model_id: str, *, title: str, note: str, tags: Sequence[str]) -> None:
        """Keep what a person calls a model and says of it. Raises ConfigError when a text cannot be used."""
        model = self.log.model(model_id)
        if len(note) > MAX_NOTE_LENGTH:
            raise ConfigError({"note": f"The note has {len(note):,} characters; {MAX_NOTE_LENGTH:,} fit. Shorten it."})
        kept = list(dict.fromkeys(valid_tag(tag) for tag in tags))
        self.log.describe_model(model_id, title=valid_name(title, "model"), note=note.strip(), tags=kept)
        self._keep_run_file(model.run_id)

    def kept_steps(self, model_id: str) -> list[int]:
        """The steps before that of its weights at which a model has a checkpoint, in their order."""
        model = self.log.model(model_id)
        steps = checkpoint_steps(self._folder(model.run_id), model.details["model_name"])
        return [step for step in steps if step < model.step]

    def remove_own_file(self, name: str) -> None:
        """Remove a file that a person added, for good.

        Raises:
            NotFound: there is none of this name.
            RunError: a run reads it now, or would if it went on.
        """
        from cognate_core.data.own_files import find_own_file, remove

        file = find_own_file(self.home, name)
        path = file.path.resolve()
        for run in self.log.runs():
            needs_it = run.status is RunStatus.QUEUED or run.status.is_active or run.status.can_resume
            if needs_it and run.config.dataset_path and path.is_relative_to(Path(run.config.dataset_path).resolve()):
                raise RunError(
                    f"The run {run.name} ({run.status.value}) needs this file. Let it end, or delete the run, then "
                    "remove it."
                )
        remove(file)

    def weights(self, model_id: str) -> tuple[Path, str]:
        """The folder of a model and the sha256 of its weights.

        Raises:
            NotFound: there is no such model, or it has no weights.
        """
        rows = self.log.artifacts(self.log.model(model_id).id)
        row = next((row for row in rows if row["kind"] == "weights"), None)
        if row is None:
            raise NotFound("The weights of this model were not kept.")
        return self.store.path(row["path"]).parent, str(row["sha256"])

    def measure_accuracy(self, model_id: str, questions: int, *, checkpoints: bool = False) -> None:
        """Begin to measure how many held-out questions a model answers right. `measurement` tells how far it is.

        Args:
            questions: at most this many of each dataset.
            checkpoints: whether to ask its kept checkpoints, too.

        Raises:
            RunError: there is no such model, it answers no questions, another measurement is going on, or its data are
                not known.
            StorageError: its files are gone.
        """
        model = self.log.model(model_id)
        run = self.log.run(model.run_id)
        if run.config.task == "arithmetic":
            raise RunError(
                "A model of the Grokking lab reads no questions. How many of its problems it has right stands in its "
                "table."
            )
        if not run.data_report:
            raise RunError("What this model was trained on was not recorded: there is no held-out row to ask.")
        folder, _ = self.weights(model_id)
        job = Job(
            folder=str(folder),
            home=str(self.home),
            config=json.loads(run.config.model_dump_json()),
            data_hash=run.data_report["content_hash"],
            model_step=model.step,
            steps=self.kept_steps(model_id) if checkpoints else [],
            limit=questions,
        )
        self._measuring.start(model_id, job)

    def measurement(self) -> Measurement | None:
        """How far the last measurement of accuracy is that was begun since the studio was opened."""
        return self._measuring.state

    def cancel_measurement(self) -> None:
        """End the measurement of accuracy that is going on, if one is."""
        self._measuring.cancel()

    # Inside: the queue

    def _enqueue(
        self,
        config: TrainingConfig,
        name: str,
        model_names: Sequence[str],
        start_key: str | None,
        origin: Origin | None,
        quote: Quote | None,
        checkpoint: Path | None = None,
    ) -> str:
        _require_whole(start_key)
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
            given = self.log.create_run(run_id, run_name, config, names, folder, start_key, origin, quote)
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
        """Whether one more run can train. The lanes of a race in the Grokking lab are small, and race side by side."""
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
        execution = self._execution_of(run_id)
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
        if execution := execution or self._execution_of(run_id):  # one that begins now reads what was shown
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

    # Inside: files, disk and memory

    def _move_to_trash(
        self, kind: Literal["run", "model"], row_id: str, name: str, folder: Path, rows: Mapping[str, list[Row]]
    ) -> None:
        """Both its files and its rows, or neither."""
        entry = self._with_reserve(lambda: self.trash.put(kind, name, folder, rows))
        try:
            self._with_reserve(lambda: self.log.move_to_trash(kind, row_id, entry.id))
        except BaseException:
            self.trash.put_back(entry.id)
            self.trash.remove(entry.id)
            raise

    def _with_reserve(self, write: Callable[[], T]) -> T:
        """What `write` gives; should the disk be full, with the room that is kept for that."""
        try:
            return write()
        except DiskFull:
            self._reserve.give_up()
            return write()

    def _folder(self, run_id: str) -> Path:
        return self.home / "runs" / run_id

    def _in_this_home(self, run_id: str, config: TrainingConfig) -> TrainingConfig:
        """`config` with the run's own folder; the data directory may have been moved since it was queued."""
        return config.model_copy(update={"output_dir": str(self._folder(run_id))})

    def _require_space(self, *configs: TrainingConfig) -> None:
        from cognate_core.insight.estimates import disk_bytes  # loads torch

        what = "this run, with the checkpoints it keeps," if len(configs) == 1 else "this sweep, with its checkpoints,"
        require_space(self.home, disk_bytes(configs), what)
        self._reserve.keep()

    def _require_rest(self, run_id: str, what: str) -> None:
        status = self.log.run(run_id).status
        if status.is_active or status is RunStatus.QUEUED:
            raise RunError(f"{what} ({status}). Stop or cancel it first.")
        if run_id in workers():  # of a studio that was killed
            raise RunError("Its last training process is just ending. Try again in a few seconds.")

    def _require_unmeasured(self, model_id: str) -> None:
        if self._measuring.is_going(model_id):
            raise RunError("Its accuracy is being measured. Wait for the end, or cancel that first.")

    def _keep_run_file(self, run_id: str) -> None:
        """Should the database be lost, this is what the run is known by. Without it, the run goes on none the less."""
        try:
            with self._ending:  # it is not just being deleted
                write_run_file(self.log, run_id, self._folder(run_id))
        except (OSError, StorageError) as error:
            _log.warning("The record beside run %s could not be written: %s", run_id, error)

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

    def _rebuild(self, damaged: Path | None) -> None:
        """Take up runs that the database does not know, and leave a note of what was done."""
        added, problems = add_missing_runs(self.log, self.home / "runs")
        if damaged is None and not added and not problems:
            return
        sentences = [
            f"The database was damaged and is kept as {damaged.name}." if damaged else "",
            f"{added} run{'s were' if added != 1 else ' was'} rebuilt from {'their' if added != 1 else 'its'} folder.",
            *problems,
        ]
        self.log.set_coordination(RECOVERY_KEY, {"note": " ".join(filter(None, sentences))})

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

    # Inside: telling

    def _announce(self, run_id: str) -> None:
        """A run stands otherwise than before: keep it beside the run, and tell listeners."""
        self._keep_run_file(run_id)
        self._tell(run_id)

    def _tell(self, run_id: str) -> None:
        """Tell listeners how a run stands. Read and told as one, so that no older status follows a newer one."""
        with self._telling:
            try:
                run = self.log.run(run_id)
            except (StorageError, NotFound) as error:  # what was done is done, told or not
                _log.warning("Listeners could not be told of run %s: %s", run_id, error)
                return
            self.broadcast.status(run_id, run.status, _progress_of(run))

    def _kept_as(self, run_id: str, model: ModelArtifacts) -> str:
        """The id under which a finished model is kept."""
        kept = (each.id for each in self.log.models(run_id) if each.trained_as == model.model_name)
        return next(kept, model.model_id)

    def _newest_event_id(self) -> int:
        """The newest id of an event that the last process wrote down; 0 for none."""
        state = self.log.coordination(COORDINATION_KEY) or {}
        return int(state.get("newest_event_id", 0))

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

    def _say_state(self) -> None:
        executions = dict(self._executions)
        state = {
            "pid": os.getpid(),
            "database": str(self.log.path),
            "started_at": self._started_at,
            "active_runs": list(executions),
            "workers": {run_id: execution.pid for run_id, execution in executions.items()},
            "address": self._address,
            "newest_event_id": self.broadcast.newest_id,
            "open": not self._heartbeat_ends.is_set(),
        }
        try:
            self.log.set_coordination(COORDINATION_KEY, state)
        except StorageError as error:
            _log.warning("The heartbeat could not be written: %s", error)


def _require_whole(start_key: str | None) -> None:
    if start_key is not None and start_key != start_key.encode(errors="replace").decode():
        raise ConfigError({"start_key": "The key of this start holds half a letter. Send another."})


def _progress_of(run: Run) -> TrainingProgress:
    return TrainingProgress(run.progress, run.message, run.phase, run.step, run.total_steps)


def _seed_of(run: Run, model_name: str) -> int:
    """The seed of one of the run's models. Raises NotFound when the run has no such model."""
    seeds = dict(zip(run.model_names, seeds_from(run.config.seed), strict=False))
    if model_name not in seeds:
        raise NotFound("This run has no such model.")
    return seeds[model_name]

"""RunManager: a queue of runs, each in a separate process; pause, resume, stop, cancel, delete.

One process at a time manages a data directory. Pages may use it from any thread at any time. After a restart,
everything is read back from SQLite, or from the runs' folders if SQLite was damaged.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cognate_core.config import TrainingConfig
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import Origin, TimeEstimate, utc_now
from cognate_core.errors import RunError, StorageError
from cognate_core.extras import require_installed
from cognate_core.files import allow_open_files
from cognate_core.runs.accuracy import Measuring
from cognate_core.runs.broadcast import MOST_LISTENERS, Broadcast
from cognate_core.runs.derived import branch_config, checkpoint_folder, twin_config, twin_key
from cognate_core.runs.execution import BuildService, Execution, build_real_service
from cognate_core.runs.home import Reserve, database_path, made_home, not_writable, owner_sentence
from cognate_core.runs.library import Library, seed_of
from cognate_core.runs.names import MAX_NAME_LENGTH, name_after, numbered_names, valid_name
from cognate_core.runs.rate_finder import RateFinder
from cognate_core.runs.scheduler import Executor, require_whole
from cognate_core.runs.spare import SpareWorker, new_id
from cognate_core.runs.timing import Timing
from cognate_core.runs.workspace import progress_of
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.database import set_damaged_aside
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import NewRun
from cognate_core.storage.trash import Trash
from cognate_core.tracking import Tracking


class RunManager(Library):
    """Starts, queues, pauses, resumes, stops, cancels and deletes runs.

    Args:
        home: the data directory; everything is kept below it.
        max_parallel: how many runs train at once; others wait. Of the Grokking lab, as many runs as there
            are cores may train at once. With 0, none starts: they wait for the next manager of the directory.
        executor: "process": each run in a separate process. "thread": in a thread of this process, for tests and
            notebooks.
        build_service: creates the service of a run, in the run's thread; "thread" only.
        timing: how long it waits for what.

    Attributes:
        broadcast: sends events of runs to listeners.
        read_only: why nothing can be changed here; None if it can (see ReadOnlyManager).
        none_begins: why the last attempt to start waiting runs failed; None if it succeeded. It is repeated.

    Raises:
        RunError: another process manages this directory.
        StorageError: the directory or the database cannot be written.
    """

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
        with ExitStack() as opened:  # closes everything if opening fails
            opened.callback(self._owner_lock.release)
            self._reserve = Reserve(self.home)
            self._reserve.keep()
            damaged = set_damaged_aside(database_path(self.home))
            self.log = ProgressLog(database_path(self.home))
            opened.callback(self.log.close)
            self.store, self.trash = ArtifactStore(self.home), Trash(self.home)
            self._telling = threading.Lock()
            self._saying_state = threading.Lock()
            self._measuring, self.rate_finder = Measuring(), RateFinder(self.home)
            self._spare = SpareWorker(timing.spare)
            self._max_parallel, self._executor, self._build_service = max_parallel, executor, build_service
            self._lock = threading.Lock()
            self._ending = threading.RLock()  # a run is deleted only after its end is fully written
            self._executions: dict[str, Execution] = {}
            self._tracking: dict[str, Tracking] = {}  # of each execution
            self._threads: dict[str, threading.Thread] = {}
            self._run_ended = threading.Condition()
            self._closing = threading.Event()
            self._closed = False
            self._heartbeat_ends = threading.Event()
            self._started_at = utc_now()
            self._address: str | None = None
            # Each listener is an open socket: half of the limit stays for everything else.
            most_listeners = allow_open_files(2 * MOST_LISTENERS) // 2
            self.broadcast = Broadcast(self._newest_event_id(), most_listeners)
            self._rebuild(damaged)
            interrupted = self._with_reserve(self.log.interrupt_unfinished)
            for run_id in interrupted:
                self._announce(run_id)
            for run in self.log.unfinished_runs():
                self.broadcast.introduce(run.id, run.status, progress_of(run))
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
        time_estimate: TimeEstimate | None = None,
    ) -> str:
        """Queue a run and start it when there is room; returns its id. A repeated start_key starts no second run.

        `origin`: the run it derives from. `time_estimate`: the one shown to the person.

        Raises:
            ConfigError: a name or the key cannot be used, or an engine or tracker is not installed.
            DiskFull: the disk has no room for the run's files.
        """
        return self._enqueue(config, name, model_names, start_key, origin, time_estimate)

    def start_twin(self, run_id: str) -> str:
        """Start the same run with GrokFast switched the other way. Returns the twin's id, also if it exists already.

        Raises:
            DiskFull: the disk has no room for it.
        """
        run = self.log.run(run_id)
        config = twin_config(run.config)
        name = name_after(run.name, " (filter on)" if config.grokfast_enabled else " (filter off)")
        names = numbered_names(name, len(run.model_names))
        return self.start(config, name, names, start_key=twin_key(run_id), origin=Origin(run_id, "twin"))

    def start_verification(self, run_id: str, start_key: str | None = None) -> str:
        """Start the same run again, to check whether the result is the same; returns its id.

        Raises:
            RunError: the run has not ended, so there is nothing to compare with yet.
            DiskFull: the disk has no room for it.
        """
        run = self.log.run(run_id)
        if run.config_error or not run.status.is_terminal:
            why = run.config_error or f"It is {run.status}."
            raise RunError(f"There is nothing to compare a repetition with yet. {why}")
        name = name_after(run.name, ", verified")
        # The trackers may be another person's. With the same number of threads, sums have the same last bits.
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
        """Start a run of one model that continues from a checkpoint of this run, with changed settings; returns its id.

        Raises:
            ConfigError: a setting cannot be changed in a branch, or the name cannot be used.
            RunError: the run no longer has a checkpoint of that step.
            DiskFull: the disk has no room for it.
        """
        run = self.log.run(run_id)
        config = branch_config(run.config.model_copy(update={"seed": seed_of(run, model_name)}), step, changes)
        checkpoint = checkpoint_folder(self._folder(run_id), model_name, step)
        return self._enqueue(config, name, [name], start_key, Origin(run_id, "branch", step), None, checkpoint)

    def start_sweep(
        self, sweep: Sweep, name: str, start_key: str | None = None, origin: Origin | None = None
    ) -> tuple[str, list[str]]:
        """Queue the runs of a sweep as one group, all or none; returns the group's id and the runs' ids.

        A repeated start_key queues nothing more. `origin`: the run whose settings the sweep starts from.

        Raises:
            ConfigError: settings contradict each other (see Sweep.configs), or a name or the key cannot be used.
            DiskFull: the disk has no room for the files of all runs.
        """
        require_whole(start_key)
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
        else:  # the same start was sent twice
            group_id = self.log.run(given[0]).group_id or group_id
        self._start_next()
        return group_id, given

    def cancel_group(self, group_id: str, *, going: bool = True) -> int:
        """Remove a sweep's waiting runs from the queue and, if `going`, cancel the active ones; returns how many.

        Raises:
            RunError: there is no such sweep.
        """
        runs = self.log.runs_of_group(group_id)
        # Waiting runs go first, the last one before the others: otherwise the next would start in between.
        ended = [run.id for run in reversed(runs) if self._take_out(run.id)]
        if going:
            ended += [run.id for run in runs if run.id not in ended and self.cancel(run.id)]
        return len(ended)

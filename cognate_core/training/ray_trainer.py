"""RayTrainer: the ModelTrainer that shares each batch among the workers of a Ray cluster.

Ray starts, watches and restarts the workers; learning and checkpoints are left to the loops (process_group.py).
Rank 0 carries out the training like TorchTrainer and reports to a mailbox: an actor beside this process that keeps the
order and answers with the person's commands. Ray is loaded when the first model is trained. Training uses only CPUs:
the loops know no other device, even if a cluster has some.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ProgressCallback, Record, RecordSink
from cognate_core.errors import CognateError, Interruption, PauseRequested, TrainingError, plain_sentence
from cognate_core.training.mailbox import Mailbox
from cognate_core.training.process_group import ALONE, INTERRUPTIONS, ProcessGroup, TorchProcessGroup, WorkerLost
from cognate_core.training.trainer import ThreadTrainer, Training, model_folder, prepared

MOST_LOSSES = 3  # how often a model continues after losing a worker
LISTEN_SECONDS = 0.25  # between two looks for a command, if nothing else happens
ENDING_SECONDS = 3.0  # for Ray to clean up; if a worker failed, it first starts all of them again
GROUP_SECONDS = 4 * 3600  # how long a worker waits for rank 0, which checks and saves; Ray notices lost workers
OBJECT_STORE_BYTES = 80 * 2**20  # only records pass through it; Ray's minimum

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same to workers
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # the machines are nobody else's
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
}
"""Ray's settings, as environment variables, which it reads when it is loaded. Values set by a person have priority."""

OWN_CLUSTER_SETTINGS = {
    "RAY_AUTH_MODE": "token",  # only those with the token can use its ports
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system, despite the name: listen only on loopback
    "RAY_worker_niceness": "0",  # as nice as this process, which has already lowered its priority
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
}
"""Additional settings for a cluster on this computer."""


class RayTrainer(ThreadTrainer):
    """Trains with the workers of a Ray cluster.

    One or more trainers may train several models at once; they share the cluster of this process.
    """

    def _train(self, name: str, config: TrainingConfig, progress_callback: ProgressCallback) -> dict[str, Any]:
        prepared(config)
        with cluster.used(config):
            import ray

            folder = model_folder(config, name, use_again=self._resume).resolve()
            scratch = folder / "ray"
            here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
            mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
            job = Job(name, config, config.prepared_data, folder, self._resume, self._begin, _threads(config), mailbox)
            hearing = _Hearing(self._record, progress_callback, config.max_steps)
            try:
                fitting = _fitting(job, scratch)
                hearing.listen(mailbox, fitting)
                outcome = ray.get(mailbox.outcome.remote())
            except ray.exceptions.RayError as error:
                raise TrainingError(f"The Ray cluster failed ({_first_line(error)}). Resume the run.") from error
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            if hearing.error is not None:
                raise hearing.error
            if outcome is None:
                raise _lost(fitting)
            if isinstance(outcome, BaseException):
                raise outcome
            return dict(outcome)


@dataclass(frozen=True, slots=True)
class Job:
    """What the workers of a model get. `threads`: of each worker. `data`: the prepared folder."""

    name: str
    config: TrainingConfig
    data: str | None
    folder: Path
    resume: bool
    begin: Path | None
    threads: int
    mailbox: Any


# Of the process that waits


class _Hearing:
    """Passes on what the mailbox receives, and sends it the person's commands."""

    def __init__(self, record: RecordSink, progress_callback: ProgressCallback, total_steps: int) -> None:
        self._record, self._progress_callback = record, progress_callback
        self._last: tuple[int, int, float, float] = (0, total_steps, math.nan, 0.0)
        self._commanded: type[Interruption] | None = None
        self.error: Exception | None = None  # raised by a receiver

    def listen(self, mailbox: Any, fitting: Future[None]) -> None:
        """Listen until the workers are done."""
        import ray

        done = False
        while not done:
            done = fitting.done()  # if so, everything has arrived
            items = ray.get(mailbox.take.remote(0 if done else LISTEN_SECONDS))
            command: type[Interruption] | None = None
            for kind, value in items or [("progress", self._last)]:
                if kind == "end":
                    wait([fitting], ENDING_SECONDS)
                    return
                command = self._received(kind, value) or command
            if command is not None and command is not self._commanded:
                self._commanded = command
                ray.get(mailbox.command.remote(command.__name__))

    def _received(self, kind: Literal["record", "progress"], value: Any) -> type[Interruption] | None:
        if self.error is not None:
            return PauseRequested  # nobody listens any more: save a checkpoint and end
        try:
            if kind == "record":
                self._record(value)
            else:
                self._last = value
                self._progress_callback(*value)
        except Interruption as asked:
            return type(asked)
        except Exception as error:  # noqa: BLE001  (whatever it is, the caller of train_model gets it)
            self.error = error
            return PauseRequested
        return None


def _fitting(job: Job, scratch: Path) -> Future[None]:
    """`_fit` in a thread that nobody has to wait for."""
    fitting: Future[None] = Future()

    def fit() -> None:
        try:
            _fit(job, scratch)
        except BaseException as error:  # noqa: BLE001  (the future passes it on)
            fitting.set_exception(error)
        else:
            fitting.set_result(None)

    threading.Thread(target=fit, name=f"fitting {job.name}", daemon=True).start()
    return fitting


def _fit(job: Job, scratch: Path) -> None:
    """Let Ray Train start the workers, and restart them if one is lost. Raises if that does not help."""
    import ray.train
    import ray.train.torch

    from cognate_core.training.ray_rendezvous import FileRendezvous

    group = (
        FileRendezvous("gloo", timeout_s=GROUP_SECONDS, folder=str(scratch))
        if job.config.ray_address is None
        else ray.train.torch.TorchConfig("gloo", timeout_s=GROUP_SECONDS)
    )
    scratch.mkdir(exist_ok=True)
    ray.train.torch.TorchTrainer(
        work,
        train_loop_config={"job": job},
        torch_config=group,
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.config.ray_workers, resources_per_worker={"CPU": _cpus(job.config)}
        ),
        run_config=ray.train.RunConfig(
            name="workers",
            storage_path=str(scratch),
            failure_config=ray.train.FailureConfig(
                max_failures=MOST_LOSSES, controller_failure_limit=MOST_LOSSES, max_preemption_failures=MOST_LOSSES
            ),
            logging_config=ray.train.LoggingConfig("ERROR"),
        ),
    ).fit()


def _lost(fitting: Future[None]) -> TrainingError:
    """The error if no worker reported how it ended."""
    error = fitting.exception()
    return TrainingError(
        f"The workers were lost more than {MOST_LOSSES} times, or could not be started "
        f"({_first_line(error) if error else 'Ray does not say why'}). Their output is in worker.log. Resume the run "
        "to continue from its last checkpoint."
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__


def _threads(config: TrainingConfig) -> int:
    """Threads of each worker: on this computer, the workers share those of the run."""
    if config.ray_address is not None:
        return _cpus(config)
    return max(1, torch.get_num_threads() // (config.ray_workers * config.ray_parallel_models))


def _cpus(config: TrainingConfig) -> int:
    """CPUs that Ray counts for a worker."""
    return max(1, config.threads) if config.ray_address is not None else 1


class Cluster:
    """Ray in this process, while at least one model is trained."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._scratch: str | None = None
        self._is_own = False  # else somebody else connected this process, and it stays connected

    @contextmanager
    def used(self, config: TrainingConfig) -> Iterator[None]:
        """Stay connected while the context lasts.

        Raises:
            TrainingError: there is no cluster at the address, or it has too few CPUs.
        """
        with self._lock:
            if not self._users:
                self._connect(config)
            self._users += 1
        try:
            _require_cpus(config)
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._disconnect()

    def _connect(self, config: TrainingConfig) -> None:
        settings = dict(SETTINGS)
        if not config.ray_address and "ray" not in sys.modules:  # else Ray uses what it read when loaded:
            settings |= OWN_CLUSTER_SETTINGS  # its defaults, with a token in the person's home folder
        for name, value in settings.items():
            os.environ.setdefault(name, value)
        import ray

        self._is_own = not ray.is_initialized()
        if not self._is_own:
            return
        quiet: dict[str, Any] = {"logging_level": "ERROR", "logging_config": ray.LoggingConfig(log_level="ERROR")}
        try:
            if config.ray_address:
                ray.init(address=config.ray_address, **quiet)
                return
            # Socket names must be short: use /tmp even if the system's temporary folder is elsewhere.
            self._scratch = new_scratch(Path("/tmp" if os.name == "posix" else tempfile.gettempdir()))  # noqa: S108
            ray.init(
                address="local",
                num_cpus=config.ray_workers * config.ray_parallel_models,  # as Ray counts them
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
                _temp_dir=self._scratch,
            )
        except Exception as error:
            self._disconnect()
            where = (
                f"Could not join a Ray cluster at {config.ray_address}" if config.ray_address else "Ray did not start"
            )
            raise TrainingError(
                f"{where} ({_first_line(error)}). Check the address, and that this computer is part of the cluster."
                if config.ray_address
                else f"{where} ({_first_line(error)}). Try again, or choose the local engine."
            ) from error

    def _disconnect(self) -> None:
        import ray

        if self._is_own:
            ray.shutdown()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


cluster = Cluster()
"""The cluster of this process: Ray allows only one."""


def new_scratch(parent: Path) -> str:
    """A folder for Ray's files. Those left by killed processes are removed."""
    for left in parent.glob("cognate-ray-*-*"):
        owner = left.name.split("-")[2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"cognate-ray-{os.getpid()}-", dir=parent)


def _require_cpus(config: TrainingConfig) -> None:
    import ray

    needed = config.ray_workers * _cpus(config) * config.ray_parallel_models
    there = int(ray.cluster_resources().get("CPU", 0))
    if there < needed:
        raise TrainingError(
            f"The Ray cluster has {there} CPUs, but training {config.ray_parallel_models} model(s) at once with "
            f"{config.ray_workers} worker(s) each needs {needed}. Choose fewer workers, threads or models at once."
        )


# Of the workers


def work(told: dict[str, Job]) -> None:
    """What each worker does. It raises only if another worker is lost: Ray then restarts all of them."""
    import ray

    job = told["job"]
    if ray.get(job.mailbox.outcome.remote()) is not None:
        return  # a worker failed and ended the others, as if it were lost: do not train again
    torch.set_num_threads(job.threads)
    members = TorchProcessGroup()
    group: ProcessGroup = members if members.size > 1 else ALONE
    config = job.config.model_copy(update={"prepared_data": job.data})
    try:
        if group.rank:
            Training(job.name, config, job.folder, _unheard, _unheard, group=group).help_out()
        else:
            _lead(job, config, group)
    except Interruption:
        return  # rank 0 has reported it
    except WorkerLost:
        if ray.get(job.mailbox.outcome.remote()) is None:
            raise
    except Exception as error:  # noqa: BLE001  (whatever it is, the caller of train_model gets it)
        traceback.print_exc()
        ray.get(job.mailbox.end.remote(_tellable(error)))
        if group.size > 1:
            os._exit(1)  # nothing less closes the connections on which the others wait for this one


def _lead(job: Job, config: TrainingConfig, group: ProcessGroup) -> None:
    """What rank 0 does."""
    import ray

    line = _Line(job.mailbox)
    lost = line.life > 1
    training = Training(job.name, config, job.folder, line.record, line.progress, line.flush, group)
    try:
        outcome: dict[str, Any] | Exception = training.carry_out(job.resume or lost, job.begin, worker_lost=lost)
    except Interruption as interruption:
        outcome = interruption
    finally:
        line.flush()
    ray.get(job.mailbox.end.remote(outcome))


class _Line:
    """Sends what happens to the mailbox, without waiting, and receives the person's commands."""

    def __init__(self, mailbox: Any) -> None:
        import ray

        self._mailbox = mailbox
        self._waiting: list[tuple[str, Any]] = []
        self._sent: Any = None
        self._command: str | None = None
        self.life: int = ray.get(mailbox.begin.remote())

    def record(self, record: Record) -> None:
        """A RecordSink."""
        self._waiting.append(("record", record))

    def progress(self, step: int, total_steps: int, loss: float, learning_rate: float) -> None:
        """A ProgressCallback."""
        import ray

        self._waiting.append(("progress", (step, total_steps, loss, learning_rate)))
        if self._sent is None or ray.wait([self._sent], timeout=0)[0]:
            self._send()
        if self._command is not None:
            raise INTERRUPTIONS[self._command]

    def flush(self) -> None:
        """Wait until everything has arrived."""
        self._send()
        self._hear()

    def _send(self) -> None:
        self._hear()
        self._sent = self._mailbox.put.remote(self.life, self._waiting)
        self._waiting = []

    def _hear(self) -> None:
        import ray

        if self._sent is not None:
            self._command = ray.get(self._sent)
            self._sent = None


def _tellable(error: Exception) -> Exception:
    """`error` in a form that can be sent to another process: a CognateError keeps its type if it can be rebuilt."""
    if isinstance(error, CognateError) and type(error)(str(error)).args == error.args:
        return type(error)(str(error))
    return TrainingError(plain_sentence(error))


def _unheard(*_: Any) -> None:
    """Drop what rank 0 records or calls back, too."""

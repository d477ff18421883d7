"""The parent's side of a worker process: starts it, reads its output, sends commands, and finds out why it ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from cognate_core.contracts import ModelArtifacts, RunStatus, TrainingProgress
from cognate_core.contracts.json_lines import record_from_json
from cognate_core.errors import CancelRequested, Interruption, PauseRequested, plain_sentence
from cognate_core.runs.execution import COMMANDS, Execution, Outcome, RunContext, lacking
from cognate_core.runs.timing import Timing
from cognate_core.runs.token import worker_environment

if TYPE_CHECKING:
    from cognate_core.runs.spare import SpareWorker

WORKER_MODULE = "cognate_core.runs.worker"
LOG_LINES_SHOWN = 30
_COMMAND_WORDS = {kind: word for word, kind in COMMANDS.items()}


class ProcessExecution(Execution):
    """A run in a separate process, which can be killed and may crash without harm to the studio.

    It uses the `spare` worker if that waits for this run.
    """

    def __init__(
        self,
        context: RunContext,
        timing: Timing = Timing(),  # noqa: B008  (it never changes)
        spare: SpareWorker | None = None,
    ) -> None:
        self._context, self._timing, self._spare = context, timing, spare
        self._folder = Path(context.config.output_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # around writing to the process
        self._heard = self._timing.clock()

    def run(self) -> Outcome:
        self._folder.mkdir(parents=True, exist_ok=True)
        kills_before = _out_of_memory_kills()
        with (self._folder / "worker.log").open("ab") as log, self.started(log) as process:
            outcome = self._follow(process)
            process.wait()
        if outcome is not None:
            return outcome
        if self._context.interruption is CancelRequested:  # it was ended by force
            return Outcome(RunStatus.CANCELLED, "Cancelled")
        return self._crash(process.returncode, out_of_memory=_out_of_memory_kills() > kills_before)

    def interrupt(self, kind: type[Interruption]) -> None:
        self._context.interrupt(kind)
        self._pass_on()
        if self._context.interruption is CancelRequested:
            patience = threading.Timer(self._timing.cancel, self.kill)
            patience.daemon = True
            patience.start()

    def kill(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            kill_group(process.pid)

    @property
    def pid(self) -> int | None:
        """The worker's process id, once it was started."""
        return self._process.pid if self._process else None

    @property
    def silent_seconds(self) -> float:
        """Seconds since the worker's last line; it writes one each second."""
        return self._timing.clock() - self._heard

    @property
    def memory_bytes(self) -> int | None:
        """The memory that the worker uses now; None if there is none."""
        if self._process is None:
            return None
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            return int(psutil.Process(self._process.pid).memory_info().rss)
        return None

    def started(self, log: Any) -> subprocess.Popen[bytes]:
        """Start the worker and give it its job. The output of its libraries goes to `log`."""
        context = self._context
        job = {
            "run_id": context.run_id,
            "config": json.loads(context.config.model_dump_json()),
            "model_names": list(context.model_names),
            "completed": [model.to_dict() for model in context.completed],
            "data_hash": context.data_hash,
            "home": str(context.home),
        }
        spare = self._spare.take(context.run_id) if self._spare else None
        process = spare or started_worker(context.run_id, log)
        with self._lock:  # before any command
            self._process = process
            self._say(json.dumps(job))
        self._pass_on()  # what came before
        return process

    def _pass_on(self) -> None:
        kind = self._context.interruption
        if kind is not None and self._process is not None:
            self._write(_COMMAND_WORDS[kind])

    def _write(self, line: str) -> None:
        with self._lock:
            self._say(line)

    def _say(self, line: str) -> None:
        if self._process is not None:
            send_line(self._process, line)

    def _follow(self, process: subprocess.Popen[bytes]) -> Outcome | None:
        """Pass on what the worker reports until it ends; returns its outcome, None if it reported none.

        If something cannot be saved, the worker is asked to pause, and the run ends as failed for that reason.
        """
        outcome: Outcome | None = None
        refused: Outcome | None = None
        with asyncio.Runner() as runner:
            for what, value in lines_of(process):
                self._heard = self._timing.clock()
                if what == "outcome":
                    outcome = Outcome(**{**value, "status": RunStatus(value["status"])})
                elif refused is None:
                    try:
                        self._received(what, value, runner)
                    except Exception as error:  # noqa: BLE001  (the run's outcome reports any error)
                        sentence = plain_sentence(error)
                        refused = Outcome(RunStatus.FAILED, sentence, sentence, lacking=lacking(error))
                        self.interrupt(PauseRequested)
        return refused or outcome

    def _received(self, what: str, value: Any, runner: asyncio.Runner) -> None:
        context = self._context
        match what:
            case "record":
                context.record(record_from_json(value))
            case "message":
                context.show(value)
            case "progress":
                runner.run(context.emitter.emit_progress(TrainingProgress(**value)))
            case "model":
                runner.run(context.emitter.emit_model_completed(ModelArtifacts(**value)))

    def _crash(self, code: int, *, out_of_memory: bool) -> Outcome:
        if out_of_memory:
            sentence = "The computer ran out of memory, and the system killed the training process."
        elif code < 0:
            sentence = f"The training process was killed or crashed ({_signal_name(-code)})."
        else:
            sentence = f"The training process ended without an explanation (exit code {code})."
        return Outcome(
            RunStatus.CRASHED, sentence, sentence, self._log_tail() or None, lacking="memory" if out_of_memory else None
        )

    def _log_tail(self) -> str:
        lines = (self._folder / "worker.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])


def started_worker(run_id: str, log: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """A worker for this run, without its job yet. Its printed output goes to `log`."""
    return subprocess.Popen(  # noqa: S603  (a list of our own words, no shell)
        [sys.executable, "-m", WORKER_MODULE, run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=worker_environment(fetches=True),
        start_new_session=True,  # Ctrl-C in the studio's terminal is for the studio
    )


def send_line(process: subprocess.Popen[bytes], line: str) -> None:
    """Send a line to a worker's input. A worker that is gone is noticed at the end of its output.

    The line does not go through Python's buffer: what a broken pipe leaves there raises again when the pipe is closed.
    """
    rest = line.encode() + b"\n"
    with suppress(BrokenPipeError, ValueError):  # ValueError: it is closed
        while rest and process.stdin is not None:
            rest = rest[os.write(process.stdin.fileno(), rest) :]


def kill_group(pid: int) -> None:
    """Kill a worker and its process group."""
    if os.name == "nt":
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def workers() -> dict[str, int]:
    """Run id -> process id of each worker on this computer, from any studio.

    It recognises a worker by its command line, which names the run: a process id may belong to another program by now.
    """
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if len(words) >= 2 and words[-2] == WORKER_MODULE:
            found[words[-1]] = process.pid
    return found


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[tuple[str, Any]]:
    """What the worker reports, as (what, value).

    Other lines are skipped: cut off by the worker's end, or printed before the worker took over its output.
    """
    if process.stdout is None:
        return
    for line in process.stdout:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            yield from said.items()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _out_of_memory_kills() -> int:
    """How many processes the system has killed for lack of memory since it started; 0 if it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

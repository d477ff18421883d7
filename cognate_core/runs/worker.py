"""The worker process: carries out one run, reports in lines of JSON, and takes commands from its parent.

    python -m cognate_core.runs.worker RUN_ID

stdin: the job, then commands ("pause", "stop", "cancel"). "load" before the job makes it a spare worker, which loads
its libraries and waits. When stdin ends, the studio is gone: the worker writes a checkpoint and ends. Only the parent
writes the database.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from filelock import FileLock, Timeout

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ModelArtifacts, ProgressEmitter, Record, RunStatus, TrainingProgress
from cognate_core.contracts.json_lines import record_to_json
from cognate_core.errors import PauseRequested
from cognate_core.runs.cores import worker_threads
from cognate_core.runs.execution import COMMANDS, LOAD, Outcome, RunContext, build_real_service, run_pipeline

LAST_SECONDS = 8.0  # how long a worker without a studio may take to write its checkpoint
PREDECESSOR_SECONDS = 15.0  # how long it waits for an earlier worker of the run to end
ALIVE_SECONDS = 1.0  # between two signs of life
NICENESS = 10  # the dashboard and the person's other programs go first
OUT_OF_MEMORY_SCORE = "800"  # of 1000: if memory runs out, the system kills the worker, not the studio


class Lines:
    """Reports what happens, one JSON object a line. Writes nothing once the reader is gone."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._lock = threading.Lock()

    def say(self, what: str, value: Any) -> None:
        line = json.dumps({what: value}, allow_nan=False).encode() + b"\n"
        # If the studio is gone, the input is closed, too, which ends the run.
        with self._lock, suppress(BrokenPipeError):
            self._output.write(line)
            self._output.flush()

    def record(self, record: Record) -> None:
        """A RecordSink."""
        self.say("record", record_to_json(record))

    def show(self, message: str) -> None:
        self.say("message", message)


class LinesEmitter(ProgressEmitter):
    """Reports progress and models in lines."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def emit_progress(self, progress: TrainingProgress) -> None:
        self._lines.say("progress", asdict(progress))

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        self._lines.say("model", artifacts.to_dict())


def main() -> None:
    """Carry out the job from the input, if one comes."""
    lines = Lines(take_over_output())
    step_back()
    commands = input_lines()
    first = next(commands, None)
    spare = first == LOAD
    if spare:
        load_libraries()
        first = next(commands, None)
    if first is None:
        return  # the studio is gone, or has no run for it
    job = json.loads(first)
    config = TrainingConfig.from_values(job["config"])
    if spare:
        print_into(Path(config.output_dir) / "worker.log")
    faulthandler.enable()  # writes crashes such as segmentation faults to worker.log
    context = RunContext(
        run_id=job["run_id"],
        config=config,
        model_names=job["model_names"],
        completed=[ModelArtifacts(**model) for model in job["completed"]],
        data_hash=job["data_hash"],
        home=Path(job["home"]),
        record=lines.record,
        show=lines.show,
        emitter=LinesEmitter(lines),
        chooses_threads=True,
    )
    threading.Thread(target=_obey, args=(commands, context), name="commands", daemon=True).start()
    threading.Thread(target=_live, args=(lines,), name="alive", daemon=True).start()
    # Every process gets this signal when the computer shuts down.
    signal.signal(signal.SIGTERM, lambda *_: context.interrupt(PauseRequested))
    lines.say("outcome", asdict(only_worker(context)))


def only_worker(context: RunContext) -> Outcome:
    """Carry out the run, unless an earlier worker of it is still running."""
    folder = Path(context.config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "worker.lock", timeout=PREDECESSOR_SECONDS):
            import torch

            torch.set_num_threads(worker_threads(context.config))
            return run_pipeline(context, build_real_service)
    except Timeout:
        sentence = "An earlier training process of this run is still running. Wait a moment, then resume the run."
        return Outcome(RunStatus.FAILED, sentence, sentence)


def load_libraries() -> None:
    """Import what every run imports, and what torch imports only with the first optimizer."""
    import torch._dynamo  # noqa: F401

    import cognate_core.data.loader
    import cognate_core.training.ray_trainer
    import cognate_core.training.trainer  # noqa: F401


def print_into(file: Path) -> None:
    """Redirect what libraries print to `file`."""
    with file.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def step_back() -> None:
    """Give other programs priority, and let the system kill this process first if memory runs out."""
    if sys.platform == "win32":
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(NICENESS)
    with suppress(OSError):  # Linux only, and not in every container
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE, encoding="utf-8")


def take_over_output() -> BinaryIO:
    """Standard output, reserved for our lines; what libraries print goes to stderr, which is worker.log for a run."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


def input_lines() -> Iterator[str]:
    """Lines of standard input, without Python's buffer, on which no thread may wait when Python ends."""
    waiting = b""
    while received := os.read(0, 65536):
        *whole, waiting = (waiting + received).split(b"\n")
        for line in whole:
            yield line.decode()


def _obey(commands: Iterator[str], context: RunContext) -> None:
    for command in commands:
        context.interrupt(COMMANDS[command])
    context.interrupt(PauseRequested)  # the studio is gone
    threading.Timer(LAST_SECONDS, os._exit, (1,)).start()


def _live(lines: Lines) -> None:
    while True:
        lines.say("alive", None)
        time.sleep(ALIVE_SECONDS)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("This is an internal part of Cognate Studio. To train, use `cognate train`.")
    main()

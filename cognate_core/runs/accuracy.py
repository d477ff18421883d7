"""Measuring how many held-out questions a model answers right, as the studio sees it: one measurement at a time.

The work is done in a process of its own (accuracy_worker.py), which keeps what it finds beside the model's weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cognate_core.answers import Accuracy, Score, StepScores
from cognate_core.errors import RunError, StorageError

ACCURACY_FILE = "accuracy.json"
"""In a model's folder: what was measured last. Not one of its artifacts."""

END_SECONDS = 5.0  # how long an ended measurement is waited for


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be measured.

    Attributes:
        folder: of the model; `steps`: checkpoints of it to measure, too, beside the finished model.
        model_step: after how many steps the model was finished.
        home: the data directory; `config` and `data_hash` say what the model was trained on.
        limit: most questions of a dataset.
    """

    folder: str
    home: str
    config: dict[str, Any]
    data_hash: str
    model_step: int
    steps: list[int]
    limit: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """How far a measurement is. `total`: answers to write, 0: not known yet. `problem`: why it came to none."""

    model_id: str
    done: int = 0
    total: int = 0
    now: str = "Opening the questions"
    ended: bool = False
    problem: str | None = None


class Measuring:
    """The one measurement that may go on in this studio. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: Measurement | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, model_id: str, job: Job) -> None:
        """Begin. Raises RunError when another one is going on."""
        with self._lock:
            if self._state is not None and not self._state.ended:
                raise RunError("Another measurement is going on. Wait for its end, or cancel it.")
            process = subprocess.Popen(
                [sys.executable, "-m", "cognate_core.runs.accuracy_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in the studio's terminal is for the studio
            )
            self._state, self._process = Measurement(model_id), process
        threading.Thread(target=self._follow, args=(process, job), name="accuracy", daemon=True).start()

    @property
    def state(self) -> Measurement | None:
        """Of the last one that was begun here."""
        return self._state

    def is_going(self, model_id: str) -> bool:
        """Whether this model is being measured."""
        state = self._state
        return state is not None and not state.ended and state.model_id == model_id

    def cancel(self) -> None:
        """End it; what was measured before stays as it was."""
        with self._lock:
            state, process = self._state, self._process
            if process is None or state is None or state.ended:
                return
            self._state = replace(state, ended=True)
            process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)

    def _follow(self, process: subprocess.Popen[bytes], job: Job) -> None:
        """The body of the thread that hears what the process says."""
        answered = False
        with process:
            if process.stdin is None or process.stdout is None:
                raise AssertionError("it was started with pipes")
            with suppress(BrokenPipeError):  # it is gone: its end says so
                process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
                process.stdin.flush()
            for line in process.stdout:
                said = json.loads(line)
                answered = answered or "ended" in said
                self._change(process, **(said.get("progress") or said["ended"]))
        if not answered:
            sentence = "The measurement ended without an answer; perhaps the computer ran out of memory. Try again."
            self._change(process, ended=True, problem=sentence)

    def _change(self, process: subprocess.Popen[bytes], **values: Any) -> None:
        with self._lock:
            if process is self._process and self._state is not None and not self._state.ended:
                self._state = replace(self._state, **values)


def read_accuracy(folder: Path, weights_sha256: str) -> Accuracy | None:
    """What was measured last of the model in `folder`; None when nothing was.

    Raises:
        StorageError: the file is damaged, or belongs to other weights.
    """
    try:
        values = json.loads((folder / ACCURACY_FILE).read_text(encoding="utf-8"))
        steps = [StepScores(row["step"], [Score(**score) for score in row["scores"]]) for row in values["steps"]]
        accuracy = Accuracy(**{**values, "steps": steps})
        for score in (score for row in steps for score in row.scores):
            if not 0 <= score.right <= score.asked or not 0 <= score.commonest_right <= score.asked or not score.asked:
                raise ValueError(f"{score.right} right answers of {score.asked}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"The measured accuracy cannot be read ({error}). Measure it again.") from error
    if accuracy.weights_sha256 != weights_sha256:
        raise StorageError("The measured accuracy belongs to other weights and is not shown. Measure it again.")
    return accuracy

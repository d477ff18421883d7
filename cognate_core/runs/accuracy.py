"""Measuring how many held-out questions a model answers right: the studio's side, one measurement at a time.

A separate process does the work (accuracy_worker.py) and saves the result beside the model's weights.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cognate_core.contracts.answers import Accuracy, Score, StepScores
from cognate_core.errors import StorageError
from cognate_core.runs.side_job import SideJob

ACCURACY_FILE = "accuracy.json"
"""In a model's folder: the last measurement. Not one of its artifacts."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure.

    Attributes:
        folder: of the model. `steps`: its checkpoints to measure in addition to the finished model.
        model_step: the step at which the model was finished.
        home: the data directory. `config` and `data_hash` say what the model was trained on.
        limit: at most this many questions from each dataset.
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
    """The state of a measurement. `total`: answers to write, 0: not known yet. `problem`: why it failed."""

    model_id: str
    done: int = 0
    total: int = 0
    now: str = "Opening the questions"
    ended: bool = False
    problem: str | None = None


class Measuring(SideJob[Measurement]):
    """The single measurement that may run in this studio. Safe to use from any thread."""

    def __init__(self) -> None:
        super().__init__("cognate_core.runs.accuracy_worker", "measurement")

    def start(self, model_id: str, job: Job) -> None:
        """Start. Raises RunError if another measurement is running."""
        self._begin(Measurement(model_id), asdict(job))

    def is_going(self, model_id: str) -> bool:
        """Whether this model is being measured."""
        state = self.state
        return state is not None and not state.ended and state.model_id == model_id


def read_accuracy(folder: Path, weights_sha256: str) -> Accuracy | None:
    """The last measurement of the model in `folder`; None if there is none.

    Raises:
        StorageError: the file is damaged, or belongs to other weights.
    """
    try:
        values = json.loads((folder / ACCURACY_FILE).read_text(encoding="utf-8"))
        steps = [StepScores(row["step"], [Score(**score) for score in row["scores"]]) for row in values["steps"]]
        accuracy = Accuracy(**{**values, "steps": steps})
        _check(accuracy)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"The measured accuracy cannot be read ({error}). Measure it again.") from error
    if accuracy.weights_sha256 != weights_sha256:
        raise StorageError("The measured accuracy belongs to other weights and is not shown. Measure it again.")
    return accuracy


def _check(found: Accuracy) -> None:
    """Raises ValueError unless a page can show it."""
    scores = [score for row in found.steps for score in row.scores]
    whole = [found.limit, found.seed, *(row.step for row in found.steps)]
    whole += [count for score in scores for count in (score.asked, score.right, score.commonest_right)]
    words = [found.measured_at, *found.left_out, *found.left_out.values()]
    words += [word for score in scores for word in (score.dataset, score.commonest)]
    if not all(isinstance(count, int) for count in whole) or not all(isinstance(word, str) for word in words):
        raise ValueError("a figure or a word has the wrong type")
    if not isinstance(found.seconds, int | float) or not isinstance(found.temperature, int | float):
        raise ValueError("a figure has the wrong type")
    datetime.fromisoformat(found.measured_at)
    if not found.steps or not all(row.scores for row in found.steps):
        raise ValueError("there is no score")
    if not all(0 <= score.right <= score.asked and 0 <= score.commonest_right <= score.asked > 0 for score in scores):
        raise ValueError("there are more right answers than questions")

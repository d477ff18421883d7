"""Measuring how many held-out questions a model answers right, as the studio sees it: one measurement at a time.

The work is done in a process of its own (accuracy_worker.py), which keeps what it finds beside the model's weights.
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
"""In a model's folder: what was measured last. Not one of its artifacts."""


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


class Measuring(SideJob[Measurement]):
    """The one measurement that may go on in this studio. Any thread may ask."""

    def __init__(self) -> None:
        super().__init__("cognate_core.runs.accuracy_worker", "measurement")

    def start(self, model_id: str, job: Job) -> None:
        """Begin. Raises RunError when another one is going on."""
        self._begin(Measurement(model_id), asdict(job))

    def is_going(self, model_id: str) -> bool:
        """Whether this model is being measured."""
        state = self.state
        return state is not None and not state.ended and state.model_id == model_id


def read_accuracy(folder: Path, weights_sha256: str) -> Accuracy | None:
    """What was measured last of the model in `folder`; None when nothing was.

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
        raise ValueError("a figure or a word is none")
    if not isinstance(found.seconds, int | float) or not isinstance(found.temperature, int | float):
        raise ValueError("a figure is none")
    datetime.fromisoformat(found.measured_at)
    if not found.steps or not all(row.scores for row in found.steps):
        raise ValueError("there is no score")
    if not all(0 <= score.right <= score.asked and 0 <= score.commonest_right <= score.asked > 0 for score in scores):
        raise ValueError("more answers are right than were asked")

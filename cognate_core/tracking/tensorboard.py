"""TensorBoard event files, written with tensorboardX.

tensorboardX imports torch if it is installed. It is therefore imported only in the tracker's thread, once a run has
begun (which itself needs torch to estimate its memory).
"""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

from cognate_core.contracts import Evaluation, PonderHistogram, Record, Rewind, Sample, StepMetrics
from cognate_core.contracts.json_lines import record_from_json
from cognate_core.labels import folder_name
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import STEP_COLUMNS, Run
from cognate_core.tracking.tracker import Tracker, named_figures

FOLDER = "tensorboard"
"""In a model's folder."""


class TensorBoardTracker(Tracker):
    """A folder of event files for each model of the run: scalars, ponder histograms, samples and settings.

    If a model continues from a checkpoint, a new file tells TensorBoard to forget the void steps; valid figures that
    were forgotten with them are written again.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, run: Run, folder: Path, reader: ProgressReader) -> None:
        self._run, self._folder, self._reader = run, folder, reader
        self._event: Any = import_module("tensorboardX.proto.event_pb2")
        self._summary: Any = import_module("tensorboardX.summary")
        self._open_file: Any = import_module("tensorboardX.event_file_writer").EventsWriter
        self._files: dict[str, Any] = {}

    def record(self, record: Record) -> None:
        match record:
            case Rewind():
                self._rewind(record)
            case StepMetrics() | Evaluation():
                value = self._summary.Summary.Value
                figures = [value(tag=name, simple_value=figure) for name, figure in named_figures(record)]
                self._write(record.model_name, record.step, self._summary.Summary(value=figures))
            case PonderHistogram():
                self._write(record.model_name, record.step, self._histogram(record.counts))
            case Sample():
                text = f"Prompt:\n\n{_verbatim(record.prompt)}\n\nThe model:\n\n{_verbatim(record.text)}"
                text += f"\n\nThe dataset:\n\n{_verbatim(record.expected)}"
                self._write(record.model_name, record.step, self._summary.text(f"samples/{record.dataset}", text))

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _rewind(self, rewind: Rewind) -> None:
        """Begin a new file of the model; it voids everything after the last complete check in earlier files."""
        model = rewind.model_name
        if self._earlier_files(model) == 0:
            return
        restart = self._event.SessionLog(status=self._event.SessionLog.START)
        first_void = max(0, rewind.checked_step + 1)
        event = self._event.Event(wall_time=time.time(), step=first_void, session_log=restart)
        self._file(model, anew=True).write_event(event)
        for rows in self._reader.step_rows(self._run.id, model, rewind.checked_step, rewind.step):
            for row in rows:
                self.record(record_from_json({"type": "StepMetrics", **dict(zip(STEP_COLUMNS, row, strict=True))}))

    def _earlier_files(self, model: str) -> int:
        return len(list(self._place(model).glob("events.out.tfevents.*")))

    def _place(self, model: str) -> Path:
        return self._folder / folder_name(model) / FOLDER

    def _file(self, model: str, *, anew: bool = False) -> Any:
        if anew and model in self._files:
            self._files.pop(model).close()
        if model not in self._files:
            number = self._earlier_files(model)  # a unique name, even within one second
            place = self._place(model)
            place.mkdir(parents=True, exist_ok=True)
            self._files[model] = self._open_file(str(place / "events"), f".{number:06d}")
            if number == 0:
                self._write(model, 0, self._summary.text("settings", _verbatim(self._run.config.to_toml())))
        return self._files[model]

    def _write(self, model: str, step: int, summary: Any) -> None:
        self._file(model).write_event(self._event.Event(wall_time=time.time(), step=step, summary=summary))

    def _histogram(self, counts: list[int]) -> Any:
        """The histogram of tokens by ponder steps; bucket n ends half a step above n."""
        taken = [steps for steps, count in enumerate(counts) if count]
        limits = [steps + 0.5 for steps in range(len(counts))]
        total = sum(steps * count for steps, count in enumerate(counts))
        squares = sum(steps**2 * count for steps, count in enumerate(counts))
        low, high = min(taken, default=0), max(taken, default=0)
        return self._summary.histogram_raw(
            "ponder/steps_of_tokens", low, high, sum(counts), total, squares, limits, counts
        )


def _verbatim(text: str) -> str:
    """Markdown that shows `text` unchanged: TensorBoard reads text as Markdown."""
    return "\n".join(f"    {line}" for line in text.splitlines()) or "(nothing)"

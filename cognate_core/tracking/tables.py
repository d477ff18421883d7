"""The tracker that writes a table of the figures beside each model when an execution of its run ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cognate_core.contracts import Record, StepMetrics
from cognate_core.files import replace_durably
from cognate_core.labels import folder_name
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from cognate_core.tracking.export import metrics_csv, metrics_parquet
from cognate_core.tracking.tracker import Tracker

_WRITERS: dict[str, Callable[[ProgressReader, str, str], bytes]] = {"csv": metrics_csv, "parquet": metrics_parquet}


class TableTracker(Tracker):
    """`metrics.csv` or `metrics.parquet` in the folder of each model that learned, whole or not at all.

    It stores no figures itself: the database has all of them, including those from before a resume.
    """

    def __init__(self, kind: Literal["csv", "parquet"], run: Run, folder: Path, reader: ProgressReader) -> None:
        self._kind, self._run, self._folder, self._reader = kind, run, folder, reader
        self._learned: set[str] = set()

    def record(self, record: Record) -> None:
        if isinstance(record, StepMetrics):
            self._learned.add(record.model_name)

    def close(self) -> None:
        for model in sorted(self._learned):
            place = self._folder / folder_name(model)
            if place.is_dir():  # nothing is kept of a cancelled model
                replace_durably(
                    place / f"metrics.{self._kind}", _WRITERS[self._kind](self._reader, self._run.id, model)
                )

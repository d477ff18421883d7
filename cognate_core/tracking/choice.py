"""The available trackers, how they are opened, and where their files are."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cognate_core.config import TRACKERS, TrackerName
from cognate_core.contracts import ProgressEmitter, RecordSink
from cognate_core.labels import folder_name
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from cognate_core.tracking.queues import Tracking
from cognate_core.tracking.tables import TableTracker
from cognate_core.tracking.tensorboard import FOLDER as TENSORBOARD_FOLDER
from cognate_core.tracking.tensorboard import TensorBoardTracker
from cognate_core.tracking.tracker import Tracker
from cognate_core.tracking.trackio_store import FOLDER as TRACKIO_FOLDER
from cognate_core.tracking.trackio_store import PROJECT as TRACKIO_PROJECT
from cognate_core.tracking.trackio_store import TrackioTracker


def tracking_of(run: Run, home: Path, reader: ProgressReader, emitter: ProgressEmitter, record: RecordSink) -> Tracking:
    """The database's emitter and sink, followed by the trackers in the run's settings."""
    folder = home / "runs" / run.id
    trackers = {TRACKERS[name]: partial(_opened, name, run, home, folder, reader) for name in run.config.trackers}
    return Tracking(emitter, record, trackers)


def _opened(name: TrackerName, run: Run, home: Path, folder: Path, reader: ProgressReader) -> Tracker:
    match name:
        case "tensorboard":
            return TensorBoardTracker(run, folder, reader)
        case "trackio":
            return TrackioTracker(run, home / TRACKIO_FOLDER)
        case "csv" | "parquet":
            return TableTracker(name, run, folder, reader)


@dataclass(frozen=True, slots=True)
class TrackerPlace:
    """Where a tracker's files of a run are, and the command that shows them, if any."""

    title: str
    files: str
    command: str


def tracker_places(run: Run, home: Path) -> list[TrackerPlace]:
    """One for each tracker of a run."""
    folder = home / "runs" / run.id
    models = [folder / folder_name(model) for model in run.model_names]
    trackio = home / TRACKIO_FOLDER
    set_folder = f'set "TRACKIO_DIR={trackio}" &&' if os.name == "nt" else f"TRACKIO_DIR={shlex.quote(str(trackio))}"
    shown_by: dict[TrackerName, tuple[Sequence[Path], str]] = {
        "tensorboard": ([model / TENSORBOARD_FOLDER for model in models], f"tensorboard --logdir {_quoted(folder)}"),
        "csv": ([model / "metrics.csv" for model in models], ""),
        "parquet": ([model / "metrics.parquet" for model in models], ""),
        "trackio": ([trackio], f"{set_folder} trackio show --project {TRACKIO_PROJECT}"),
    }
    return [
        TrackerPlace(TRACKERS[name], ", ".join(map(str, places)), command)
        for name in run.config.trackers
        for places, command in [shown_by[name]]
    ]


def _quoted(folder: Path) -> str:
    return f'"{folder}"' if os.name == "nt" else shlex.quote(str(folder))

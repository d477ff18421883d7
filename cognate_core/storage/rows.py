"""Runs and models in the database, as rows and as values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    Evaluation,
    Event,
    LayerFigures,
    Origin,
    PonderHistogram,
    Record,
    RunStatus,
    Sample,
    StepMetrics,
    TimeEstimate,
    bits_per_byte,
)
from cognate_core.errors import ConfigError

Row = dict[str, Any]

STEP_COLUMNS = tuple(each.name for each in fields(StepMetrics))

TABLES: dict[type[Record], str] = {
    StepMetrics: "metrics",
    PonderHistogram: "ponder_histograms",
    LayerFigures: "layer_figures",
    Evaluation: "evaluations",
    Sample: "samples",
    Event: "events",
}

HERE = "trash_id IS NULL"  # a run outside the trash
MODELS_HERE = (
    "models JOIN runs ON runs.id = run_id AND runs.trash_id IS NULL AND models.trash_id IS NULL"  # and its run
)
ACTIVE = f"status IN ({', '.join(repr(status.value) for status in RunStatus if status.is_active)})"


@dataclass(frozen=True, slots=True)
class Run:
    """A run as stored in the database. Fields that are not known yet are None."""

    id: str
    name: str
    status: RunStatus
    phase: str
    progress: float
    message: str
    step: int | None
    total_steps: int | None
    stored_config: str  # JSON, perhaps of another version
    model_names: list[str]
    data_report: Row | None
    error: str | None
    error_details: str | None
    folder: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    worked_seconds: float | None  # of all its executions, by a clock that never goes back
    colour: int  # its place in the order of colours, the same on every page
    parent_run_id: str | None  # its parent, which may be gone
    relation: str | None  # a Relation of contracts.py
    branch_step: int | None
    time_estimate: Row | None  # fields of a time estimate, if one was measured
    group_id: str | None  # the sweep that it belongs to
    group_name: str | None
    tags: list[str]

    @property
    def config(self) -> TrainingConfig:
        """Its settings, with defaults for those that cannot be read."""
        return stored_config_of(self.stored_config)[0]

    @property
    def as_trained(self) -> TrainingConfig:
        """Its settings as its models have them: with the vocabulary made from its text, once it is known."""
        return self.config.fitted(self.data_report)

    @property
    def config_error(self) -> str | None:
        """Why the settings could not be read completely."""
        return stored_config_of(self.stored_config)[1]


@dataclass(frozen=True, slots=True)
class RunGroup:
    """The remaining runs of one sweep, in the order in which they were queued."""

    id: str
    name: str
    run_ids: list[str]


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be queued."""

    id: str
    name: str
    config: TrainingConfig
    model_names: list[str]
    folder: Path
    start_key: str | None = None
    origin: Origin | None = None
    time_estimate: TimeEstimate | None = None
    group_id: str | None = None
    group_name: str | None = None


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A finished model as stored in the database."""

    id: str
    run_id: str
    run_name: str
    name: str
    status: str
    parameter_count: int
    created_at: str
    details: Row  # the fields of ModelArtifacts
    note: str
    tags: list[str]

    @property
    def trained_as(self) -> str:
        """Its name in the run and its records, whatever its title is now."""
        return str(self.details["model_name"])

    @property
    def step(self) -> int:
        """The step of its weights: the last, or with early stopping, that of the best check."""
        stats = self.details["training_stats"]
        return int(stats.get("weights_step", stats["steps"]))

    @property
    def writes_text(self) -> bool:
        """Whether it is a language model; the others are from the Grokking lab, and calculate."""
        return "modular arithmetic" not in self.details["capabilities"]


def row_of(run_id: str, record: Record) -> Row:
    return {"run_id": run_id, **storable_row(asdict(record))}


def storable_row(row: Row) -> Row:
    """NaN and infinity as NULL (SQLite would keep infinity); half a letter as a question mark."""

    def storable(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value.encode(errors="replace").decode() if isinstance(value, str) else value

    return {key: storable(value) for key, value in row.items()}


def evaluation_of(row: Row) -> Row:
    return {**row, "bits_per_byte": bits_per_byte(row["loss"], row["tokens"], row["bytes"])}


def run_of(row: Row) -> Run:
    hidden = ("start_key", "queue_position", "trash_id", "config")
    values = {key: value for key, value in row.items() if key not in hidden}
    report, time_estimate = values["data_report"], values["time_estimate"]
    return Run(
        **{
            **values,
            "status": RunStatus(values["status"]),
            "stored_config": row["config"],
            "model_names": json.loads(values["model_names"]),
            "data_report": json.loads(report) if report else None,
            "colour": values["colour"] or 0,
            "time_estimate": json.loads(time_estimate) if time_estimate else None,
            "tags": _tags_of(row),
        }
    )


def model_of(row: Row) -> TrainedModel:
    title = row.pop("title")
    del row["trash_id"]
    return TrainedModel(
        **{
            **row,
            "name": title or row["name"],
            "details": json.loads(row["details"]),
            "note": row["note"] or "",
            "tags": _tags_of(row),
        }
    )


def _tags_of(row: Row) -> list[str]:
    return json.loads(row["tags"]) if row["tags"] else []


def exported(rows: list[Row]) -> list[Row]:
    """Rows for export, without their place in the trash."""
    return [{column: value for column, value in row.items() if column != "trash_id"} for row in rows]


_RENAMED = {"quote": "time_estimate"}  # columns of earlier versions


def with_current_names(row: Row) -> Row:
    """A row of any version, with today's column names."""
    return {_RENAMED.get(column, column): value for column, value in row.items()}


def check_rows(rows: Mapping[str, Iterable[Row]]) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError if these cannot be rows of one run."""
    (run,) = rows["runs"]
    names = {field.name for field in fields(Run)} - {"stored_config"} | {"config"}
    told = {name: value for name, value in with_current_names(run).items() if name in names}
    known = run_of({**dict.fromkeys(names), **told})
    stored_config_of(known.stored_config)
    for value in (known.progress, known.worked_seconds, known.step, known.total_steps):
        if not isinstance(value, int | float | None):
            raise ValueError(f"{value!r} is not a number")
    if known.time_estimate is not None:
        TimeEstimate(**known.time_estimate)
    if not isinstance(known.created_at, str) or not all(isinstance(name, str) for name in known.model_names):
        raise ValueError("its date or its models' names are invalid")
    if not all(isinstance(text, str | None) for text in (known.group_id, known.group_name)):
        raise ValueError("its sweep is invalid")
    if not isinstance(known.tags, list) or not all(isinstance(tag, str) for tag in known.tags):
        raise ValueError("its tags are invalid")
    for model in rows["models"]:
        json.loads(model["details"])["artifacts"].get("weights")


@lru_cache(maxsize=2048)
def stored_config_of(text: str) -> tuple[TrainingConfig, str | None]:
    """A config as stored, perhaps by another version; and what cannot be read of it, or None."""
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("they are not settings")
    except ValueError as error:
        return TrainingConfig(), f"They cannot be read ({error})."
    try:
        return TrainingConfig.from_values(values), None
    except ConfigError as error:
        known = {name: value for name, value in values.items() if name not in error.problems}
        try:
            return TrainingConfig.from_values(known), str(error)
        except ConfigError:
            return TrainingConfig(), str(error)

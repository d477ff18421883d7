"""The progress log: what runs are and how far, as rows of the database.

`ProgressReader` reads, from any thread and process; `ProgressLog` also writes, through the one DatabaseWriter. They
know runs as rows; they start and stop nothing.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DataReport,
    Evaluation,
    Event,
    ModelArtifacts,
    Phase,
    PonderHistogram,
    ProgressEmitter,
    Record,
    RunStatus,
    Sample,
    StepMetrics,
    TrainingProgress,
    utc_now,
)
from cognate_core.errors import ConfigError, RunError
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.database import DatabaseWriter, reading

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the database has it. Fields that are not known yet are None."""

    id: str
    name: str
    status: RunStatus
    phase: str
    progress: float
    message: str
    step: int | None
    total_steps: int | None
    config: TrainingConfig
    config_error: str | None  # why the stored config could not be read whole; unreadable settings show their defaults
    model_names: list[str]
    data_report: Row | None
    error: str | None
    error_details: str | None
    folder: str
    created_at: str
    started_at: str | None
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A finished model as the database has it."""

    id: str
    run_id: str
    run_name: str
    name: str
    status: str
    parameter_count: int
    created_at: str
    details: Row  # the fields of ModelArtifacts


class ProgressReader:
    """Reads the database at `path`, which may belong to another process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, run_id: str) -> Run:
        """The run with this id. Raises RunError when there is none."""
        rows = self._rows("SELECT * FROM runs WHERE id = ?", run_id)
        if not rows:
            raise RunError("There is no run with this address. It may have been deleted.")
        return _run(rows[0])

    def runs(self, limit: int = 500) -> list[Run]:
        """The newest runs first."""
        return [_run(row) for row in self._rows("SELECT * FROM runs ORDER BY rowid DESC LIMIT ?", limit)]

    def queued_run_ids(self) -> list[str]:
        """Runs that wait for their turn, the next one first."""
        rows = self._rows("SELECT id FROM runs WHERE status = ? ORDER BY rowid", RunStatus.QUEUED.value)
        return [row["id"] for row in rows]

    def metrics(self, run_id: str, after_id: int = 0) -> list[Row]:
        """Step rows of a run that were written after the row `after_id`, in order of writing."""
        return self._rows("SELECT * FROM metrics WHERE run_id = ? AND id > ? ORDER BY id", run_id, after_id)

    def last_metrics(self, run_id: str, count: int) -> list[Row]:
        """The newest step rows, oldest of them first."""
        return self._rows("SELECT * FROM metrics WHERE run_id = ? ORDER BY id DESC LIMIT ?", run_id, count)[::-1]

    def evaluations(self, run_id: str, after_id: int = 0) -> list[Row]:
        """Held-out measurements, in order of writing."""
        return self._rows("SELECT * FROM evaluations WHERE run_id = ? AND id > ? ORDER BY id", run_id, after_id)

    def ponder_histograms(self, run_id: str) -> list[Row]:
        """Counts of tokens by ponder steps, one row a check, in order of writing."""
        rows = self._rows("SELECT * FROM ponder_histograms WHERE run_id = ? ORDER BY id", run_id)
        return [{**row, "counts": json.loads(row["counts"])} for row in rows]

    def newest_ids(self, run_id: str) -> tuple[int, ...]:
        """Ids of the newest step row, held-out measurement and histogram, 0 for none: they tell whether more came."""
        (row,) = self._rows(
            "SELECT (SELECT max(id) FROM metrics WHERE run_id = ?1) AS metrics, "
            "(SELECT max(id) FROM evaluations WHERE run_id = ?1) AS evaluations, "
            "(SELECT max(id) FROM ponder_histograms WHERE run_id = ?1) AS histograms",
            run_id,
        )
        return tuple(newest or 0 for newest in row.values())

    def samples(self, run_id: str) -> list[Row]:
        """Text samples, in order of writing."""
        return self._rows("SELECT * FROM samples WHERE run_id = ? ORDER BY id", run_id)

    def events(self, run_id: str) -> list[Row]:
        """Events, in order of writing."""
        return self._rows("SELECT * FROM events WHERE run_id = ? ORDER BY id", run_id)

    def models(self, run_id: str | None = None) -> list[TrainedModel]:
        """Finished models, newest first."""
        rows = self._rows(
            "SELECT models.*, runs.name AS run_name FROM models JOIN runs ON runs.id = run_id "
            "WHERE ?1 IS NULL OR run_id = ?1 ORDER BY models.rowid DESC",
            run_id,
        )
        return [TrainedModel(**{**row, "details": json.loads(row["details"])}) for row in rows]

    def model(self, model_id: str) -> TrainedModel:
        """The model with this id. Raises RunError when there is none."""
        for model in self.models():
            if model.id == model_id:
                return model
        raise RunError("There is no model with this address. It may have been deleted.")

    def artifacts(self, model_id: str) -> list[Row]:
        """The files of a model."""
        return self._rows("SELECT * FROM artifacts WHERE model_id = ? ORDER BY rowid", model_id)

    def coordination(self, key: str) -> Row | None:
        """The key-value record, with "updated_at", or None."""
        rows = self._rows("SELECT value, updated_at FROM coordination WHERE key = ?", key)
        return {**json.loads(rows[0]["value"]), "updated_at": rows[0]["updated_at"]} if rows else None

    def _rows(self, query: str, *values: Any) -> list[Row]:
        with reading(self.path) as connection:
            return [dict(row) for row in connection.execute(query, values)]


class ProgressLog(ProgressReader):
    """Reads and writes the database at `path`. One process has one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._last_step: dict[str, tuple[int, int | None]] = {}
        self._writer = DatabaseWriter(path)

    def close(self) -> None:
        """Write what is waiting, then close."""
        self._writer.close()

    def create_run(
        self,
        run_id: str,
        name: str,
        config: TrainingConfig,
        model_names: list[str],
        folder: Path,
        start_key: str | None,
    ) -> str:
        """Add a queued run; its id. When a run with this start_key exists, nothing is added and its id is given."""

        def create(db: Database) -> str:
            if start_key is not None:
                found = db.execute("SELECT id FROM runs WHERE start_key = ?", [start_key]).fetchone()
                if found:
                    return str(found[0])
            db.table("runs").insert(
                {
                    "id": run_id,
                    "name": name,
                    "status": RunStatus.QUEUED.value,
                    "phase": "",
                    "progress": 0.0,
                    "message": "Waiting for its turn",
                    "config": config.model_dump_json(),
                    "model_names": json.dumps(model_names),
                    "start_key": start_key,
                    "folder": str(folder),
                    "created_at": utc_now(),
                }
            )
            return run_id

        return self._writer.call(create)

    def claim(self, run_id: str) -> bool:
        """Take a queued run for execution; False when it is no longer queued."""
        statement = "UPDATE runs SET status = ?, started_at = ?, message = ? WHERE id = ? AND status = ?"
        values = [RunStatus.PREPARING.value, utc_now(), "Getting ready", run_id, RunStatus.QUEUED.value]
        return self._writer.call(lambda db: db.execute(statement, values).rowcount == 1)

    def set_status(self, run_id: str, status: RunStatus, *, unless: Collection[RunStatus] = (), **columns: Any) -> bool:
        """Move a run to `status`; False, and nothing is changed, when it has ended already or is in `unless`."""
        if status.is_terminal:
            columns.setdefault("finished_at", utc_now())
        assignments = ", ".join(f"{column} = :{column}" for column in columns)
        kept = ", ".join(f"'{each}'" for each in RunStatus if each.is_terminal or each in unless)
        statement = (
            f"UPDATE runs SET status = :status{', ' if assignments else ''}{assignments} "  # noqa: S608  (own names)
            f"WHERE id = :id AND status NOT IN ({kept})"
        )
        values = _storable({"status": status.value, "id": run_id, **columns})
        return self._writer.call(lambda db: db.execute(statement, values).rowcount == 1)

    def set_progress(self, run_id: str, progress: TrainingProgress) -> None:
        """Show how far a run is, with the next commit. Once a model trains, "preparing" becomes "training"."""
        training = progress.phase_name == Phase.TRAINING
        if progress.step is not None:  # a later call without a step may take this one's place in the commit
            self._last_step[run_id] = (progress.step, progress.total_steps)
        statement = (
            "UPDATE runs SET progress = ?, message = ?, phase = ?, step = coalesce(?, step), "
            "total_steps = coalesce(?, total_steps), "
            "status = CASE WHEN ? AND status = 'preparing' THEN 'training' ELSE status END "
            "WHERE id = ? AND finished_at IS NULL"
        )
        values = [
            progress.progress,
            progress.message,
            progress.phase_name,
            *self._last_step.get(run_id, (None, None)),
            training,
            run_id,
        ]
        self._writer.put_latest(f"progress {run_id}", lambda db: db.execute(statement, values), owner=run_id)

    def set_message(self, run_id: str, message: str) -> None:
        """Show what a run is doing just now, with the next commit."""
        self._writer.put_latest(
            f"message {run_id}",
            lambda db: db.execute(
                "UPDATE runs SET message = ? WHERE id = ? AND finished_at IS NULL", [message, run_id]
            ),
            owner=run_id,
        )

    def record(self, run_id: str, record: Record) -> None:
        """Keep what a trainer or loader measured. Does not wait, except for a DataReport."""
        if isinstance(record, DataReport):
            report = json.dumps(asdict(record))
            self._writer.call(lambda db: db.execute("UPDATE runs SET data_report = ? WHERE id = ?", [report, run_id]))
            return
        row = {"run_id": run_id, **_storable(asdict(record))}
        if isinstance(record, Event):
            row["created_at"] = utc_now()
        self._writer.append(_TABLES[type(record)], row, owner=run_id)

    def raise_refused(self, run_id: str) -> None:
        """Write what is waiting; raises StorageError when a row of this run was refused and nobody was told yet."""
        self._writer.raise_refused(run_id)

    def add_model(self, run_id: str, model: ModelArtifacts, files: Iterable[Row]) -> None:
        """Keep a finished model and its files (kind, path, bytes, sha256)."""

        def add(db: Database) -> None:
            db.table("models").insert(
                {
                    "id": model.model_id,
                    "run_id": run_id,
                    "name": model.model_name,
                    "status": model.training_status,
                    "parameter_count": model.parameter_count,
                    "created_at": model.created_at,
                    "details": json.dumps(model.to_dict()),
                }
            )
            db.table("artifacts").insert_all({"model_id": model.model_id, **file} for file in files)

        self._writer.call(add)

    def remove_model(self, model_id: str) -> None:
        """Forget a model and its artifacts; its files are the artifact store's concern."""

        def remove(db: Database) -> None:
            db.table("artifacts").delete_where("model_id = ?", [model_id])
            db.table("models").delete_where("id = ?", [model_id])

        self._writer.call(remove)

    def set_coordination(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a key-value record."""
        row = {"key": key, "value": json.dumps(value), "updated_at": utc_now()}
        self._writer.call(lambda db: db.table("coordination").upsert(row, pk="key"))

    def interrupt_unfinished(self) -> list[str]:
        """At start: mark runs that no process owns any more as interrupted; their ids. Queued ones stay queued."""

        def interrupt(db: Database) -> list[str]:
            unfinished = [s.value for s in RunStatus if not s.is_terminal and s is not RunStatus.QUEUED]
            marks = ", ".join("?" * len(unfinished))
            ids = [
                str(row[0])
                for row in db.execute(f"SELECT id FROM runs WHERE status IN ({marks})", unfinished)  # noqa: S608
            ]
            for run_id in ids:
                db.table("runs").update(
                    run_id,
                    {
                        "status": RunStatus.INTERRUPTED.value,
                        "message": "The studio was closed while this run was going",
                        "finished_at": utc_now(),
                    },
                )
            return ids

        return self._writer.call(interrupt)


class SQLiteProgressEmitter(ProgressEmitter):
    """Shows a run's progress and models in the database."""

    def __init__(self, log: ProgressLog, run_id: str, store: ArtifactStore) -> None:
        self._log, self._run_id, self._store = log, run_id, store

    async def emit_progress(self, progress: TrainingProgress) -> None:
        self._log.set_progress(self._run_id, progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        files = await asyncio.to_thread(self._store.describe, artifacts.artifacts)
        self._log.add_model(self._run_id, artifacts, files)


_TABLES: dict[type[Record], str] = {
    StepMetrics: "metrics",
    PonderHistogram: "ponder_histograms",
    Evaluation: "evaluations",
    Sample: "samples",
    Event: "events",
}


def _storable(row: Row) -> Row:
    """NaN and infinity as NULL (SQLite would keep infinity); half a letter as a question mark."""

    def storable(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value.encode(errors="replace").decode() if isinstance(value, str) else value

    return {key: storable(value) for key, value in row.items()}


def _run(row: Row) -> Run:
    values = {key: value for key, value in row.items() if key != "start_key"}
    report = values["data_report"]
    config, config_error = _stored_config(values["config"])
    return Run(
        **{
            **values,
            "status": RunStatus(values["status"]),
            "config": config,
            "config_error": config_error,
            "model_names": json.loads(values["model_names"]),
            "data_report": json.loads(report) if report else None,
        }
    )


def _stored_config(text: str) -> tuple[TrainingConfig, str | None]:
    """A config as it was stored, perhaps by another version; what of it cannot be read, or None."""
    try:
        values = json.loads(text)
    except ValueError as error:
        return TrainingConfig(), f"They are not readable ({error})."
    try:
        return TrainingConfig.from_values(values), None
    except ConfigError as error:
        known = {name: value for name, value in values.items() if name not in error.problems}
        try:
            return TrainingConfig.from_values(known), str(error)
        except ConfigError:
            return TrainingConfig(), str(error)

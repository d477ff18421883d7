"""The progress log: what runs are and how far, as rows of the database.

`ProgressReader` reads, from any thread and process; `ProgressLog` also writes, through the one DatabaseWriter. They
know runs as rows; they start and stop nothing.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DataReport,
    Evaluation,
    Event,
    ModelArtifacts,
    Origin,
    Phase,
    PonderHistogram,
    ProgressEmitter,
    Quote,
    Record,
    Rewind,
    RunStatus,
    Sample,
    StepMetrics,
    TrainingProgress,
    utc_now,
)
from cognate_core.errors import ConfigError, NotFound
from cognate_core.lifecycle import sources
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.database import DatabaseWriter, reading

Row = dict[str, Any]

STEP_COLUMNS = tuple(each.name for each in fields(StepMetrics))
BATCH_ROWS = 20_000


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
    stored_config: str  # JSON, perhaps of another version
    model_names: list[str]
    data_report: Row | None
    error: str | None
    error_details: str | None
    folder: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    worked_seconds: float | None  # of all its lives together, by a clock that only goes on
    colour: int  # its place in the order of colours, the same on every page
    parent_run_id: str | None  # the run that it was made of, which may be gone
    relation: str | None  # a Relation of contracts.py
    branch_step: int | None
    quote: Row | None  # fields of a Quote, if one was measured
    group_id: str | None  # the sweep that it belongs to
    group_name: str | None

    @property
    def config(self) -> TrainingConfig:
        """Its settings. Those that cannot be read have their defaults."""
        return _stored_config(self.stored_config)[0]

    @property
    def as_trained(self) -> TrainingConfig:
        """Its settings as its models have them: with the vocabulary that its text made, once that is known."""
        return self.config.fitted(self.data_report)

    @property
    def config_error(self) -> str | None:
        """Why the settings could not be read whole."""
        return _stored_config(self.stored_config)[1]


@dataclass(frozen=True, slots=True)
class RunGroup:
    """The runs of one sweep that are still there, in the order in which they were queued."""

    id: str
    name: str
    run_ids: list[str]


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is to be queued."""

    id: str
    name: str
    config: TrainingConfig
    model_names: list[str]
    folder: Path
    start_key: str | None = None
    origin: Origin | None = None
    quote: Quote | None = None
    group_id: str | None = None
    group_name: str | None = None


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
    note: str
    tags: list[str]

    @property
    def trained_as(self) -> str:
        """Its name in the run, and in all that was recorded of it, whatever a person calls it now."""
        return str(self.details["model_name"])

    @property
    def writes_text(self) -> bool:
        """Whether it is a language model; the others were trained in the Grokking lab, and calculate."""
        return "modular arithmetic" not in self.details["capabilities"]


class ProgressReader:
    """Reads the database at `path`, which may belong to another process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def delayed_seconds(self) -> float:
        """How long figures have been waiting to be written; 0 while that is no longer than usual, or not known here."""
        return 0.0

    def run(self, run_id: str) -> Run:
        """The run with this id. Raises NotFound when there is none."""
        rows = self._rows(f"SELECT * FROM runs WHERE id = ? AND {_HERE}", run_id)
        if not rows:
            raise NotFound("There is no run with this address. It may have been deleted.")
        return _run(rows[0])

    def runs(self, limit: int | None = None, *, statuses: Collection[RunStatus] | None = None) -> list[Run]:
        """The newest runs first: all, or those of `statuses`; with `limit` no more than so many."""
        rows = self._rows(
            f"SELECT * FROM runs WHERE {_HERE} AND (?1 IS NULL OR status IN (SELECT value FROM json_each(?1))) "
            "ORDER BY rowid DESC LIMIT ?2",
            None if statuses is None else json.dumps(list(statuses)),
            -1 if limit is None else limit,
        )
        return [_run(row) for row in rows]

    def unfinished_runs(self) -> list[Run]:
        """Runs that are going on or wait for their turn, in the order of the queue."""
        rows = self._rows(f"SELECT * FROM runs WHERE {_ACTIVE} OR status = 'queued' ORDER BY queue_position")
        return [_run(row) for row in rows]

    def is_busy(self) -> bool:
        """Whether a run is going on."""
        return bool(self._rows(f"SELECT 1 FROM runs WHERE {_ACTIVE} LIMIT 1"))

    def runs_page(
        self, limit: int, before: int | None = None, status: RunStatus | None = None
    ) -> list[tuple[int, Run]]:
        """The newest runs first, each with its place; with `before` those behind that place, with `status` those."""
        rows = self._rows(
            "SELECT rowid AS place, * FROM runs WHERE (?1 IS NULL OR rowid < ?1) AND (?2 IS NULL OR status = ?2) "
            f"AND {_HERE} ORDER BY rowid DESC LIMIT ?3",
            before,
            status.value if status else None,
            limit,
        )
        return [(row.pop("place"), _run(row)) for row in rows]

    def run_started_with(self, start_key: str) -> str | None:
        """The id of the run that was started with this key."""
        rows = self._rows(f"SELECT id FROM runs WHERE start_key = ? AND {_HERE}", start_key)
        return str(rows[0]["id"]) if rows else None

    def runs_of_group(self, group_id: str) -> list[Run]:
        """The runs of a sweep in the order in which they were queued. Raises NotFound when there is none."""
        rows = self._rows(f"SELECT * FROM runs WHERE group_id = ? AND {_HERE} ORDER BY rowid", group_id)
        if not rows:
            raise NotFound("There is no sweep with this address. Its runs may have been deleted.")
        return [_run(row) for row in rows]

    def groups(self) -> list[RunGroup]:
        """The sweeps, the newest first."""
        rows = self._rows(
            f"SELECT id, group_id, group_name FROM runs WHERE group_id IS NOT NULL AND {_HERE} ORDER BY rowid DESC"
        )
        groups: dict[str, RunGroup] = {}
        for row in rows:
            group = groups.setdefault(row["group_id"], RunGroup(row["group_id"], row["group_name"] or "", []))
            group.run_ids.insert(0, row["id"])
        return list(groups.values())

    def queued_run_ids(self) -> list[str]:
        """Runs that wait for their turn, the next one first."""
        rows = self._rows("SELECT id FROM runs WHERE status = ? ORDER BY queue_position", RunStatus.QUEUED.value)
        return [row["id"] for row in rows]

    def metrics(self, run_id: str, after_id: int = 0) -> list[Row]:
        """Step rows of a run that were written after the row `after_id`, in order of writing."""
        return self._rows("SELECT * FROM metrics WHERE run_id = ? AND id > ? ORDER BY id", run_id, after_id)

    def metrics_after(self, run_id: str, model_name: str, step: int, limit: int) -> list[Row]:
        """At most `limit` step rows of a model, those that follow `step`, in order of step."""
        return self._rows(
            "SELECT * FROM metrics WHERE run_id = ? AND model_name = ? AND step > ? ORDER BY step LIMIT ?",
            run_id,
            model_name,
            step,
            limit,
        )

    def metrics_at(self, run_id: str, model_name: str, steps: Iterable[int]) -> list[Row]:
        """The step rows of a model at `steps`, in order of step."""
        return self._rows(
            "SELECT * FROM metrics WHERE run_id = ? AND model_name = ? AND step IN (SELECT value FROM json_each(?)) "
            "ORDER BY step",
            run_id,
            model_name,
            json.dumps(list(steps)),
        )

    def step_rows(
        self, run_id: str, model_name: str, after: int = -1, up_to: int | None = None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The step rows of a model with `after` < step <= `up_to`, as STEP_COLUMNS, in batches: there may be a million.

        Raises:
            StorageError: the database cannot be read.
        """
        with reading(self.path) as connection:
            connection.row_factory = None
            cursor = connection.execute(
                f"SELECT {', '.join(STEP_COLUMNS)} FROM metrics WHERE run_id = ? AND model_name = ? AND step > ? "
                "AND step <= ? ORDER BY step",
                (run_id, model_name, after, 2**63 - 1 if up_to is None else up_to),
            )
            while rows := cursor.fetchmany(BATCH_ROWS):
                yield rows

    def losses(self, run_id: str, model_name: str) -> dict[int, float | None]:
        """The loss of a model at each step; None where it was no number."""
        with reading(self.path) as connection:
            connection.row_factory = None
            query = "SELECT step, loss FROM metrics WHERE run_id = ? AND model_name = ? ORDER BY step"
            return dict(connection.execute(query, (run_id, model_name)))

    def last_metrics(self, run_id: str, count: int, *, model_name: str | None = None) -> list[Row]:
        """The newest step rows, oldest of them first; with `model_name` those of that model."""
        if model_name is None:
            return self._rows("SELECT * FROM metrics WHERE run_id = ? ORDER BY id DESC LIMIT ?", run_id, count)[::-1]
        return self._rows(
            "SELECT * FROM metrics WHERE run_id = ? AND model_name = ? ORDER BY step DESC LIMIT ?",
            run_id,
            model_name,
            count,
        )[::-1]

    def metrics_near(self, run_id: str, model_name: str, step: int) -> Row | None:
        """The step row of a model that is closest to `step`; None when there is none."""
        rows = self._rows(
            "SELECT * FROM (SELECT * FROM metrics WHERE run_id = ?1 AND model_name = ?2 AND step <= ?3 "
            "ORDER BY step DESC LIMIT 1) UNION ALL SELECT * FROM (SELECT * FROM metrics WHERE run_id = ?1 AND "
            "model_name = ?2 AND step > ?3 ORDER BY step LIMIT 1)",
            run_id,
            model_name,
            step,
        )
        return min(rows, key=lambda row: abs(int(row["step"]) - step), default=None)

    def evaluations(self, run_id: str, after_id: int = 0, *, model_name: str | None = None) -> list[Row]:
        """Held-out measurements, in order of writing; with `model_name` those of that model."""
        return self._rows(
            "SELECT * FROM evaluations WHERE run_id = ?1 AND id > ?2 AND (?3 IS NULL OR model_name = ?3) ORDER BY id",
            run_id,
            after_id,
            model_name,
        )

    def newest_evaluations(self, run_id: str, model_name: str) -> dict[str, float | None]:
        """The last held-out loss of a model on each dataset; None where it was no number."""
        rows = self._rows(
            "SELECT dataset, loss, max(id) FROM evaluations WHERE run_id = ? AND model_name = ? GROUP BY dataset",
            run_id,
            model_name,
        )
        return {row["dataset"]: row["loss"] for row in rows}

    def best_evaluation(self, run_id: str) -> Row | None:
        """The step with the lowest held-out loss (mean over its datasets) and its model's name; None: unknown."""
        rows = self._rows(
            "SELECT model_name, step, avg(loss) AS loss FROM evaluations WHERE run_id = ? GROUP BY model_name, step "
            "HAVING count(loss) = count(*) ORDER BY loss, step LIMIT 1",
            run_id,
        )
        return rows[0] if rows else None

    def heldout_losses(self, run_ids: Sequence[str]) -> dict[str, Row]:
        """Of each run that was checked: "best_loss" and its "best_step", "last_loss" and its "last_step".

        Held-out losses, each the mean over the datasets of one model; None where one of them was no number.
        """
        rows = self._rows(
            "SELECT run_id, step, iif(count(loss) = count(*), avg(loss), NULL) AS loss FROM evaluations "
            "WHERE run_id IN (SELECT value FROM json_each(?)) GROUP BY run_id, model_name, step ORDER BY max(id)",
            json.dumps(list(run_ids)),
        )
        losses: dict[str, Row] = {}
        for row in rows:
            known = losses.setdefault(row["run_id"], {"best_loss": None, "best_step": None})
            known |= {"last_loss": row["loss"], "last_step": row["step"]}
            if row["loss"] is not None and (known["best_loss"] is None or row["loss"] < known["best_loss"]):
                known |= {"best_loss": row["loss"], "best_step": row["step"]}
        return losses

    def ponder_histograms(self, run_id: str, *, model_name: str | None = None) -> list[Row]:
        """Counts of tokens by ponder steps, one row a check, in order of writing; with `model_name` of that."""
        rows = self._rows(
            "SELECT * FROM ponder_histograms WHERE run_id = ?1 AND (?2 IS NULL OR model_name = ?2) ORDER BY id",
            run_id,
            model_name,
        )
        counts = json.loads(f"[{','.join(row['counts'] for row in rows)}]")  # at once: a long run has thousands
        return [{**row, "counts": each} for row, each in zip(rows, counts, strict=True)]

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

    def sample_steps(self, run_id: str, model_name: str) -> list[int]:
        """The steps at which a model wrote samples, in their order."""
        rows = self._rows(
            "SELECT DISTINCT step FROM samples WHERE run_id = ? AND model_name = ? ORDER BY step", run_id, model_name
        )
        return [row["step"] for row in rows]

    def samples_at(self, run_id: str, model_name: str, step: int) -> list[Row]:
        """What a model wrote at a step, in order of writing."""
        return self._rows(
            "SELECT * FROM samples WHERE run_id = ? AND model_name = ? AND step = ? ORDER BY id",
            run_id,
            model_name,
            step,
        )

    def events(self, run_id: str) -> list[Row]:
        """Events, in order of writing."""
        return self._rows("SELECT * FROM events WHERE run_id = ? ORDER BY id", run_id)

    def warnings(self, run_id: str) -> list[str]:
        """What events say that are more than information, each sentence once, in order of writing."""
        rows = self._rows(
            "SELECT message FROM events WHERE run_id = ? AND level != 'info' GROUP BY message ORDER BY min(id)", run_id
        )
        return [row["message"] for row in rows]

    def records_after(
        self, table: Literal["evaluations", "samples", "events"], run_id: str, after_id: int, limit: int
    ) -> list[Row]:
        """At most `limit` rows of a run, those that were written after the row `after_id`, in order of writing."""
        return self._rows(
            f"SELECT * FROM {table} WHERE run_id = ? AND id > ? ORDER BY id LIMIT ?", run_id, after_id, limit
        )

    def models(self, run_id: str | None = None) -> list[TrainedModel]:
        """Finished models, newest first."""
        rows = self._rows(
            f"SELECT models.*, runs.name AS run_name FROM {_MODELS_HERE} "
            "WHERE ?1 IS NULL OR run_id = ?1 ORDER BY models.rowid DESC",
            run_id,
        )
        return [_model(row) for row in rows]

    def model_totals(self) -> tuple[int, int]:
        """How many finished models there are, and how many parameters they have together."""
        (row,) = self._rows(
            f"SELECT count(*) AS models, coalesce(sum(parameter_count), 0) AS parameters FROM {_MODELS_HERE}"
        )
        return row["models"], row["parameters"]

    def models_page(
        self, limit: int, before: int | None = None, *, run_id: str | None = None, tag: str | None = None
    ) -> list[tuple[int, TrainedModel]]:
        """The newest models first, each with its place; with `before` those behind that place."""
        rows = self._rows(
            f"SELECT models.rowid AS place, models.*, runs.name AS run_name FROM {_MODELS_HERE} "
            "WHERE (?1 IS NULL OR models.rowid < ?1) AND (?2 IS NULL OR run_id = ?2) AND "
            "(?3 IS NULL OR EXISTS (SELECT 1 FROM json_each(coalesce(nullif(tags, ''), '[]')) WHERE value = ?3)) "
            "ORDER BY models.rowid DESC LIMIT ?4",
            before,
            run_id,
            tag,
            limit,
        )
        return [(row.pop("place"), _model(row)) for row in rows]

    def model(self, model_id: str) -> TrainedModel:
        """The model with this id. Raises NotFound when there is none."""
        rows = self._rows(f"SELECT models.*, runs.name AS run_name FROM {_MODELS_HERE} WHERE models.id = ?", model_id)
        if rows:
            return _model(rows[0])
        raise NotFound("There is no model with this address. It may have been deleted.")

    def training_seconds(self, run: Run) -> float | None:
        """Seconds of training of all models of a run together; None while that is unknown."""
        seconds = [model.details["training_stats"].get("seconds") for model in self.models(run.id)]
        known = [each for each in seconds if each is not None]
        return sum(known) if len(known) == len(run.model_names) else None

    def artifacts(self, model_id: str) -> list[Row]:
        """The files of a model."""
        return self._files("models.id = ?", model_id)

    def export_run(self, run_id: str) -> dict[str, list[Row]]:
        """The rows of a run, its models and their files, by table. What was measured stands in the models' own logs."""
        return {
            "runs": _exported(self._rows(f"SELECT * FROM runs WHERE id = ? AND {_HERE}", run_id)),
            "models": _exported(
                self._rows(f"SELECT models.* FROM {_MODELS_HERE} WHERE run_id = ? ORDER BY models.rowid", run_id)
            ),
            "artifacts": self._files("run_id = ?", run_id),
        }

    def export_model(self, model_id: str) -> dict[str, list[Row]]:
        """The rows of a model and its files, by table."""
        return {
            "models": _exported(self._rows(f"SELECT models.* FROM {_MODELS_HERE} WHERE models.id = ?", model_id)),
            "artifacts": self.artifacts(model_id),
        }

    def is_here(self, run_id: str) -> bool:
        """Whether there is such a run, and not in the trash."""
        return bool(self._rows(f"SELECT 1 FROM runs WHERE id = ? AND {_HERE}", run_id))

    def is_taken(self, table: Literal["runs", "models"], row_id: str) -> bool:
        """Whether a run or model has this id, also one in the trash."""
        return bool(self._rows(f"SELECT 1 FROM {table} WHERE id = ?", row_id))

    def columns(self, table: str) -> dict[str, str]:
        """The columns of a table and what each was declared to hold: "TEXT", "INTEGER" or "FLOAT"."""
        return {row["name"]: row["type"] for row in self._rows("SELECT name, type FROM pragma_table_info(?)", table)}

    def coordination(self, key: str) -> Row | None:
        """The key-value record, with "updated_at", or None."""
        rows = self._rows("SELECT value, updated_at FROM coordination WHERE key = ?", key)
        return {**json.loads(rows[0]["value"]), "updated_at": rows[0]["updated_at"]} if rows else None

    def _files(self, which: str, value: str) -> list[Row]:
        return self._rows(
            f"SELECT artifacts.* FROM {_MODELS_HERE} JOIN artifacts ON model_id = models.id WHERE {which} "
            "ORDER BY artifacts.rowid",
            value,
        )

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
        origin: Origin | None = None,
        quote: Quote | None = None,
    ) -> str:
        """Add a queued run; its id. When a run with this start_key exists, nothing is added and its id is given."""

        new = NewRun(run_id, name, config, model_names, folder, start_key, origin, quote)
        return self.create_runs([new])[0]

    def create_runs(self, new_runs: Sequence[NewRun]) -> list[str]:
        """Add queued runs, all or none; their ids.

        When a run with one of their start keys exists, nothing is added: the ids are those of the runs that have them.
        """

        def create(db: Database) -> list[str]:
            keys = [new.start_key for new in new_runs if new.start_key is not None]
            marks = ", ".join("?" * len(keys))
            found = db.execute(
                f"SELECT id FROM runs WHERE start_key IN ({marks}) AND {_HERE} ORDER BY rowid", keys
            ).fetchall()
            if found:
                return [str(run_id) for (run_id,) in found]
            for new in new_runs:
                db.table("runs").insert(
                    {
                        "id": new.id,
                        "name": new.name,
                        "status": RunStatus.QUEUED.value,
                        "phase": "",
                        "progress": 0.0,
                        "message": "Waiting for its turn",
                        "config": new.config.model_dump_json(),
                        "model_names": json.dumps(new.model_names),
                        "start_key": new.start_key,
                        "folder": str(new.folder),
                        "created_at": utc_now(),
                        "queue_position": _end_of_queue(db),
                        "colour": _next_colour(db),
                        "quote": json.dumps(asdict(new.quote)) if new.quote else None,
                        "group_id": new.group_id,
                        "group_name": new.group_name,
                        **(asdict(new.origin) if new.origin else {}),
                    }
                )
            return [new.id for new in new_runs]

        return self._writer.call(create)

    def claim(self, run_id: str) -> bool:
        """Take a queued run for execution; False when it is no longer queued."""
        statement = (
            "UPDATE runs SET status = ?, started_at = coalesce(started_at, ?), message = ? WHERE id = ? AND status = ?"
        )
        values = [RunStatus.PREPARING.value, utc_now(), "Getting ready", run_id, RunStatus.QUEUED.value]
        return self._writer.call(lambda db: db.execute(statement, values).rowcount == 1)

    def requeue(self, run_id: str) -> bool:
        """Have a run that can be resumed wait for its turn, behind the others; False when it cannot."""

        def requeue(db: Database) -> bool:
            statement = (
                "UPDATE runs SET status = ?, message = ?, error = NULL, error_details = NULL, finished_at = NULL, "
                f"queue_position = ? WHERE id = ? AND {_HERE} AND {_may_become(RunStatus.QUEUED)}"
            )
            values = [RunStatus.QUEUED.value, "Waiting for its turn", _end_of_queue(db), run_id]
            return db.execute(statement, values).rowcount == 1

        return self._writer.call(requeue)

    def move_in_queue(self, run_id: str, places: int) -> None:
        """Let a queued run change places with the one `places` before (negative) or behind it, if there is one."""

        def move(db: Database) -> None:
            queue = db.execute(
                "SELECT id, queue_position FROM runs WHERE status = ? ORDER BY queue_position", [RunStatus.QUEUED.value]
            ).fetchall()
            here = next((place for place, (queued_id, _) in enumerate(queue) if queued_id == run_id), None)
            if here is None or not 0 <= here + places < len(queue):
                return
            (own_id, own), (other_id, other) = queue[here], queue[here + places]
            db.execute("UPDATE runs SET queue_position = ? WHERE id = ?", [other, own_id])
            db.execute("UPDATE runs SET queue_position = ? WHERE id = ?", [own, other_id])

        self._writer.call(move)

    def set_status(self, run_id: str, status: RunStatus, *, only_from: RunStatus | None = None, **columns: Any) -> bool:
        """Move a run to `status`; False, and nothing is changed, when its life does not lead there (lifecycle.py).

        `only_from`: nor when it is anything else.
        """
        if status.is_terminal:
            columns.setdefault("finished_at", utc_now())
        assignments = "".join(f", {column} = :{column}" for column in columns)
        before = _may_become(status) + (f" AND status = '{only_from.value}'" if only_from else "")
        statement = f"UPDATE runs SET status = :status{assignments} WHERE id = :id AND {before}"
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
            "WHERE id = ? AND " + _ACTIVE
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
                f"UPDATE runs SET message = ? WHERE id = ? AND {_ACTIVE}",
                [message, run_id],
            ),
            owner=run_id,
        )

    def record(self, run_id: str, record: Record) -> None:
        """Keep what a trainer or loader measured. Does not wait, except for a DataReport or a Rewind."""
        if isinstance(record, DataReport):
            report = json.dumps(asdict(record))
            self._writer.call(lambda db: db.execute("UPDATE runs SET data_report = ? WHERE id = ?", [report, run_id]))
            return
        if isinstance(record, Rewind):
            self._rewind(run_id, record)
            return
        self._writer.append(_TABLES[type(record)], _row(run_id, record), owner=run_id)

    def fill_gaps(self, run_id: str, records: Iterable[Record]) -> int:
        """Add what a model's own log has and the database lost (the last second before a power cut, or all); how much.

        Where the database has rows of a model, only later ones are added.
        """

        def fill(db: Database) -> int:
            added = 0
            known: dict[tuple[str, str], tuple[int, set[tuple[Any, ...]]]] = {}
            for record in records:
                table = _TABLES.get(type(record))
                if table is None:
                    continue
                row = _row(run_id, record)
                values = {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()}
                key = (table, row["model_name"] or "")
                if key not in known:  # of several rows of the newest step some may be missing, of events any
                    model = [run_id, row["model_name"]]
                    (step,) = db.execute(
                        f"SELECT max(step) FROM {table} WHERE run_id = ? AND model_name IS ?", model
                    ).fetchone()
                    since = -1 if step is None or table == "events" else step
                    rows = db.execute(
                        f"SELECT {', '.join(values)} FROM {table} WHERE run_id = ? AND model_name IS ? "
                        "AND (step >= ? OR step IS NULL)",
                        [*model, since],
                    )
                    known[key] = since, set(rows.fetchall())
                since, there = known[key]
                if (row["step"] or 0) >= since and tuple(values.values()) not in there:
                    db.table(table).insert(row)
                    added += 1
            return added

        return self._writer.call(fill)

    @property
    def delayed_seconds(self) -> float:
        return self._writer.delayed_seconds

    def raise_refused(self, run_id: str) -> None:
        """Write what is waiting; raises StorageError when a row of this run was refused and nobody was told yet."""
        self._writer.raise_refused(run_id)

    def add_model(self, run_id: str, model: ModelArtifacts, files: Iterable[Row]) -> None:
        """Keep a finished model and its files (kind, path, bytes, sha256).

        A model that was stopped and then resumed stays the same model: it keeps its id.
        """

        def add(db: Database) -> None:
            found = db.execute(
                f"SELECT id FROM models WHERE run_id = ? AND name = ? AND {_HERE}", [run_id, model.model_name]
            ).fetchone()
            model_id = found[0] if found else model.model_id
            db.table("models").upsert(
                {
                    "id": model_id,
                    "run_id": run_id,
                    "name": model.model_name,
                    "status": model.training_status,
                    "parameter_count": model.parameter_count,
                    "created_at": model.created_at,
                    "details": json.dumps({**model.to_dict(), "model_id": model_id}),
                },
                pk="id",
            )
            db.table("artifacts").delete_where("model_id = ?", [model_id])
            db.table("artifacts").insert_all({"model_id": model_id, **file} for file in files)

        self._writer.call(add)

    def remove_model(self, model_id: str) -> None:
        """Forget a model and its artifacts; its files are the artifact store's concern."""
        self._writer.call(lambda db: _remove_model(db, model_id))

    def remove_run(self, run_id: str) -> None:
        """Forget a run and all that was recorded of it; its files are the artifact store's concern."""
        self._writer.call(lambda db: _remove_run(db, run_id))

    def move_to_trash(self, kind: Literal["run", "model"], row_id: str, entry_id: str) -> None:
        """Have a run or model be seen no more. All its rows stay as they are, until they are put back or forgotten."""
        statement = f"UPDATE {kind}s SET trash_id = ? WHERE id = ?"
        self._writer.call(lambda db: db.execute(statement, [entry_id, row_id]))

    def put_back(self, entry_id: str) -> bool:
        """Have what lies in the trash under this entry again as it was; False when there are no rows of it."""

        def put_back(db: Database) -> bool:
            db.execute(
                "UPDATE runs SET start_key = NULL WHERE trash_id = ? AND start_key IN "
                f"(SELECT start_key FROM runs WHERE {_HERE})",  # whoever pressed again since has the key
                [entry_id],
            )
            back = [
                db.execute(f"UPDATE {table} SET trash_id = NULL WHERE trash_id = ?", [entry_id]).rowcount
                for table in ("runs", "models")
            ]
            return any(back)

        return self._writer.call(put_back)

    def forget(self, entry_id: str) -> None:
        """Remove what lies in the trash under this entry for good."""

        def forget(db: Database) -> None:
            for table, remove in (("models", _remove_model), ("runs", _remove_run)):
                for (row_id,) in db.execute(f"SELECT id FROM {table} WHERE trash_id = ?", [entry_id]).fetchall():
                    remove(db, row_id)

        self._writer.call(forget)

    def import_rows(self, rows: Mapping[str, Iterable[Row]]) -> None:
        """Add what `export_run` or `export_model` gave, in one transaction; columns of other versions are left out."""
        self._writer.call(lambda db: _import(db, rows))

    def rename_run(self, run_id: str, name: str) -> None:
        """Call a run otherwise."""
        self._writer.call(lambda db: db.execute("UPDATE runs SET name = ? WHERE id = ?", [name, run_id]))

    def describe_model(self, model_id: str, *, title: str, note: str, tags: list[str]) -> None:
        """Keep what a person calls a model, and says of it."""
        values = [title, note, json.dumps(tags), model_id]
        self._writer.call(lambda db: db.execute("UPDATE models SET title = ?, note = ?, tags = ? WHERE id = ?", values))

    def set_coordination(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a key-value record."""
        row = {"key": key, "value": json.dumps(value), "updated_at": utc_now()}
        self._writer.call(lambda db: db.table("coordination").upsert(row, pk="key"))

    def interrupt_unfinished(self) -> list[str]:
        """At start: mark runs that no process owns any more as interrupted; their ids. Queued ones stay queued."""

        def interrupt(db: Database) -> list[str]:
            ids = [str(row[0]) for row in db.execute(f"SELECT id FROM runs WHERE {_ACTIVE}")]
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

    def _rewind(self, run_id: str, rewind: Rewind) -> None:
        def forget(db: Database) -> None:
            steps = {"evaluations": rewind.checked_step, "samples": rewind.checked_step}
            for table in ("metrics", "ponder_histograms", "evaluations", "samples"):
                db.table(table).delete_where(
                    "run_id = ? AND model_name = ? AND step > ?",
                    [run_id, rewind.model_name, steps.get(table, rewind.step)],
                )
            db.execute("UPDATE runs SET step = ? WHERE id = ?", [max(0, rewind.step), run_id])

        self._last_step.pop(run_id, None)
        self._writer.call(forget)


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


_HERE = "trash_id IS NULL"  # of a run: it does not lie in the trash
_MODELS_HERE = (
    "models JOIN runs ON runs.id = run_id AND runs.trash_id IS NULL AND models.trash_id IS NULL"  # nor does its run
)
_ACTIVE = f"status IN ({', '.join(repr(status.value) for status in RunStatus if status.is_active)})"


def _may_become(status: RunStatus) -> str:
    """The SQL condition that a run's life leads from where it is to `status`."""
    return f"status IN ({', '.join(repr(source.value) for source in sources(status))})"


def _remove_model(db: Database, model_id: str) -> None:
    db.table("artifacts").delete_where("model_id = ?", [model_id])
    db.table("models").delete_where("id = ?", [model_id])


def _remove_run(db: Database, run_id: str) -> None:
    db.execute("DELETE FROM artifacts WHERE model_id IN (SELECT id FROM models WHERE run_id = ?)", [run_id])
    for table in ("models", *_TABLES.values()):
        db.table(table).delete_where("run_id = ?", [run_id])
    db.table("runs").delete_where("id = ?", [run_id])


def _exported(rows: list[Row]) -> list[Row]:
    """Rows as they may leave the database: where they lie in its trash is nobody else's concern."""
    return [{column: value for column, value in row.items() if column != "trash_id"} for row in rows]


def _import(db: Database, rows: Mapping[str, Iterable[Row]]) -> None:
    for table in ("runs", "models", "artifacts"):
        known = set(db.table(table).columns_dict) - {"trash_id"}
        for row in rows.get(table, ()):
            values = {column: value for column, value in row.items() if column in known}
            if table == "runs" and not _is_free_colour(db, values.get("colour")):
                values["colour"] = _next_colour(db)
            if table == "runs" and _key_is_used(db, values.get("start_key")):
                values["start_key"] = None
            db.table(table).insert(values)


def _next_colour(db: Database) -> int:
    (last,) = db.execute("SELECT max(colour) FROM runs").fetchone()
    return 0 if last is None else int(last) + 1


def _is_free_colour(db: Database, colour: object) -> bool:
    return isinstance(colour, int) and not db.execute("SELECT 1 FROM runs WHERE colour = ?", [colour]).fetchone()


def _key_is_used(db: Database, start_key: object) -> bool:
    """Whether a run was started with this key since the one that had it went to the trash."""
    return db.execute(f"SELECT 1 FROM runs WHERE start_key = ? AND {_HERE}", [start_key]).fetchone() is not None


def _end_of_queue(db: Database) -> float:
    (last,) = db.execute("SELECT max(queue_position) FROM runs").fetchone()
    return (last or 0.0) + 1.0


def _row(run_id: str, record: Record) -> Row:
    return {"run_id": run_id, **_storable(asdict(record))}


def _storable(row: Row) -> Row:
    """NaN and infinity as NULL (SQLite would keep infinity); half a letter as a question mark."""

    def storable(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value.encode(errors="replace").decode() if isinstance(value, str) else value

    return {key: storable(value) for key, value in row.items()}


def _run(row: Row) -> Run:
    hidden = ("start_key", "queue_position", "trash_id", "config")
    values = {key: value for key, value in row.items() if key not in hidden}
    report, quote = values["data_report"], values["quote"]
    return Run(
        **{
            **values,
            "status": RunStatus(values["status"]),
            "stored_config": row["config"],
            "model_names": json.loads(values["model_names"]),
            "data_report": json.loads(report) if report else None,
            "colour": values["colour"] or 0,
            "quote": json.loads(quote) if quote else None,
        }
    )


def _model(row: Row) -> TrainedModel:
    title = row.pop("title")
    del row["trash_id"]
    return TrainedModel(
        **{
            **row,
            "name": title or row["name"],
            "details": json.loads(row["details"]),
            "note": row["note"] or "",
            "tags": json.loads(row["tags"]) if row["tags"] else [],
        }
    )


def check_rows(rows: Mapping[str, Iterable[Row]]) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError unless these can be rows of one run."""
    (run,) = rows["runs"]
    names = {field.name for field in fields(Run)} - {"stored_config"} | {"config"}
    known = _run({**dict.fromkeys(names), **{name: value for name, value in run.items() if name in names}})
    _stored_config(known.stored_config)
    for value in (known.progress, known.worked_seconds, known.step, known.total_steps):
        if not isinstance(value, int | float | None):
            raise ValueError(f"{value!r} is no number")
    if known.quote is not None:
        Quote(**known.quote)
    if not isinstance(known.created_at, str) or not all(isinstance(name, str) for name in known.model_names):
        raise ValueError("its date or its models' names are none")
    if not all(isinstance(text, str | None) for text in (known.group_id, known.group_name)):
        raise ValueError("its sweep is none")
    for model in rows["models"]:
        json.loads(model["details"])["artifacts"].get("weights")


@lru_cache(maxsize=2048)
def _stored_config(text: str) -> tuple[TrainingConfig, str | None]:
    """A config as it was stored, perhaps by another version; what of it cannot be read, or None."""
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("they are no settings")
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

"""Write the progress log through the DatabaseWriter: the runs and their progress.

It treats runs as rows; it starts and stops nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DataReport,
    ModelArtifacts,
    Origin,
    Phase,
    Record,
    Rewind,
    RunStatus,
    TimeEstimate,
    TrainingProgress,
    utc_now,
)
from cognate_core.contracts.lifecycle import sources
from cognate_core.storage.database import DatabaseWriter
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import ACTIVE, HERE, TABLES, NewRun, Row, row_of, storable_row, with_current_names


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
        time_estimate: TimeEstimate | None = None,
    ) -> str:
        """Add a queued run and return its id. If a run with this start_key exists, add nothing and return that id."""

        new = NewRun(run_id, name, config, model_names, folder, start_key, origin, time_estimate)
        return self.create_runs([new])[0]

    def create_runs(self, new_runs: Sequence[NewRun]) -> list[str]:
        """Add queued runs, all or none, and return their ids.

        If runs with any of their start keys exist, add nothing and return the ids of those.
        """

        def create(db: Database) -> list[str]:
            keys = [new.start_key for new in new_runs if new.start_key is not None]
            marks = ", ".join("?" * len(keys))
            found = db.execute(
                f"SELECT id FROM runs WHERE start_key IN ({marks}) AND {HERE} ORDER BY rowid", keys
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
                        "time_estimate": json.dumps(asdict(new.time_estimate)) if new.time_estimate else None,
                        "group_id": new.group_id,
                        "group_name": new.group_name,
                        **(asdict(new.origin) if new.origin else {}),
                    }
                )
            return [new.id for new in new_runs]

        return self._writer.call(create)

    def claim(self, run_id: str) -> bool:
        """Take a queued run for execution; False if it is no longer queued."""
        statement = (
            "UPDATE runs SET status = ?, started_at = coalesce(started_at, ?), message = ? WHERE id = ? AND status = ?"
        )
        values = [RunStatus.PREPARING.value, utc_now(), "Getting ready", run_id, RunStatus.QUEUED.value]
        return self._writer.call(lambda db: db.execute(statement, values).rowcount == 1)

    def requeue(self, run_id: str) -> bool:
        """Put a run at the end of the queue to be resumed; False if it cannot be."""

        def requeue(db: Database) -> bool:
            statement = (
                "UPDATE runs SET status = ?, message = ?, error = NULL, error_details = NULL, finished_at = NULL, "
                f"queue_position = ? WHERE id = ? AND {HERE} AND {_may_become(RunStatus.QUEUED)}"
            )
            values = [RunStatus.QUEUED.value, "Waiting for its turn", _end_of_queue(db), run_id]
            return db.execute(statement, values).rowcount == 1

        return self._writer.call(requeue)

    def move_in_queue(self, run_id: str, places: int) -> None:
        """Swap a queued run with the one `places` before (negative) or after it, if there is one."""

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
        """Move a run to `status`; False, and nothing changes, if lifecycle.py does not allow it.

        `only_from`: allow it only from this status.
        """
        if status.is_terminal:
            columns.setdefault("finished_at", utc_now())
        assignments = "".join(f", {column} = :{column}" for column in columns)
        before = _may_become(status) + (f" AND status = '{only_from.value}'" if only_from else "")
        statement = f"UPDATE runs SET status = :status{assignments} WHERE id = :id AND {before}"
        values = storable_row({"status": status.value, "id": run_id, **columns})
        return self._writer.call(lambda db: db.execute(statement, values).rowcount == 1)

    def set_progress(self, run_id: str, progress: TrainingProgress) -> None:
        """Show a run's progress, with the next commit. Once a model trains, "preparing" becomes "training"."""
        training = progress.phase_name == Phase.TRAINING
        if progress.step is not None:  # a later call without a step may replace this one in the commit
            self._last_step[run_id] = (progress.step, progress.total_steps)
        statement = (
            "UPDATE runs SET progress = ?, message = ?, phase = ?, step = coalesce(?, step), "
            "total_steps = coalesce(?, total_steps), "
            "status = CASE WHEN ? AND status = 'preparing' THEN 'training' ELSE status END "
            "WHERE id = ? AND " + ACTIVE
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
        """Show what a run is doing now, with the next commit."""
        self._writer.put_latest(
            f"message {run_id}",
            lambda db: db.execute(
                f"UPDATE runs SET message = ? WHERE id = ? AND {ACTIVE}",
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
        self._writer.append(TABLES[type(record)], row_of(run_id, record), owner=run_id)

    def fill_gaps(self, run_id: str, records: Iterable[Record]) -> int:
        """Add records that a model's own log has but the database lost (the last second before a power cut, or all).

        If the database has rows of a model, only later ones are added. Returns how many were added.
        """

        def fill(db: Database) -> int:
            added = 0
            known: dict[tuple[str, str], tuple[int, set[tuple[Any, ...]]]] = {}
            for record in records:
                table = TABLES.get(type(record))
                if table is None:
                    continue
                row = row_of(run_id, record)
                values = {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()}
                key = (table, row["model_name"] or "")
                if key not in known:  # any event may be missing, and some of several rows of the newest step
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
        """Write what is waiting. Raises StorageError if a row of this run was refused and no error was raised yet."""
        self._writer.raise_refused(run_id)

    def add_model(self, run_id: str, model: ModelArtifacts, files: Iterable[Row]) -> None:
        """Keep a finished model and its files (kind, path, bytes, sha256).

        A model that was stopped and then resumed stays the same model: it keeps its id.
        """

        def add(db: Database) -> None:
            found = db.execute(
                f"SELECT id FROM models WHERE run_id = ? AND name = ? AND {HERE}", [run_id, model.model_name]
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
        """Remove a model's rows and those of its artifacts, not its files."""
        self._writer.call(lambda db: _remove_model(db, model_id))

    def remove_run(self, run_id: str) -> None:
        """Remove a run's rows and everything recorded about it, not its files."""
        self._writer.call(lambda db: _remove_run(db, run_id))

    def move_to_trash(self, kind: Literal["run", "model"], row_id: str, entry_id: str) -> None:
        """Hide a run or model. Its rows stay unchanged until they are restored or forgotten."""
        statement = f"UPDATE {kind}s SET trash_id = ? WHERE id = ?"
        self._writer.call(lambda db: db.execute(statement, [entry_id, row_id]))

    def restore(self, entry_id: str) -> bool:
        """Restore what is in the trash under this entry; False if it has no rows."""

        def restore(db: Database) -> bool:
            db.execute(
                "UPDATE runs SET start_key = NULL WHERE trash_id = ? AND start_key IN "
                f"(SELECT start_key FROM runs WHERE {HERE})",  # a run started since then keeps the key
                [entry_id],
            )
            back = [
                db.execute(f"UPDATE {table} SET trash_id = NULL WHERE trash_id = ?", [entry_id]).rowcount
                for table in ("runs", "models")
            ]
            return any(back)

        return self._writer.call(restore)

    def forget(self, entry_id: str) -> None:
        """Remove what is in the trash under this entry for good."""

        def forget(db: Database) -> None:
            for table, remove in (("models", _remove_model), ("runs", _remove_run)):
                for (row_id,) in db.execute(f"SELECT id FROM {table} WHERE trash_id = ?", [entry_id]).fetchall():
                    remove(db, row_id)

        self._writer.call(forget)

    def import_rows(self, rows: Mapping[str, Iterable[Row]]) -> None:
        """Add what `export_run` or `export_model` gave, in one transaction; unknown columns are left out."""
        self._writer.call(lambda db: _import(db, rows))

    def rename_run(self, run_id: str, name: str) -> None:
        """Rename a run."""
        self._writer.call(lambda db: db.execute("UPDATE runs SET name = ? WHERE id = ?", [name, run_id]))

    def tag_runs(self, tags: Mapping[str, Sequence[str]]) -> None:
        """Store the tags that a person gave to runs, by their ids, in one transaction."""
        rows = [(json.dumps(list(each)), run_id) for run_id, each in tags.items()]
        self._writer.call(lambda db: db.conn.executemany("UPDATE runs SET tags = ? WHERE id = ?", rows))

    def describe_model(self, model_id: str, *, title: str, note: str, tags: list[str]) -> None:
        """Store the title, note and tags that a person gave a model."""
        values = [title, note, json.dumps(tags), model_id]
        self._writer.call(lambda db: db.execute("UPDATE models SET title = ?, note = ?, tags = ? WHERE id = ?", values))

    def set_coordination(self, key: str, value: Mapping[str, Any]) -> None:
        """Store a key-value record."""
        row = {"key": key, "value": json.dumps(value), "updated_at": utc_now()}
        self._writer.call(lambda db: db.table("coordination").upsert(row, pk="key"))

    def interrupt_unfinished(self) -> list[str]:
        """At start: mark active runs, which no process owns any more, as interrupted; returns their ids."""

        def interrupt(db: Database) -> list[str]:
            ids = [str(row[0]) for row in db.execute(f"SELECT id FROM runs WHERE {ACTIVE}")]
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
            for table in ("metrics", "ponder_histograms", "layer_figures", "evaluations", "samples"):
                db.table(table).delete_where(
                    "run_id = ? AND model_name = ? AND step > ?",
                    [run_id, rewind.model_name, steps.get(table, rewind.step)],
                )
            db.execute("UPDATE runs SET step = ? WHERE id = ?", [max(0, rewind.step), run_id])

        self._last_step.pop(run_id, None)
        self._writer.call(forget)


def _may_become(status: RunStatus) -> str:
    """The SQL condition that a run may move from its status to `status`."""
    return f"status IN ({', '.join(repr(source.value) for source in sources(status))})"


def _remove_model(db: Database, model_id: str) -> None:
    db.table("artifacts").delete_where("model_id = ?", [model_id])
    db.table("models").delete_where("id = ?", [model_id])


def _remove_run(db: Database, run_id: str) -> None:
    db.execute("DELETE FROM artifacts WHERE model_id IN (SELECT id FROM models WHERE run_id = ?)", [run_id])
    for table in ("models", *TABLES.values()):
        db.table(table).delete_where("run_id = ?", [run_id])
    db.table("runs").delete_where("id = ?", [run_id])


def _import(db: Database, rows: Mapping[str, Iterable[Row]]) -> None:
    for table in ("runs", "models", "artifacts"):
        known = set(db.table(table).columns_dict) - {"trash_id"}
        for row in rows.get(table, ()):
            values = {column: value for column, value in with_current_names(row).items() if column in known}
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
    """Whether a run that is not in the trash has this key."""
    return db.execute(f"SELECT 1 FROM runs WHERE start_key = ? AND {HERE}", [start_key]).fetchone() is not None


def _end_of_queue(db: Database) -> float:
    (last,) = db.execute("SELECT max(queue_position) FROM runs").fetchone()
    return (last or 0.0) + 1.0

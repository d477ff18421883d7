"""The schema of the SQLite database, as migrations: each is applied once, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from sqlite_utils import Database, Migrations

from cognate_core.contracts.metrics import CURVES, StepMetrics

migrations = Migrations("cognate_studio")


@migrations()
def first_schema(db: Database) -> None:
    """Runs, their models and artifacts, and everything recorded while they train."""
    db.table("runs").create(
        {
            "id": str,
            "name": str,
            "status": str,
            "phase": str,
            "progress": float,
            "message": str,
            "step": int,
            "total_steps": int,
            "config": str,  # JSON
            "model_names": str,  # JSON
            "data_report": str,  # JSON
            "error": str,
            "error_details": str,
            "start_key": str,
            "folder": str,
            "created_at": str,
            "started_at": str,
            "finished_at": str,
        },
        pk="id",
        not_null={"id", "name", "status", "config", "created_at"},
    )
    db.table("runs").create_index(["start_key"], unique=True)
    db.table("models").create(
        {
            "id": str,
            "run_id": str,
            "name": str,
            "status": str,
            "parameter_count": int,
            "created_at": str,
            "details": str,  # JSON of ModelArtifacts
        },
        pk="id",
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("artifacts").create(
        {"model_id": str, "kind": str, "path": str, "bytes": int, "sha256": str},
        pk=("model_id", "kind"),
        foreign_keys=[("model_id", "models", "id")],
    )
    db.table("metrics").create(
        {
            "id": int,  # grows with each row: a live chart knows what it has read
            "run_id": str,
            "model_name": str,
            "step": int,
            "loss": float,
            "learning_rate": float,
            "grad_norm": float,
            "filtered_grad_norm": float,
            "tokens": int,
            "seconds": float,
            "elapsed_seconds": float,
        },
        pk="id",
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("metrics").create_index(["run_id", "model_name", "step"], unique=True)
    db.table("metrics").create_index(["run_id", "id"])
    db.table("evaluations").create(
        {
            "id": int,
            "run_id": str,
            "model_name": str,
            "step": int,
            "dataset": str,
            "loss": float,
            "tokens": int,
        },
        pk="id",
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("evaluations").create_index(["run_id", "id"])
    db.table("samples").create(
        {
            "id": int,
            "run_id": str,
            "model_name": str,
            "step": int,
            "dataset": str,
            "prompt": str,
            "text": str,
            "expected": str,
        },
        pk="id",
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("samples").create_index(["run_id", "id"])
    db.table("events").create(
        {
            "id": int,
            "run_id": str,
            "model_name": str,
            "step": int,
            "level": str,
            "message": str,
            "created_at": str,
        },
        pk="id",
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("events").create_index(["run_id", "id"])
    db.table("coordination").create({"key": str, "value": str, "updated_at": str}, pk="key")


@migrations()
def pondering_and_memory(db: Database) -> None:
    """Figures of models that ponder and remember. Earlier runs had neither."""
    figures = ("ponder_steps", "ponder_loss", "memory_notes", "memory_written", "memory_gate", "memory_null_share")
    for figure in figures:
        db.table("metrics").add_column(figure, float)
    db.table("ponder_histograms").create(
        {"id": int, "run_id": str, "model_name": str, "step": int, "counts": str},  # counts: JSON
        pk="id",
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("ponder_histograms").create_index(["run_id", "id"])
    db.execute(
        "UPDATE runs SET config = json_set(config, '$.act_enabled', json('false'), '$.ltm_enabled', json('false'), "
        "'$.attention_window', 65536) WHERE json_valid(config)"
    )


@migrations()
def lives_of_runs(db: Database) -> None:
    """The queue order, which a person may change, and the time worked on a run."""
    db.table("runs").add_column("queue_position", float)
    db.table("runs").add_column("worked_seconds", float)
    db.execute("UPDATE runs SET queue_position = rowid")


_OF_SPANS = {"mean_loss": "avg(loss)", "losses": "count(loss)", "missing_step": "min(iif(loss IS NULL, step, NULL))"}
_OF_SPANS_AND_TIME = {**_OF_SPANS, "elapsed_seconds": "max(elapsed_seconds)", "tokens": "sum(tokens)"}


_FIGURES = ["loss", "learning_rate", "grad_norm", "filtered_grad_norm", "ponder_steps", "ponder_loss"]
_FIGURES += ["memory_notes", "memory_written", "memory_gate", "memory_null_share"]


def _keep_spans(db: Database, values: Mapping[str, str], figures: Sequence[str] = _FIGURES) -> None:
    """Make a trigger that fills metric_spans: the columns `values` and each figure's extremes. Fill it for old rows."""
    rows = "FROM metrics WHERE run_id = new.run_id AND model_name = new.model_name AND step > new.step - 100"
    rows += " AND step <= new.step"
    parts = [f"SELECT {', '.join(f'{value} AS {column}' for column, value in values.items())} {rows}"]
    columns = list(values)
    for figure in figures:
        for end, aggregate in (("low", "min"), ("high", "max")):  # SQLite takes `step` from the row that has it
            columns += [f"{figure}_{end}", f"{figure}_{end}_step"]
            parts.append(f"SELECT {aggregate}({figure}) AS {columns[-2]}, step AS {columns[-1]} {rows}")
    spans = db.table("metric_spans")
    if not spans.exists():
        db.execute(
            "CREATE TABLE metric_spans (run_id TEXT, model_name TEXT, step INTEGER, "
            f"{' REAL, '.join(columns)} REAL, PRIMARY KEY (run_id, model_name, step)) WITHOUT ROWID"
        )
    for column in set(columns) - set(spans.columns_dict):
        spans.add_column(column, float)
    fill = f"INSERT OR REPLACE INTO metric_spans (run_id, model_name, step, {', '.join(columns)}) "
    fill += f"SELECT new.run_id, new.model_name, new.step, {', '.join(columns)} "
    fill += f"FROM {', '.join(f'({part})' for part in parts)}"
    db.execute("DROP TRIGGER IF EXISTS metrics_added")
    db.execute(
        "CREATE TRIGGER metrics_added AFTER INSERT ON metrics WHEN new.step > 0 AND new.step % 100 = 0 "
        f"BEGIN {fill}; END"
    )
    for number, column in enumerate(("run_id", "model_name", "step"), start=1):
        fill = fill.replace(f"new.{column}", f"?{number}")
    ends = db.execute("SELECT run_id, model_name, step FROM metrics WHERE step > 0 AND step % 100 = 0").fetchall()
    db.conn.executemany(fill, ends)


@migrations()
def spans_of_metrics(db: Database) -> None:
    """A summary of each hundred step rows, kept by triggers: curves of long runs are read from it (curves.py)."""
    _keep_spans(db, _OF_SPANS)
    db.execute(
        "CREATE TRIGGER metrics_removed AFTER DELETE ON metrics WHEN old.step % 100 = 0 BEGIN DELETE FROM metric_spans "
        "WHERE run_id = old.run_id AND model_name = old.model_name AND step = old.step; END"
    )


@migrations()
def origins_and_notes(db: Database) -> None:
    """A colour for each run, its origin and its time estimate; people's titles, notes and tags for models."""
    for column, kind in (("colour", int), ("parent_run_id", str), ("relation", str), ("branch_step", int)):
        db.table("runs").add_column(column, kind)
    db.table("runs").add_column("quote", str)  # JSON
    db.execute("UPDATE runs SET colour = (SELECT count(*) FROM runs AS earlier WHERE earlier.rowid < runs.rowid)")
    db.table("models").add_column("title", str)  # what a person calls it; NULL: its name
    db.table("models").add_column("note", str)
    db.table("models").add_column("tags", str)  # JSON


@migrations()
def time_and_tokens_of_spans(db: Database) -> None:
    """Time and tokens of spans: long curves can be drawn by them."""
    _keep_spans(db, _OF_SPANS_AND_TIME)


@migrations()
def accuracy(db: Database) -> None:
    """The accuracy in tasks with right and wrong answers."""
    db.table("metrics").add_column("accuracy", float)
    db.table("evaluations").add_column("accuracy", float)
    _keep_spans(db, _OF_SPANS_AND_TIME, [*_FIGURES, "accuracy"])


@migrations()
def found_among_thousands(db: Database) -> None:
    """Indexes: starting a run and finding a model's files stay fast with thousands of rows."""
    for table, column in (
        ("runs", "colour"),
        ("runs", "queue_position"),
        ("models", "run_id"),
        ("artifacts", "model_id"),
    ):
        db.table(table).create_index([column])


@migrations()
def groups_of_runs(db: Database) -> None:
    """The sweep of a run, in columns: they go wherever the run's row goes (run.json, trash, archive)."""
    db.table("runs").add_column("group_id", str)
    db.table("runs").add_column("group_name", str)
    db.table("runs").create_index(["group_id"])


@migrations()
def rows_of_the_trash(db: Database) -> None:
    """Deleted runs and models keep their rows, marked with the trash entry: restoring brings all back."""
    for table in ("runs", "models"):
        db.table(table).add_column("trash_id", str)
    db.execute("DROP INDEX idx_runs_start_key")
    db.execute("CREATE UNIQUE INDEX idx_runs_start_key ON runs (start_key) WHERE trash_id IS NULL")


@migrations()
def bytes_of_checks(db: Database) -> None:
    """The length of a check's text, for bits per byte. It is unknown for earlier checks; the lab has no text."""
    db.table("evaluations").add_column("bytes", int)


@migrations()
def weights_of_checks(db: Database) -> None:
    """A dataset's weight in a mean over the datasets. In earlier versions all counted the same."""
    db.table("evaluations").add_column("weight", float)


@migrations()
def time_estimates(db: Database) -> None:
    """Rename the column of time estimates, formerly "quote"."""
    db.execute("ALTER TABLE runs RENAME COLUMN quote TO time_estimate")


@migrations()
def tags_of_runs(db: Database) -> None:
    """People's tags for runs."""
    db.table("runs").add_column("tags", str)  # JSON


@migrations()
def figures_of_layers(db: Database) -> None:
    """What was measured inside a model. Earlier runs have nothing of it."""
    lists = ("layers", "weights", "gradients", "updates", "magnitudes")  # JSON
    db.table("layer_figures").create(
        {"id": int, "run_id": str, "model_name": str, "step": int, **dict.fromkeys(lists, str)},
        pk="id",
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("layer_figures").create_index(["run_id", "id"])


def add_metrics(db: Database) -> None:
    """Add a column for each figure of StepMetrics that has none yet."""
    known = db.table("metrics").columns_dict
    new = [each for each in fields(StepMetrics) if each.name not in known]
    for each in new:
        db.table("metrics").add_column(each.name, int if each.type == "int" else float)
    if new:
        with db.conn:
            _keep_spans(db, _OF_SPANS_AND_TIME, CURVES)

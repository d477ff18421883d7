"""Read the progress log from any thread or process: runs, their figures, models, files."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from cognate_core.contracts import RunStatus
from cognate_core.contracts.heldout import HeldoutCheck, HeldoutMeans, bits_per_byte, heldout_checks, lowest_loss
from cognate_core.errors import NotFound
from cognate_core.storage.database import reading
from cognate_core.storage.rows import (
    ACTIVE,
    HERE,
    MODELS_HERE,
    STEP_COLUMNS,
    Row,
    Run,
    RunGroup,
    TrainedModel,
    evaluation_of,
    exported,
    model_of,
    run_of,
)

BATCH_ROWS = 20_000
MOST_SAMPLES = 50  # of one step; there are a few of each dataset
MEANS_OF_CHECKS = """
WITH weighted AS (
    SELECT *, coalesce(weight, 1.0) AS share FROM evaluations WHERE run_id IN (SELECT value FROM json_each(?))
)
SELECT run_id, model_name, step,
    iif(sum(share AND loss IS NULL), NULL, sum(share * loss) / nullif(sum(share), 0)),
    iif(sum(share AND nullif(bytes, 0) / nullif(tokens, 0.0) IS NULL), NULL,
        sum(share * bytes / nullif(tokens, 0)) / nullif(sum(share), 0)),
    sum(share * accuracy) / nullif(sum(share) FILTER (WHERE accuracy IS NOT NULL), 0)
FROM weighted GROUP BY run_id, model_name, step ORDER BY min(id)
"""


class ProgressReader:
    """Reads the database at `path`, which may belong to another process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def delayed_seconds(self) -> float:
        """How long figures have been waiting to be written; 0 if that is no longer than usual, or not known here."""
        return 0.0

    def run(self, run_id: str) -> Run:
        """The run with this id. Raises NotFound if there is none."""
        rows = self._rows(f"SELECT * FROM runs WHERE id = ? AND {HERE}", run_id)
        if not rows:
            raise NotFound("There is no such run. It may have been deleted.")
        return run_of(rows[0])

    def runs(self, limit: int | None = None, *, statuses: Collection[RunStatus] | None = None) -> list[Run]:
        """The newest runs first: all, or those with `statuses`; at most `limit`."""
        rows = self._rows(
            f"SELECT * FROM runs WHERE {HERE} AND (?1 IS NULL OR status IN (SELECT value FROM json_each(?1))) "
            "ORDER BY rowid DESC LIMIT ?2",
            None if statuses is None else json.dumps(list(statuses)),
            -1 if limit is None else limit,
        )
        return [run_of(row) for row in rows]

    def unfinished_runs(self) -> list[Run]:
        """Active and queued runs, in queue order."""
        rows = self._rows(f"SELECT * FROM runs WHERE {ACTIVE} OR status = 'queued' ORDER BY queue_position")
        return [run_of(row) for row in rows]

    def is_busy(self) -> bool:
        """Whether a run is active."""
        return bool(self._rows(f"SELECT 1 FROM runs WHERE {ACTIVE} LIMIT 1"))

    def runs_page(
        self, limit: int, before: int | None = None, status: RunStatus | None = None, tag: str | None = None
    ) -> list[tuple[int, Run]]:
        """The newest runs first, each with its place; with `before`, those after that place; with `status`, those; with
        `tag`, those."""
        rows = self._rows(
            "SELECT rowid AS place, * FROM runs WHERE (?1 IS NULL OR rowid < ?1) AND (?2 IS NULL OR status = ?2) "
            f"AND (?3 IS NULL OR {_has_tag('runs.tags')}) AND {HERE} ORDER BY rowid DESC LIMIT ?4",
            before,
            status.value if status else None,
            tag,
            limit,
        )
        return [(row.pop("place"), run_of(row)) for row in rows]

    def run_started_with(self, start_key: str) -> str | None:
        """The id of the run that was started with this key."""
        rows = self._rows(f"SELECT id FROM runs WHERE start_key = ? AND {HERE}", start_key)
        return str(rows[0]["id"]) if rows else None

    def runs_of_group(self, group_id: str) -> list[Run]:
        """The runs of a sweep in the order in which they were queued. Raises NotFound if there are none."""
        rows = self._rows(f"SELECT * FROM runs WHERE group_id = ? AND {HERE} ORDER BY rowid", group_id)
        if not rows:
            raise NotFound("There is no such sweep. Its runs may have been deleted.")
        return [run_of(row) for row in rows]

    def groups(self) -> list[RunGroup]:
        """The sweeps, the newest first."""
        rows = self._rows(
            f"SELECT id, group_id, group_name FROM runs WHERE group_id IS NOT NULL AND {HERE} ORDER BY rowid DESC"
        )
        groups: dict[str, RunGroup] = {}
        for row in rows:
            group = groups.setdefault(row["group_id"], RunGroup(row["group_id"], row["group_name"] or "", []))
            group.run_ids.insert(0, row["id"])
        return list(groups.values())

    def queued_run_ids(self) -> list[str]:
        """Queued runs, the next one first."""
        rows = self._rows("SELECT id FROM runs WHERE status = ? ORDER BY queue_position", RunStatus.QUEUED.value)
        return [row["id"] for row in rows]

    def metrics(self, run_id: str, after_id: int = 0) -> list[Row]:
        """Step rows of a run written after the row `after_id`, in order of writing."""
        return self._rows("SELECT * FROM metrics WHERE run_id = ? AND id > ? ORDER BY id", run_id, after_id)

    def metrics_after(self, run_id: str, model_name: str, step: int, limit: int) -> list[Row]:
        """At most `limit` step rows of a model after `step`, in order of step."""
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
        """The step rows of a model with `after` < step <= `up_to`, as STEP_COLUMNS, in batches: there may be millions.

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
        """The loss of a model at each step; None if it was not a number."""
        with reading(self.path) as connection:
            connection.row_factory = None
            query = "SELECT step, loss FROM metrics WHERE run_id = ? AND model_name = ? ORDER BY step"
            return dict(connection.execute(query, (run_id, model_name)))

    def last_metrics(self, run_id: str, count: int, *, model_name: str | None = None) -> list[Row]:
        """The newest step rows, the oldest of them first; with `model_name`, those of that model."""
        if model_name is None:
            return self._rows("SELECT * FROM metrics WHERE run_id = ? ORDER BY id DESC LIMIT ?", run_id, count)[::-1]
        return self._rows(
            "SELECT * FROM metrics WHERE run_id = ? AND model_name = ? ORDER BY step DESC LIMIT ?",
            run_id,
            model_name,
            count,
        )[::-1]

    def metrics_near(self, run_id: str, model_name: str, step: int) -> Row | None:
        """The step row of a model that is closest to `step`; None if there is none."""
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
        """Held-out measurements, in order of writing; with `model_name`, those of that model."""
        rows = self._rows(
            "SELECT * FROM evaluations WHERE run_id = ?1 AND id > ?2 AND (?3 IS NULL OR model_name = ?3) ORDER BY id",
            run_id,
            after_id,
            model_name,
        )
        return [evaluation_of(row) for row in rows]

    def newest_evaluations(self, run_id: str, model_name: str) -> list[Row]:
        """The last held-out measurement of a model on each dataset."""
        return self._rows(
            "SELECT *, max(id) FROM evaluations WHERE run_id = ? AND model_name = ? GROUP BY dataset",
            run_id,
            model_name,
        )

    def best_check(self, run_id: str) -> HeldoutCheck | None:
        """The check with the lowest held-out loss; None: unknown."""
        return lowest_loss(heldout_checks(self.evaluations(run_id)))

    def heldout_checks(self, run_ids: Iterable[str]) -> dict[str, list[HeldoutCheck]]:
        """The checks of each run that was checked, in order of writing. The means are those of `heldout_means`."""
        checks: dict[str, list[HeldoutCheck]] = {}
        with reading(self.path) as connection:
            connection.row_factory = None
            for run_id, model_name, step, loss, token_bytes, accuracy in connection.execute(
                MEANS_OF_CHECKS, [json.dumps(list(run_ids))]
            ):
                means = HeldoutMeans(loss, bits_per_byte(loss, 1, token_bytes), accuracy)
                checks.setdefault(run_id, []).append(HeldoutCheck(model_name, step, means))
        return checks

    def ponder_histograms(self, run_id: str, *, model_name: str | None = None) -> list[Row]:
        """Counts of tokens by ponder steps, one row per check, in order of writing; of all models or `model_name`."""
        rows = self._rows(
            "SELECT * FROM ponder_histograms WHERE run_id = ?1 AND (?2 IS NULL OR model_name = ?2) ORDER BY id",
            run_id,
            model_name,
        )
        counts = json.loads(f"[{','.join(row['counts'] for row in rows)}]")  # at once: a long run has thousands
        return [{**row, "counts": each} for row, each in zip(rows, counts, strict=True)]

    def layer_figures(self, run_id: str, *, model_name: str | None = None) -> list[Row]:
        """The layers at each measured step, in order of writing; of all models or `model_name`."""
        rows = self._rows(
            "SELECT * FROM layer_figures WHERE run_id = ?1 AND (?2 IS NULL OR model_name = ?2) ORDER BY id",
            run_id,
            model_name,
        )
        lists = ("layers", "weights", "gradients", "updates", "magnitudes")
        return [{**row, **{name: json.loads(row[name]) for name in lists}} for row in rows]

    def newest_ids(self, run_id: str) -> tuple[int, ...]:
        """Ids of the newest step row, held-out measurement, histogram and sample, 0 for none: they show if more were
        added."""
        (row,) = self._rows(
            "SELECT (SELECT max(id) FROM metrics WHERE run_id = ?1) AS metrics, "
            "(SELECT max(id) FROM evaluations WHERE run_id = ?1) AS evaluations, "
            "(SELECT max(id) FROM ponder_histograms WHERE run_id = ?1) AS histograms, "
            "(SELECT max(id) FROM samples WHERE run_id = ?1) AS samples",
            run_id,
        )
        return tuple(newest or 0 for newest in row.values())

    def samples(self, run_id: str) -> list[Row]:
        """Text samples, in order of writing."""
        return self._rows("SELECT * FROM samples WHERE run_id = ? ORDER BY id", run_id)

    def sample_steps(self, run_id: str, model_name: str) -> list[int]:
        """The steps at which a model wrote samples, in order."""
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

    def newest_samples(self, run_id: str, model_name: str) -> list[Row]:
        """What a model wrote last, at one step, in order of writing."""
        rows = self._rows(
            "SELECT * FROM samples WHERE run_id = ? AND model_name = ? ORDER BY id DESC LIMIT ?",
            run_id,
            model_name,
            MOST_SAMPLES,
        )
        return [row for row in rows[::-1] if row["step"] == rows[0]["step"]]

    def events(self, run_id: str) -> list[Row]:
        """Events, in order of writing."""
        return self._rows("SELECT * FROM events WHERE run_id = ? ORDER BY id", run_id)

    def warnings(self, run_id: str) -> list[str]:
        """The messages of events above the level "info", each once, in order of writing."""
        rows = self._rows(
            "SELECT message FROM events WHERE run_id = ? AND level != 'info' GROUP BY message ORDER BY min(id)", run_id
        )
        return [row["message"] for row in rows]

    def records_after(
        self, table: Literal["evaluations", "samples", "events"], run_id: str, after_id: int, limit: int
    ) -> list[Row]:
        """At most `limit` rows of a run written after the row `after_id`, in order of writing."""
        rows = self._rows(
            f"SELECT * FROM {table} WHERE run_id = ? AND id > ? ORDER BY id LIMIT ?", run_id, after_id, limit
        )
        return [evaluation_of(row) for row in rows] if table == "evaluations" else rows

    def models(self, run_id: str | None = None) -> list[TrainedModel]:
        """Finished models, newest first."""
        rows = self._rows(
            f"SELECT models.*, runs.name AS run_name FROM {MODELS_HERE} "
            "WHERE ?1 IS NULL OR run_id = ?1 ORDER BY models.rowid DESC",
            run_id,
        )
        return [model_of(row) for row in rows]

    def model_totals(self) -> tuple[int, int]:
        """The number of finished models, and their total number of parameters."""
        (row,) = self._rows(
            f"SELECT count(*) AS models, coalesce(sum(parameter_count), 0) AS parameters FROM {MODELS_HERE}"
        )
        return row["models"], row["parameters"]

    def models_page(
        self, limit: int, before: int | None = None, *, run_id: str | None = None, tag: str | None = None
    ) -> list[tuple[int, TrainedModel]]:
        """The newest models first, each with its place; with `before`, those after that place."""
        rows = self._rows(
            f"SELECT models.rowid AS place, models.*, runs.name AS run_name FROM {MODELS_HERE} "
            "WHERE (?1 IS NULL OR models.rowid < ?1) AND (?2 IS NULL OR run_id = ?2) AND "
            f"(?3 IS NULL OR {_has_tag('models.tags')}) ORDER BY models.rowid DESC LIMIT ?4",
            before,
            run_id,
            tag,
            limit,
        )
        return [(row.pop("place"), model_of(row)) for row in rows]

    def model(self, model_id: str) -> TrainedModel:
        """The model with this id. Raises NotFound if there is none."""
        rows = self._rows(f"SELECT models.*, runs.name AS run_name FROM {MODELS_HERE} WHERE models.id = ?", model_id)
        if rows:
            return model_of(rows[0])
        raise NotFound("There is no such model. It may have been deleted.")

    def training_seconds(self, run: Run) -> float | None:
        """Total training time of all models of a run, in seconds; None while unknown."""
        seconds = [model.details["training_stats"].get("seconds") for model in self.models(run.id)]
        known = [each for each in seconds if each is not None]
        return sum(known) if len(known) == len(run.model_names) else None

    def artifacts(self, model_id: str) -> list[Row]:
        """The files of a model."""
        return self._files("models.id = ?", model_id)

    def export_run(self, run_id: str) -> dict[str, list[Row]]:
        """The rows of a run, its models and their files, by table. The models' own logs have the measurements."""
        return {
            "runs": exported(self._rows(f"SELECT * FROM runs WHERE id = ? AND {HERE}", run_id)),
            "models": exported(
                self._rows(f"SELECT models.* FROM {MODELS_HERE} WHERE run_id = ? ORDER BY models.rowid", run_id)
            ),
            "artifacts": self._files("run_id = ?", run_id),
        }

    def export_model(self, model_id: str) -> dict[str, list[Row]]:
        """The rows of a model and its files, by table."""
        return {
            "models": exported(self._rows(f"SELECT models.* FROM {MODELS_HERE} WHERE models.id = ?", model_id)),
            "artifacts": self.artifacts(model_id),
        }

    def is_here(self, run_id: str) -> bool:
        """Whether there is such a run outside the trash."""
        return bool(self._rows(f"SELECT 1 FROM runs WHERE id = ? AND {HERE}", run_id))

    def is_taken(self, table: Literal["runs", "models"], row_id: str) -> bool:
        """Whether a run or model has this id, including those in the trash."""
        return bool(self._rows(f"SELECT 1 FROM {table} WHERE id = ?", row_id))

    def columns(self, table: str) -> dict[str, str]:
        """The columns of a table and their declared types: "TEXT", "INTEGER" or "FLOAT"."""
        return {row["name"]: row["type"] for row in self._rows("SELECT name, type FROM pragma_table_info(?)", table)}

    def coordination(self, key: str) -> Row | None:
        """The key-value record with "updated_at", or None."""
        rows = self._rows("SELECT value, updated_at FROM coordination WHERE key = ?", key)
        return {**json.loads(rows[0]["value"]), "updated_at": rows[0]["updated_at"]} if rows else None

    def _files(self, which: str, value: str) -> list[Row]:
        return self._rows(
            f"SELECT artifacts.* FROM {MODELS_HERE} JOIN artifacts ON model_id = models.id WHERE {which} "
            "ORDER BY artifacts.rowid",
            value,
        )

    def _rows(self, query: str, *values: Any) -> list[Row]:
        with reading(self.path) as connection:
            return [dict(row) for row in connection.execute(query, values)]


def _has_tag(column: str) -> str:
    """Whether the tags in `column` include the query's third value."""
    return f"EXISTS (SELECT 1 FROM json_each(coalesce(nullif({column}, ''), '[]')) WHERE value = ?3)"

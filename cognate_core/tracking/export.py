"""Export a run's figures from the database as one CSV or Parquet table: a row for each step of each model.

Its columns are those of StepMetrics and, for each held-out dataset, its measurements, filled at the steps that have
them. Trackers, pages and the API use it.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from cognate_core.labels import escape_csv
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import STEP_COLUMNS


def metrics_csv(reader: ProgressReader, run_id: str, model_name: str | None = None) -> bytes:
    """The figures of a run, or of one of its models, as CSV in UTF-8. What was not measured is empty.

    It begins with a byte order mark: without it, Excel misreads the letters. An apostrophe precedes text that a
    spreadsheet would take for a formula.

    Raises:
        RunError: there is no such run.
        StorageError: the database cannot be read.
    """
    sink = pa.BufferOutputStream()
    sink.write(BOM_UTF8)
    csv.write_csv(_table(reader, run_id, model_name, escape_csv), sink)
    return bytes(sink.getvalue().to_pybytes())


def metrics_parquet(reader: ProgressReader, run_id: str, model_name: str | None = None) -> bytes:
    """The figures of a run, or of one of its models, as a Parquet file. What was not measured is null.

    Raises:
        RunError: there is no such run.
        StorageError: the database cannot be read.
    """
    sink = pa.BufferOutputStream()
    parquet.write_table(_table(reader, run_id, model_name, str), sink)
    return bytes(sink.getvalue().to_pybytes())


def _table(reader: ProgressReader, run_id: str, model_name: str | None, label: Callable[[str], str]) -> pa.Table:
    """`label` turns a model's name into what is written."""
    checks: dict[str, dict[int, dict[str, float | None]]] = defaultdict(lambda: defaultdict(dict))
    columns: dict[str, None] = {}
    for row in reader.evaluations(run_id, model_name=model_name):
        for name, value in (
            (f"heldout/{row['dataset']}", row["loss"]),
            (f"heldout_bits_per_byte/{row['dataset']}", row["bits_per_byte"]),
            (f"heldout_accuracy/{row['dataset']}", row["accuracy"]),
        ):
            if name.startswith("heldout/") or value is not None:
                columns.setdefault(name)
                checks[row["model_name"]][row["step"]][name] = value
    kinds = {"model_name": pa.string(), "step": pa.int64(), "tokens": pa.int64()}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in (*STEP_COLUMNS, *sorted(columns))])

    def batch(rows: list[tuple[Any, ...]], checked: dict[int, dict[str, float | None]]) -> pa.RecordBatch:
        values = [list(column) for column in zip(*rows, strict=True)]
        values[0] = [written[name] for name in values[0]]
        of_rows = [checked.get(row[1], {}) for row in rows]
        values += [[each.get(name) for each in of_rows] for name in sorted(columns)]
        return pa.record_batch([pa.array(v, f.type) for v, f in zip(values, schema, strict=True)], schema=schema)

    tables = []
    models = reader.run(run_id).model_names if model_name is None else [model_name]
    written = {model: label(model) for model in models}
    for model in models:
        batches, unseen = [], set(checks[model])
        for rows in reader.step_rows(run_id, model):
            unseen.difference_update(row[1] for row in rows)
            batches.append(batch(rows, checks[model]))
        if unseen:  # measured at a step without a row
            nothing = (None,) * (len(STEP_COLUMNS) - 2)
            batches.append(batch([(model, step, *nothing) for step in unseen], checks[model]))
        table = pa.Table.from_batches(batches, schema)
        tables.append(table.sort_by("step") if unseen else table)
    return pa.concat_tables(tables).rename_columns(["model", *schema.names[1:]])

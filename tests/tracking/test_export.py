"""A run's figures as a table: every row, every figure to the last digit, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import math
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Evaluation, StepMetrics
from cognate_core.errors import RunError
from cognate_core.labels import escape_csv
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.tracking.export import metrics_csv, metrics_parquet

FORMULA = "=cmd|' /C calc'!A0, \"x\""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ProgressLog]:
    log = ProgressLog(tmp_path / "studio.sqlite")
    models = [FORMULA, "b"]
    log.create_run("r1", "Run", TrainingConfig(), models, tmp_path, None)
    log.create_run("r2", "Other", TrainingConfig(), models, tmp_path, None)
    for model in models:
        log.record("r1", Evaluation(model, 0, "GSM8K", 9.0, 5))
        for number in range(1, 4):
            loss = math.nan if number == 3 else -1 / 3 * number
            log.record("r1", StepMetrics(model, number, loss, 2e-5, 1.0, 1.0, 10, 0.1, 0.1 * number, accuracy=0.25))
        log.record("r1", Evaluation(model, 2, "Own file", 4.5, 5, accuracy=1.0, bytes=10))
        log.record("r2", StepMetrics(model, 1, 7.0, 2e-5, 1.0, 1.0, 10, 0.1, 0.1))
    log.raise_refused("r1")
    yield log
    log.close()


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def test_both_formats_hold_every_row_of_every_model_in_order(log: ProgressLog) -> None:
    typed = pq.read_table(pa.BufferReader(metrics_parquet(log, "r1"))).to_pylist()
    assert [(row["model"], row["step"]) for row in typed] == [(m, n) for m in (FORMULA, "b") for n in range(4)]
    assert [row["loss"] for row in typed[:4]] == [None, -1 / 3, -2 / 3, None], "what was no number is null"
    assert [row["heldout/GSM8K"] for row in typed[:4]] == [9.0, None, None, None]
    assert [row["heldout_accuracy/Own file"] for row in typed[:4]] == [None, None, 1.0, None]
    assert [row["heldout_bits_per_byte/Own file"] for row in typed[:4]] == [None, None, 2.25 / math.log(2), None]
    assert not {"heldout_accuracy/GSM8K", "heldout_bits_per_byte/GSM8K"} & set(typed[0]), "it has none"
    assert typed[1]["accuracy"] == 0.25 and typed[1]["ponder_steps"] is None
    text = read_csv(metrics_csv(log, "r1"))
    assert text[0].keys() == typed[0].keys()
    for row, other in zip(typed, text, strict=True):
        assert {k: float(v) if v else None for k, v in other.items() if k != "model"} == {
            k: v for k, v in row.items() if k != "model"
        }


def test_a_name_is_never_a_formula_and_a_number_stays_one(log: ProgressLog) -> None:
    rows = read_csv(metrics_csv(log, "r1"))
    assert {row["model"] for row in rows} == {f"'{FORMULA}", "b"}
    assert rows[1]["loss"] == repr(-1 / 3)


def test_a_spreadsheet_is_told_that_it_is_utf8(log: ProgressLog) -> None:
    """Excel takes a file without the mark for one of the computer's own old code page."""
    assert metrics_csv(log, "r1").startswith(BOM_UTF8 + b'"model"')


@pytest.mark.parametrize("label", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_text_that_a_spreadsheet_would_run_is_escaped(label: str) -> None:
    assert escape_csv(label) == f"'{label}"


@pytest.mark.parametrize("label", ["", "a=1", "1-1", "Müller", "'=1"])
def test_other_text_stays_as_it_is(label: str) -> None:
    assert escape_csv(label) == label


def test_one_model_alone(log: ProgressLog) -> None:
    assert {row["model"] for row in read_csv(metrics_csv(log, "r1", "b"))} == {"b"}


def test_a_run_that_has_measured_nothing_gives_a_table_without_rows(log: ProgressLog, tmp_path: Path) -> None:
    log.create_run("r3", "New", TrainingConfig(), ["b"], tmp_path, None)
    assert read_csv(metrics_csv(log, "r3")) == []
    table: Any = pq.read_table(pa.BufferReader(metrics_parquet(log, "r3")))
    assert table.num_rows == 0 and table.column_names[:3] == ["model", "step", "loss"]


def test_a_run_that_is_not_there_is_refused(log: ProgressLog) -> None:
    with pytest.raises(RunError):
        metrics_csv(log, "gone")

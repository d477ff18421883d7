"""What was recorded of a run, asked for in parts: never more rows are read than a part has."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cognate_core.api import create_api
from cognate_core.config import TrainingConfig
from cognate_core.contracts import DataReport, Evaluation, Event, Sample, SourceReport, StepMetrics
from cognate_core.runs import ReadOnlyManager, RunManager
from cognate_core.storage import progress_reader
from cognate_core.storage.database import reading
from tests.faults.large_home import LONG_RUN, make_large_home

PEAK = 777


@pytest.fixture
def run_id(studio: RunManager, tiny_config: TrainingConfig) -> str:
    """A run of two models with 1,000 steps each, a peak of the loss at one, and no number at another."""
    log = studio.log
    log.create_run("r", "recorded", tiny_config, ["a", "b"], studio.home / "runs" / "r", None)
    for step in range(1, 1001):
        for name in ("a", "b"):
            loss = 50.0 if step == PEAK else math.nan if step == 500 else 5.0 - step / 1000
            log.record("r", StepMetrics(name, step, loss, 0.1, 1.0, 1.0, 10, 0.1, step / 10))
    for step in range(0, 30, 10):
        log.record("r", Evaluation("a", step, "GSM8K", math.inf if step == 20 else 3.0, 9, bytes=18 if step else None))
        log.record("r", Sample("a", step, "GSM8K", "a <b>", "c", "d"))
        log.record("r", Event("info", f"event {step}", "a", step))
    log.record("r", DataReport([SourceReport("GSM8K", "x", "y", True, "")], False, "hash", 400, False))
    log.raise_refused("r")
    return "r"


def pages(api: TestClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """All items, part after part."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        answer = api.get(path, params={**query, **({"after": after} if after else {})})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert len(told["items"]) <= query.get("limit", 50)
        found += told["items"]
        after = told["next"]
        if after is None:
            return found


def test_steps_come_in_parts_in_their_order(api: TestClient, run_id: str) -> None:
    steps = pages(api, f"/v1/runs/{run_id}/metrics", limit=300)
    assert [row["step"] for row in steps] == list(range(1, 1001))
    assert steps[0]["loss"] == 5.0 - 0.001 and steps[0]["ponder_steps"] is None
    assert steps[499]["loss"] is None  # no number


def test_steps_are_of_one_model_and_after_a_step(api: TestClient, run_id: str) -> None:
    answer = api.get(f"/v1/runs/{run_id}/metrics", params={"model": "b", "after_step": 998}).json()
    assert (answer["model_name"], [row["step"] for row in answer["items"]]) == ("b", [999, 1000])
    assert api.get(f"/v1/runs/{run_id}/metrics").json()["model_name"] == "a"
    missing = api.get(f"/v1/runs/{run_id}/metrics", params={"model": "c"})
    assert (missing.status_code, missing.json()["detail"]) == (404, "This run has no such model.")


def test_points_are_real_steps_among_them_every_peak(api: TestClient, run_id: str) -> None:
    told = api.get(f"/v1/runs/{run_id}/metrics", params={"points": 50}).json()
    steps = [row["step"] for row in told["items"]]
    assert 40 <= len(steps) <= 50 and steps == sorted(steps) and told["next"] is None
    assert (steps[0], steps[-1]) == (1, 1000) and PEAK in steps
    peak = next(row for row in told["items"] if row["step"] == PEAK)
    assert peak["loss"] == 50.0 and peak["tokens"] == 10
    later = api.get(f"/v1/runs/{run_id}/metrics", params={"points": 50, "after_step": 900}).json()["items"]
    assert later[0]["step"] == 901
    few = api.get(f"/v1/runs/{run_id}/metrics", params={"points": 50, "after_step": 990}).json()["items"]
    assert [row["step"] for row in few] == list(range(991, 1001))
    none = api.get(f"/v1/runs/{run_id}/metrics", params={"points": 50, "after_step": 5000}).json()["items"]
    assert none == []


@pytest.mark.parametrize(
    "query", ["points=9", "points=5001", "after_step=-2", "after_step=x", "colour=red", "limit=501"]
)
def test_what_cannot_be_asked_of_steps_is_refused(api: TestClient, run_id: str, query: str) -> None:
    assert api.get(f"/v1/runs/{run_id}/metrics?{query}").status_code == 422


def test_no_more_rows_are_read_than_a_part_has(
    api: TestClient, studio: RunManager, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def counted(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> sqlite3.Row:
        nonlocal read
        read += 1
        return sqlite3.Row(cursor, values)

    @contextmanager
    def counting(path: Path) -> Iterator[sqlite3.Connection]:
        with reading(path) as connection:
            connection.row_factory = counted
            yield connection

    monkeypatch.setattr(progress_reader, "reading", counting)
    for path in ("metrics?limit=5", "evaluations?limit=1", "samples?limit=1", "events?limit=1"):
        read = 0
        assert api.get(f"/v1/runs/{run_id}/{path}").json()["next"] is not None
        assert 0 < read <= 7


def test_points_of_a_long_run_are_taken_from_its_spans(tmp_path: Path) -> None:
    make_large_home(tmp_path / "long", steps=40_000, runs=2)
    long = ReadOnlyManager(tmp_path / "long")
    api = TestClient(create_api(lambda: long))
    steps = [row["step"] for row in api.get(f"/v1/runs/{LONG_RUN}/metrics", params={"points": 300}).json()["items"]]
    assert 250 <= len(steps) <= 300 and steps == sorted(set(steps)) and steps[-1] > 39_800
    part = api.get(f"/v1/runs/{LONG_RUN}/metrics", params={"limit": 3, "after_step": 30_000}).json()
    assert [row["step"] for row in part["items"]] == [30_001, 30_002, 30_003] and part["next"] == "30003"


@pytest.mark.parametrize("table", ["evaluations", "samples", "events"])
def test_records_come_in_parts_in_order_of_writing(api: TestClient, run_id: str, table: str) -> None:
    rows = pages(api, f"/v1/runs/{run_id}/{table}", limit=2)
    assert [row["step"] for row in rows] == [0, 10, 20]
    assert rows == pages(api, f"/v1/runs/{run_id}/{table}")
    if table == "evaluations":
        assert [row["loss"] for row in rows] == [3.0, 3.0, None]  # infinite is no number
        assert [row["bytes"] for row in rows] == [None, 18, 18]
        assert [row["bits_per_byte"] for row in rows] == [None, pytest.approx(1.5 / math.log(2)), None]


def test_the_data_report_and_the_checkpoints_are_told(api: TestClient, studio: RunManager, run_id: str) -> None:
    report = api.get(f"/v1/runs/{run_id}/data-report").json()
    assert report["content_hash"] == "hash" and report["sources"][0]["name"] == "GSM8K"
    assert api.get(f"/v1/runs/{run_id}/checkpoints").json() == [
        {"model_name": "a", "steps": []},
        {"model_name": "b", "steps": []},
    ]


def test_findings_say_what_the_curves_tell(api: TestClient, run_id: str) -> None:
    found = api.get(f"/v1/runs/{run_id}/findings").json()
    spike = next(each for each in found if each["kind"] == "spike")
    assert spike["first_step"] <= PEAK <= spike["last_step"] and spike["cause"] and spike["advice"]

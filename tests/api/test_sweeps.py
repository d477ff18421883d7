"""Sweeps, tables of figures and publishing, asked as other programs ask."""

from __future__ import annotations

import io

import pyarrow.parquet
import pytest
from starlette.testclient import TestClient

from cognate_core.runs import RunManager
from tests.waiting import LONG

WANTED = {"name": "Which rate?", "preset": "first-run", "grid": {"learning_rate": [1e-3, "3e-4"]}}


def test_a_sweep_is_queued_once_for_a_key_and_tells_what_its_runs_came_to(api: TestClient, studio: RunManager) -> None:
    first = api.post("/v1/sweeps", json=WANTED, headers={"Idempotency-Key": "k"})
    again = api.post("/v1/sweeps", json=WANTED, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    other = api.post("/v1/sweeps", json=WANTED | {"grid": {"seed": [1, 2]}}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 409 and len(studio.log.runs()) == 2
    assert first.json()["run_ids"] == again.json()["run_ids"]
    sweep = first.json()
    assert sorted(run["values"]["learning_rate"] for run in sweep["runs"]) == [3e-4, 1e-3]
    for run_id in sweep["run_ids"]:
        assert studio.wait(run_id, LONG)
    assert [each["id"] for each in api.get("/v1/sweeps").json()] == [sweep["id"]]
    ended = api.get(f"/v1/sweeps/{sweep['id']}").json()
    assert {run["status"] for run in ended["runs"]} == {"completed"}
    assert {run["heldout_loss"] for run in ended["runs"]} == {None}  # nothing was measured by the mock
    assert api.post(f"/v1/sweeps/{sweep['id']}/cancel", json={}).json() == {"runs": 0}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"grid": {"learning_rat": [1]}}, "learning_rat"),
        ({"grid": {"learning_rate": ["often"]}}, "learning_rate"),
        ({"grid": {"ray_workers": [1, 2]}}, "ray_workers"),
        ({"grid": {}}, "sweep"),
    ],
)
def test_what_cannot_be_varied_is_told_at_its_setting(
    api: TestClient, studio: RunManager, changes: dict[str, object], field: str
) -> None:
    answer = api.post("/v1/sweeps", json=WANTED | changes)
    assert answer.status_code == 422
    assert field in answer.json()["problems"]
    assert studio.log.runs() == []


def test_a_sweep_that_is_not_there_is_not_found(api: TestClient) -> None:
    assert api.get("/v1/sweeps/none").status_code == 404
    assert api.post("/v1/sweeps/none/cancel", json={}).status_code == 404


def test_every_step_comes_as_a_table(client: TestClient, trained: RunManager) -> None:
    run = next(run for run in trained.log.runs() if run.model_names == ["text"])
    rows = trained.log.metrics(run.id)
    csv = client.get(f"runs/{run.id}/metrics.csv")
    assert csv.headers["content-type"].startswith("text/csv")
    lines = csv.text.splitlines()
    assert len(lines) == len(rows) + 2  # its head, and the check before the first step
    parquet = client.get(f"runs/{run.id}/metrics.parquet")
    table = pyarrow.parquet.read_table(io.BytesIO(parquet.content))
    assert table.column("loss").to_pylist() == [None, *(row["loss"] for row in rows)]


def test_publishing_without_a_token_says_how_to_give_one(
    client: TestClient, text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    answer = client.post(f"models/{text_model}/publish", json={"repo_id": "somebody/model"})
    assert answer.status_code == 409
    assert "HF_TOKEN" in answer.json()["detail"]

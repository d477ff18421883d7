"""Runs made of runs, runs beside runs, and runs shared, with a model that was really trained."""

from __future__ import annotations

import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cognate_core.config import TrainingConfig
from cognate_core.runs import RunManager
from tests.api.conftest import mock_service
from tests.waiting import LONG, MOMENT

BYTES = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def real_home(tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig) -> Path:
    """A data folder with one real run and its repetition, which were trained here."""
    home = tmp_path_factory.mktemp("real") / "home"
    manager = RunManager(home, executor="thread")
    run_id = manager.start(tiny_config.with_overrides({"save_steps": 2}), "real", ["model"])
    assert manager.wait(run_id, LONG)
    assert manager.wait(manager.start_verification(run_id), LONG)
    manager.close()
    return home


@pytest.fixture
def studio(real_home: Path, tmp_path: Path) -> Iterator[RunManager]:
    shutil.copytree(real_home, tmp_path / "home")
    manager = RunManager(tmp_path / "home", executor="thread", build_service=mock_service)
    yield manager
    manager.close()


@pytest.fixture
def real(studio: RunManager) -> str:
    return next(run.id for run in studio.log.runs() if run.name == "real")


def test_a_twin_is_started_once(api: TestClient, real: str) -> None:
    first, again = api.post(f"/v1/runs/{real}/twin"), api.post(f"/v1/runs/{real}/twin")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert (first.json()["relation"], first.json()["config"]["grokfast_enabled"]) == ("twin", False)


def test_a_repetition_is_compared(api: TestClient, real: str) -> None:
    repetition = api.get("/v1/runs").json()["items"][0]
    assert repetition["relation"] == "verification"
    told = api.get(f"/v1/runs/{repetition['id']}/verification").json()
    assert told["verdict"] == "identical" and told["models"][0]["same_weights"] is True
    assert told == api.get(f"/v1/runs/{real}/verification", params={"with": repetition["id"]}).json()
    alone = api.get(f"/v1/runs/{real}/verification")
    assert alone.status_code == 404 and "?with=" in alone.json()["detail"]


def test_a_repetition_is_started_once_with_a_key(api: TestClient, real: str) -> None:
    ids = {api.post(f"/v1/runs/{real}/verification", headers={"Idempotency-Key": "k"}).json()["id"] for _ in range(3)}
    assert len(ids) == 1
    other = api.post("/v1/runs", json={"name": "x"}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("runs", "start", {"name": "x", "settings": {"max_steps": 5}}),
        ("runs/RUN/twin", "start_twin", None),
        ("runs/RUN/verification", "start_verification", None),
        ("runs/RUN/branch", "start_branch", {"model_name": "model", "step": 2, "settings": {}, "name": "b"}),
        ("sweeps", "start_sweep", {"name": "s", "preset": "first-run", "grid": {"seed": [1, 2]}}),
    ],
)
def test_of_eight_starts_at_once_with_one_key_one_says_that_it_started(
    api: TestClient,
    studio: RunManager,
    real: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    method: str,
    body: dict[str, object] | None,
) -> None:
    together, start = threading.Barrier(8), getattr(studio, method)

    def begin(*args: object, **more: object) -> object:
        with suppress(threading.BrokenBarrierError):
            together.wait(MOMENT)  # for the others, who would have found no run with this key either
        return start(*args, **more)

    monkeypatch.setattr(studio, method, begin)
    address = f"/v1/{path.replace('RUN', real)}"
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(api.post, address, json=body, headers={"Idempotency-Key": "k"}) for _ in range(8)]
        answers = [each.result(LONG) for each in asked]
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_branch_goes_on_from_a_checkpoint(api: TestClient, studio: RunManager, real: str) -> None:
    (kept,) = api.get(f"/v1/runs/{real}/checkpoints").json()
    step = kept["steps"][0]
    body = {"model_name": "model", "step": step, "settings": {"learning_rate": "0.5"}, "name": "branch"}
    key = {"Idempotency-Key": "b"}
    branch = api.post(f"/v1/runs/{real}/branch", json=body, headers=key)
    assert branch.status_code == 201
    assert (branch.json()["parent_run_id"], branch.json()["branch_step"]) == (real, step)
    assert branch.json()["config"]["learning_rate"] == 0.5
    assert api.post(f"/v1/runs/{real}/branch", json=body, headers=key).status_code == 200
    changed = {**body, "settings": {"learning_rate": "0.4"}}
    assert api.post(f"/v1/runs/{real}/branch", json=changed, headers=key).status_code == 409


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"settings": {"d_model": 32}}, 422, "A branch cannot change this"),
        ({"settings": {"dataset_path": "/etc/passwd"}}, 422, "A branch cannot change this"),
        ({"settings": {"max_steps": 1}}, 422, "choose more training steps"),
        ({"step": 3}, 409, "is no longer there"),
        ({"model_name": "../model"}, 404, "no such model"),
        ({"name": ""}, 422, "Give the run a name"),
        ({"step": -1}, 422, "greater than or equal to 0"),
    ],
    ids=str,
)
def test_a_branch_that_cannot_be_is_refused(
    api: TestClient, studio: RunManager, real: str, change: dict[str, object], status: int, words: str
) -> None:
    before = len(studio.log.runs())
    body = {"model_name": "model", "step": 2, "settings": {}, "name": "branch", **change}
    answer = api.post(f"/v1/runs/{real}/branch", json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert len(studio.log.runs()) == before


def test_runs_are_compared(api: TestClient, studio: RunManager, real: str) -> None:
    twin = api.post(f"/v1/runs/{real}/twin").json()["id"]
    told = api.get("/v1/comparison", params={"runs": f"{real},{twin}"}).json()
    assert told["differing_settings"] == {"grokfast_enabled": [True, False]}
    assert [run["id"] for run in told["runs"]] == [real, twin]
    assert told["runs"][0]["lowest_heldout_loss"] > 0 and told["runs"][0]["training_seconds"] > 0
    assert told["runs"][1]["training_seconds"] is None
    assert api.get("/v1/comparison", params={"runs": f"{real},nobody"}).status_code == 404
    many = [f"r{number}" for number in range(20)]
    for run_id in many:
        studio.log.create_run(run_id, "one of many", TrainingConfig(), ["m"], studio.home, None)
    told = api.get("/v1/comparison", params={"runs": ",".join(many)}).json()
    assert [run["id"] for run in told["runs"]] == many, "all that were asked for"
    assert api.get("/v1/comparison", params={"runs": ","}).json() == {"differing_settings": {}, "runs": []}


# Sharing


def test_the_report_is_saved_and_never_shown_here(api: TestClient, real: str) -> None:
    report = api.get(f"/v1/runs/{real}/report")
    assert report.status_code == 200 and report.text.startswith("<!doctype html>") and ">real<" in report.text
    assert report.headers["content-disposition"] == "attachment; filename*=utf-8''real.html"
    assert report.headers["x-content-type-options"] == "nosniff"


def test_a_archive_goes_out_and_comes_in_elsewhere(api: TestClient, studio: RunManager, real: str) -> None:
    archive = api.get(f"/v1/runs/{real}/archive")
    assert archive.headers["content-disposition"] == "attachment; filename*=utf-8''real.cognate.zip"
    assert "archive.json" in zipfile.ZipFile(io.BytesIO(archive.content)).namelist()
    assert list((studio.home / "cache" / "archives").iterdir()) == []
    there = api.post("/v1/archives", content=archive.content, headers=BYTES)
    assert (there.status_code, there.json()["detail"]) == (409, "This run is already here: real.")
    api.delete(f"/v1/runs/{real}")
    studio.remove_for_good(studio.trash.entries()[0].id)
    again = api.post("/v1/archives", content=archive.content, headers=BYTES)
    assert (again.status_code, again.json()["id"], again.json()["name"]) == (201, real, "real")
    assert not list(studio.home.glob("*.tmp-*"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 1000])
def test_what_is_no_run_archive_is_refused(api: TestClient, studio: RunManager, content: bytes) -> None:
    answer = api.post("/v1/archives", content=content, headers=BYTES)
    assert answer.status_code == 422 and "not a complete run archive" in answer.json()["detail"]
    assert api.post("/v1/archives", json={}).status_code == 415
    assert not list(studio.home.glob("*.tmp-*"))


def test_a_run_without_a_model_has_no_archive(api: TestClient, studio: RunManager) -> None:
    run_id = api.post("/v1/runs", json={"name": "x", "settings": {"max_steps": 5}}).json()["id"]
    studio.wait(run_id, LONG)
    answer = api.get(f"/v1/runs/{run_id}/archive")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "The run has no finished model, so there is nothing to share.",
    )


def test_a_run_is_restored_when_its_key_was_used_again(api: TestClient, studio: RunManager, real: str) -> None:
    first = api.post(f"/v1/runs/{real}/twin").json()["id"]
    studio.wait(first, LONG)
    api.delete(f"/v1/runs/{first}")
    second = api.post(f"/v1/runs/{real}/twin").json()["id"]
    assert second != first
    studio.restore(studio.trash.entries()[0].id)
    assert {run.id for run in studio.log.runs()} >= {first, second}
    assert api.post(f"/v1/runs/{real}/twin").json()["id"] == second

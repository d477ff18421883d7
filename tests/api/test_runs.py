"""Runs through the API: what is asked is done, what cannot be done is refused in the page's sentence."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cognate_core.api import create_api
from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs import ReadOnlyManager, RunManager
from tests.waiting import LONG

TINY: dict[str, Any] = {"max_steps": 5, "d_model": 16, "n_heads": 2, "n_layers": 2, "vocab_size": 400}


def start(api: TestClient, key: str | None = None, **body: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = api.post("/v1/runs", json={"name": "a run", "settings": TINY, **body}, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    run: dict[str, Any] = answer.json()
    return {**run, "code": answer.status_code}


def ended(api: TestClient, studio: RunManager, **body: Any) -> str:
    run_id: str = start(api, **body)["id"]
    assert studio.wait(run_id, LONG)
    return run_id


def waiting(studio: RunManager, name: str = "waits") -> str:
    """A run that waits for its turn, which never comes."""
    run_id = uuid.uuid4().hex[:12]
    config, folder = TrainingConfig(**TINY), studio.home / "runs" / run_id
    return studio.log.create_run(run_id, name, config, [name], folder, None)  # behind the studio's back


# Starting


def test_a_run_is_started_and_comes_to_its_end(api: TestClient, studio: RunManager) -> None:
    run_id = ended(api, studio, models=2)
    run = api.get(f"/v1/runs/{run_id}").json()
    assert (run["name"], run["status"], run["model_names"]) == ("a run", "completed", ["a run 1", "a run 2"])
    assert run["config"]["max_steps"] == 5 and run["config"]["d_model"] == 16
    assert run["created_at"].endswith("+00:00")


@pytest.mark.parametrize(
    "source",
    [
        {"preset": "first-run"},
        {"config": {"d_model": 128, "max_steps": 300}},
        {"config": "d_model = 128\nmax_steps = 300\n"},
    ],
)
def test_settings_come_from_a_preset_or_a_config_with_single_ones_over_it(
    api: TestClient, source: dict[str, Any]
) -> None:
    config = start(api, **source, settings={"max_steps": "1,000"})["config"]
    assert (config["d_model"], config["max_steps"]) == (128, 1000)


def test_a_key_starts_one_run_however_often_it_comes(api: TestClient, studio: RunManager) -> None:
    first, again = start(api, "k1"), start(api, "k1")
    assert (first["code"], again["code"]) == (201, 200)
    assert first["id"] == again["id"] and len(studio.log.runs()) == 1
    refused = api.post("/v1/runs", json={"name": "a run", "settings": {}}, headers={"Idempotency-Key": "k1"})
    assert refused.status_code == 409 and "another run" in refused.json()["detail"]
    assert start(api, "k2")["id"] != first["id"]


def test_twenty_starts_at_once_with_one_key_start_one_run(api: TestClient, studio: RunManager) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(start(api, "same")["id"])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 20 and len(set(ids)) == 1
    assert len(studio.log.runs()) == 1


def test_what_no_person_sets_is_no_setting(api: TestClient, studio: RunManager) -> None:
    body = {"name": "x", "settings": {**TINY, "prepared_data": "/elsewhere"}}
    answer = api.post("/v1/runs", json=body, headers={"Idempotency-Key": "p"})
    assert answer.status_code == 422 and "no setting called 'prepared_data'" in answer.json()["detail"]
    assert studio.log.runs() == []


def test_a_run_that_was_queued_is_never_refused(
    api: TestClient, studio: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should what was kept of its settings not be what was asked for, the key was still used for no other."""
    start_run = studio.start
    monkeypatch.setattr(studio, "start", lambda config, *more: start_run(config.model_copy(update={"seed": 7}), *more))
    run = start(api, "k")
    assert (run["code"], [each.id for each in studio.log.runs()]) == (201, [run["id"]])


def test_a_key_is_not_taken_for_one_of_the_studios_own(api: TestClient, studio: RunManager) -> None:
    run_id = ended(api, studio)
    other = start(api, f"twin-{run_id}")
    twin = api.post(f"/v1/runs/{run_id}/twin")
    assert twin.status_code == 201 and twin.json()["id"] != other["id"]


def test_problems_are_told_by_field_in_the_pages_sentences(api: TestClient) -> None:
    answer = api.post("/v1/runs", json={"name": "a run", "settings": {"d_model": 17, "n_heads": 4}})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert "cannot be shared evenly by 4 attention heads" in answer.json()["problems"]["d_model"]
    answer = api.post("/v1/runs", json={"name": "  ", "settings": TINY})
    assert answer.json()["problems"] == {"name": "Give the run a name, so that you can find it again."}


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "colour": 1},
        {"name": "x", "models": 21},
        {"name": "x", "models": 0},
        {"name": "x" * 201},
        {"name": "x", "model_names": ["m"] * 21},
        {"name": "x", "model_names": ["m", " m"]},
        {"name": "x", "model_names": []},
        {"name": "x", "preset": "none such"},
        {"name": "x", "preset": "first-run", "config": {}},
        {"name": "x", "preset": "first-run", "copy_of": "RUN"},
        {"name": "x", "config": "not = [toml"},
        {"name": "x", "config": "#" * 100_001},
        {"name": "x", "settings": {"no such": 1}},
        {"name": "x", "settings": {"\ud800": 1}},
        {"name": "\ud800"},
        [],
        None,
    ],
    ids=str,
)
def test_what_cannot_be_started_is_refused(api: TestClient, studio: RunManager, body: Any) -> None:
    run_id = ended(api, studio)
    if body and "copy_of" in body:
        body = {**body, "copy_of": run_id}
    answer = api.post("/v1/runs", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and answer.json()["detail"]
    assert len(studio.log.runs()) == 1


def test_no_file_of_this_computer_can_be_named_but_those_that_were_sent(api: TestClient, studio: RunManager) -> None:
    own = studio.home / "uploads" / ("0" * 32 + ".txt")
    own.parent.mkdir()
    own.write_text("text")
    for path in ("/etc/passwd", "../studio.sqlite", str(studio.home), f"../uploads/{own.name}", "", "x\0y"):
        answer = api.post("/v1/runs", json={"name": "x", "settings": {**TINY, "dataset_path": path}})
        assert (answer.status_code, path) == (201 if path == "" else 422, path)
    for path in (own.name, str(own)):
        assert start(api, settings={**TINY, "dataset_path": path})["config"]["dataset_path"] == str(own)


def test_no_folder_can_be_chosen(api: TestClient, studio: RunManager, tmp_path: Path) -> None:
    run = start(api, settings={**TINY, "output_dir": str(tmp_path / "elsewhere")})
    assert run["config"]["output_dir"] == str(studio.home / "runs" / run["id"])


def test_a_run_is_started_with_the_settings_of_another(api: TestClient, studio: RunManager) -> None:
    first = start(api)
    copy = start(api, copy_of=first["id"], settings={})
    fix = start(api, copy_of=first["id"], settings={"learning_rate": 0.01})
    assert (copy["parent_run_id"], copy["relation"], fix["relation"]) == (first["id"], "copy", "fix")
    assert copy["config"]["d_model"] == 16 and fix["config"]["learning_rate"] == 0.01


# Listing


def test_runs_come_in_parts_newest_first(api: TestClient, studio: RunManager) -> None:
    ids = [ended(api, studio, name=f"run {number}") for number in range(5)]
    seen, after = [], None
    while True:
        answer = api.get("/v1/runs", params={"limit": 2, **({"after": after} if after else {})}).json()
        seen += [run["id"] for run in answer["items"]]
        after = answer["next"]
        if after is None:
            break
    assert seen == ids[::-1]
    assert "config" not in api.get("/v1/runs").json()["items"][0]


def test_runs_are_told_apart_by_status(api: TestClient, studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run is started; when it has ended, the next in the queue is not."""
    start_waiting, first = studio._start_waiting, iter([True])
    monkeypatch.setattr(studio, "_start_waiting", lambda: start_waiting() if next(first, False) else None)
    done, queued = ended(api, studio), waiting(studio)
    assert [run["id"] for run in api.get("/v1/runs?status=queued").json()["items"]] == [queued]
    assert [run["id"] for run in api.get("/v1/runs?status=completed").json()["items"]] == [done]
    assert api.get("/v1/runs?status=lazy").status_code == 422


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "after=-1", "after=x", f"after={'9' * 19}", "x=1"]
)
def test_what_is_no_part_of_a_list_is_refused(api: TestClient, query: str) -> None:
    answer = api.get(f"/v1/runs?{query}")
    assert answer.status_code == 422 and answer.json()["problems"]


def test_what_is_not_there_is_not_found(api: TestClient) -> None:
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        *(("POST", f"/{word}") for word in ("pause", "resume", "stop", "cancel", "move", "twin", "verification")),
        *(("GET", f"/{word}") for word in ("metrics", "events", "samples", "evaluations", "checkpoints", "findings")),
        *(("GET", f"/{word}") for word in ("data-report", "report", "archive", "verification")),
    ):
        body = {"PATCH": {"name": "n"}}.get(method, {"places": 1} if path == "/move" else None)
        answer = api.request(method, f"/v1/runs/nobody{path}", json=body)
        assert (answer.status_code, path) == (404, path)
        assert answer.json()["detail"] == "There is no such run. It may have been deleted."
    assert api.get("/v1/nothing").status_code == 404


# Changing


def test_a_run_is_renamed_and_deleted(api: TestClient, studio: RunManager) -> None:
    run_id = ended(api, studio)
    assert api.patch(f"/v1/runs/{run_id}", json={"name": " another "}).json()["name"] == "another"
    answer = api.delete(f"/v1/runs/{run_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert studio.log.runs() == [] and [entry.name for entry in studio.trash.entries()] == ["another"]


def test_a_run_gets_tags_and_is_found_by_them(api: TestClient, studio: RunManager) -> None:
    run_id, other = ended(api, studio), waiting(studio)
    assert api.patch(f"/v1/runs/{run_id}", json={"tags": [" demo ", "slow", "demo"]}).json()["tags"] == ["demo", "slow"]
    assert api.patch(f"/v1/runs/{run_id}", json={"tags": ["slow ", " demo"]}).json()["tags"] == ["demo", "slow"]
    assert api.patch(f"/v1/runs/{run_id}", json={"name": "tagged"}).json()["tags"] == ["demo", "slow"]
    assert api.patch(f"/v1/runs/{other}", json={"tags": ["slow"]}).json()["tags"] == ["slow"]
    for tag, found in (("demo", [run_id]), ("slow", [other, run_id]), ("lo", [])):
        assert [each["id"] for each in api.get("/v1/runs", params={"tag": tag}).json()["items"]] == found
    assert api.patch(f"/v1/runs/{run_id}", json={"tags": ["new", "slow"]}).json()["tags"] == ["slow", "new"]
    for tags in ([" "], ["\n"], ["x" * 200], ["x"] * 51):
        assert api.patch(f"/v1/runs/{run_id}", json={"tags": tags, "name": "lost"}).status_code == 422
    assert (studio.log.run(run_id).tags, studio.log.run(run_id).name) == (["slow", "new"], "tagged")


def test_a_run_that_waits_is_taken_out_of_the_queue_and_not_deleted(api: TestClient, studio: RunManager) -> None:
    run_id = waiting(studio)
    refused = api.delete(f"/v1/runs/{run_id}")
    assert refused.status_code == 409 and "Stop or cancel it first" in refused.json()["detail"]
    assert api.post(f"/v1/runs/{run_id}/cancel").json()["status"] == "cancelled"
    for word in ("pause", "stop", "cancel", "resume", "move"):
        answer = api.post(f"/v1/runs/{run_id}/{word}", json={"places": 1} if word == "move" else None)
        assert answer.status_code == 409 and "cancelled" in answer.json()["detail"], word


def test_a_weaker_wish_does_not_follow_a_stronger_one(api: TestClient, studio: RunManager) -> None:
    run_id = waiting(studio)
    studio.log.claim(run_id)
    assert api.post(f"/v1/runs/{run_id}/stop").json()["status"] == "stopping"
    assert api.post(f"/v1/runs/{run_id}/pause").status_code == 409
    assert api.post(f"/v1/runs/{run_id}/cancel").json()["status"] == "cancelling"
    studio.log.set_status(run_id, RunStatus.CANCELLED)


def test_the_queue_is_put_in_another_order(api: TestClient, studio: RunManager) -> None:
    ids = [waiting(studio, name) for name in ("a", "b", "c")]
    api.post(f"/v1/runs/{ids[2]}/move", json={"places": -2})
    assert studio.log.queued_run_ids() == [ids[2], ids[1], ids[0]]
    assert api.post(f"/v1/runs/{ids[0]}/move", json={"places": 1001}).status_code == 422


def test_a_studio_that_only_looks_says_who_manages(
    api: TestClient, studio: RunManager, open_manager: Callable[..., RunManager]
) -> None:
    run_id = ended(api, studio)
    looking = ReadOnlyManager(studio.home)
    with TestClient(create_api(lambda: looking)) as client:
        assert client.get("/v1/health").json()["read_only"] is True
        assert client.get(f"/v1/runs/{run_id}").json()["status"] == "completed"
        for method, path, body in (
            ("POST", "/v1/runs", {"name": "x"}),
            ("PATCH", f"/v1/runs/{run_id}", {"name": "x"}),
            ("DELETE", f"/v1/runs/{run_id}", None),
            ("POST", f"/v1/runs/{run_id}/twin", None),
            ("POST", "/v1/time-estimates", {}),
        ):
            answer = client.request(method, path, json=body)
            assert (answer.status_code, answer.json()["detail"]) == (409, looking.read_only)
        sent = client.post("/v1/archives", content=b"x", headers={"Content-Type": "application/octet-stream"})
        assert (sent.status_code, sent.json()["detail"]) == (409, looking.read_only)

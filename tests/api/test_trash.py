"""What was deleted, restored and removed through the API."""

from __future__ import annotations

import json

from starlette.testclient import TestClient

from cognate_core.runs import RunManager


def test_what_was_deleted_is_listed_and_restored_as_it_was(client: TestClient, text_model: str) -> None:
    before = client.get(f"models/{text_model}").json()
    client.delete(f"models/{text_model}")
    (entry,) = client.get("trash").json()["items"]
    assert (entry["kind"], entry["name"], entry["restored_id"]) == ("model", "text", text_model)
    restored = client.post(f"trash/{entry['id']}/restore", json={})
    assert restored.status_code == 200 and restored.json() == entry
    assert client.get(f"models/{text_model}").json() == before
    assert client.get("trash").json() == {"items": [], "next": None}


def test_a_run_is_restored_with_its_models(client: TestClient, trained: RunManager, text_model: str) -> None:
    run_id = trained.log.model(text_model).run_id
    trained.delete_run(run_id)
    (entry,) = client.get("trash").json()["items"]
    assert (entry["kind"], entry["restored_id"]) == ("run", run_id)
    assert client.post(f"trash/{entry['id']}/restore", json={}).status_code == 200
    assert client.get(f"models/{text_model}").status_code == 200


def test_a_model_without_its_run_stays_in_the_trash(client: TestClient, trained: RunManager, text_model: str) -> None:
    run_id = trained.log.model(text_model).run_id
    client.delete(f"models/{text_model}")
    trained.delete_run(run_id)
    entries = client.get("trash").json()["items"]
    model = next(entry for entry in entries if entry["kind"] == "model")
    assert client.post(f"trash/{model['id']}/restore", json={}).status_code == 404
    assert client.get("trash").json()["items"] == entries


def test_what_is_removed_for_good_is_gone(client: TestClient, trained: RunManager, text_model: str) -> None:
    client.delete(f"models/{text_model}")
    (entry,) = client.get("trash?limit=1").json()["items"]
    assert client.delete(f"trash/{entry['id']}").status_code == 204
    assert list((trained.home / "trash").iterdir()) == []
    for answer in (client.delete(f"trash/{entry['id']}"), client.post(f"trash/{entry['id']}/restore", json={})):
        assert answer.status_code == 404 and "no longer in the trash" in answer.json()["detail"]


def test_addresses_lead_nowhere_else(client: TestClient, trained: RunManager, text_model: str) -> None:
    client.delete(f"models/{text_model}")
    for name in ("..", "%2e%2e", "..%2f..%2fruns", "x" * 3000, "%00", "*"):
        assert client.delete(f"trash/{name}").status_code in (404, 405, 422), name[:20]
    assert len(client.get("trash").json()["items"]) == 1
    assert (trained.home / "runs").is_dir()


def test_all_is_removed_at_once(client: TestClient, trained: RunManager, text_model: str) -> None:
    client.delete(f"models/{text_model}")
    trained.delete_run(trained.log.runs()[0].id)
    (trained.home / "trash" / "no entry").mkdir()
    answer = client.delete("trash")
    assert (answer.status_code, answer.json()) == (200, {"removed": 2})
    assert [path.name for path in (trained.home / "trash").iterdir()] == ["no entry"], "what nobody was shown"
    assert client.delete("trash").json() == {"removed": 0}


def test_no_page_loses_what_was_deleted_in_the_same_millisecond(client: TestClient, trained: RunManager) -> None:
    for number in range(20):
        folder = trained.home / "trash" / f"{number}"
        folder.mkdir(parents=True)
        entry = {"id": "", "kind": "run", "name": "n", "origin": "runs/x", "rows": {"runs": [{"id": f"{number}"}]}}
        (folder / "entry.json").write_text(json.dumps({**entry, "deleted_at": "2026-01-01T00:00:00.000+00:00"}))
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = client.get("trash", params={"limit": 3, **after}).json()
        found += [entry["restored_id"] for entry in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert sorted(found, key=int) == [f"{number}" for number in range(20)]

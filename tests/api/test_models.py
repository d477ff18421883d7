"""What the API tells of models, and what a person says of them through it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from cognate_core.contracts import RunStatus
from cognate_core.runs import RunManager
from tests.faults.hostile import NAMES
from tests.waiting import until


def test_models_are_listed_newest_first_and_narrowed_down(client: TestClient, trained: RunManager) -> None:
    listed = client.get("models").json()
    assert [model["trained_as"] for model in listed["items"]] == ["text", "lab"] and listed["next"] is None
    text, lab = listed["items"]
    trained.describe_model(lab["id"], title="lab", note="", tags=["small"])
    assert [model["id"] for model in client.get(f"models?run={text['run_id']}").json()["items"]] == [text["id"]]
    assert [model["id"] for model in client.get("models?tag=small").json()["items"]] == [lab["id"]]
    assert client.get("models?tag=large").json()["items"] == []


def test_a_list_is_given_in_pages_that_neither_repeat_nor_leave_out(client: TestClient, trained: RunManager) -> None:
    first = client.get("models?limit=1").json()
    trained.delete_model(first["items"][0]["id"])
    second = client.get(f"models?limit=1&after={first['next']}").json()
    assert [model["trained_as"] for page in (first, second) for model in page["items"]] == ["text", "lab"]
    assert second["next"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "after=x", "after=-1", "colour=red"])
def test_a_list_cannot_be_asked_for_otherwise(client: TestClient, query: str) -> None:
    for path in ("models", "trash"):
        assert client.get(f"{path}?{query}").status_code == 422


def test_a_model_has_the_figures_that_were_measured(client: TestClient, trained: RunManager, text_model: str) -> None:
    told = client.get(f"models/{text_model}").json()
    details = trained.log.model(text_model).details
    assert told["steps"] == told["planned_steps"] == 4
    assert told["heldout_loss"] == details["training_stats"]["heldout_loss"] != {}
    assert told["heldout_bits_per_byte"] == details["training_stats"]["heldout_bits_per_byte"] != {}
    assert told["parameter_count"] == details["parameter_count"]
    assert told["checkpoint_steps"] == trained.kept_steps(text_model) == [2]
    assert (told["capabilities"], told["act_enabled"], told["ltm_enabled"]) == (["text generation"], True, True)


def test_what_is_no_number_is_null(
    client: TestClient, trained: RunManager, text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained.log.model(text_model)
    stats = {"heldout_loss": {"Synthetic": float("nan"), "other": float("inf")}, "seconds": float("-inf")}
    monkeypatch.setattr(
        trained.log, "model", lambda _: replace(model, details={**model.details, "training_stats": stats})
    )
    monkeypatch.setattr(trained, "kept_steps", lambda _: [])
    told = client.get(f"models/{text_model}").json()
    assert (told["heldout_loss"], told["seconds"]) == ({"Synthetic": None, "other": None}, None)
    assert (told["steps"], told["tokens"]) == (None, None)


def test_a_description_changes_what_is_named_and_nothing_else(client: TestClient, text_model: str) -> None:
    path = f"models/{text_model}"
    assert client.patch(path, json={"title": " Best one ", "tags": ["a", "b", "a"]}).json()["name"] == "Best one"
    told = client.patch(path, json={"note": "Keep it."}).json()
    assert (told["name"], told["note"], told["tags"]) == ("Best one", "Keep it.", ["a", "b"])
    assert (told["trained_as"], client.get(path).json()) == ("text", told)


@pytest.mark.parametrize(
    "asked",
    [
        {"title": ""},
        {"title": "x" * 81},
        {"note": "x" * 4001},
        {"tags": ["\n"]},
        {"tags": ["x", ""]},
        {"tags": ["x"] * 51},
        {"name": "x"},
        [],
    ],
)
def test_a_description_that_cannot_be_kept_is_refused(client: TestClient, text_model: str, asked: object) -> None:
    before = client.get(f"models/{text_model}").json()
    answer = client.patch(f"models/{text_model}", json=asked)
    assert answer.status_code == 422 and answer.json()["problems"]
    assert client.get(f"models/{text_model}").json() == before


def test_hostile_titles_are_refused_or_kept_as_typed(client: TestClient, text_model: str) -> None:
    for name in NAMES:
        answer = client.patch(f"models/{text_model}", content=json.dumps({"title": name}))
        assert answer.status_code in (200, 422), ascii(name)
        if answer.status_code == 200:
            assert answer.json()["name"] == name.strip()


def test_a_deleted_model_is_gone_and_lies_in_the_trash(client: TestClient, text_model: str) -> None:
    assert client.delete(f"models/{text_model}").status_code == 204
    for answer in (client.get(f"models/{text_model}"), client.delete(f"models/{text_model}")):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert "no such model" in answer.json()["detail"]
    assert client.get("trash").json()["items"][0]["restored_id"] == text_model


def test_a_model_whose_run_goes_on_stays(
    client: TestClient, trained: RunManager, text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on = replace(trained.log.run(trained.log.model(text_model).run_id), status=RunStatus.TRAINING)
    monkeypatch.setattr(trained.log, "run", lambda run_id: going_on)
    answer = client.delete(f"models/{text_model}")
    assert answer.status_code == 409 and "has not ended" in answer.json()["detail"]


def test_accuracy_is_measured_told_and_cancelled(client: TestClient, text_model: str, lab_model: str) -> None:
    path = f"models/{text_model}/accuracy"
    assert client.get(path).json() == {"progress": None, "result": None}
    assert client.delete(path).json()["progress"] is None, "nothing goes on, and nothing is said of it"
    begun = client.post(path, json={"questions": 2, "checkpoints": True})
    assert begun.status_code == 202 and not begun.json()["progress"]["ended"]
    assert client.post(path, json={}).status_code == 409, "one at a time"
    assert client.delete(f"models/{lab_model}/accuracy").json() == {"progress": None, "result": None}
    assert client.delete(f"models/{text_model}").status_code == 409, "it is being measured"
    until(lambda: client.get(path).json()["progress"]["ended"], "the end of measuring")
    told = client.get(path).json()
    assert told["progress"]["problem"] is None
    steps = told["result"]["steps"]
    assert [step["step"] for step in steps] == [2, 4]
    (score,) = steps[-1]["scores"]
    assert (score["dataset"], score["asked"]) == ("Synthetic", 2)
    assert score["share"] == score["right"] / 2 and score["interval"][0] <= score["share"] <= score["interval"][1]
    client.post(path, json={"questions": 1000})
    assert client.delete(path).json()["progress"]["ended"]
    assert client.get(path).json()["result"] == told["result"], "what was measured before stays"


def test_what_cannot_be_measured_is_told(client: TestClient, lab_model: str, text_model: str) -> None:
    answer = client.post(f"models/{lab_model}/accuracy", json={})
    assert answer.status_code == 409 and "answers no questions in words" in answer.json()["detail"]
    for questions in (0, 1001, "many", None):
        assert client.post(f"models/{text_model}/accuracy", json={"questions": questions}).status_code == 422
    assert client.post("models/none/accuracy", json={}).status_code == 404


def test_every_address_of_a_model_that_is_not_there_says_so(client: TestClient) -> None:
    for path in ("", "/artifacts", "/artifacts/weights", "/archive", "/accuracy"):
        assert client.get(f"models/none{path}").status_code == 404, path
    assert client.delete("models/none/accuracy").status_code in (200, 404)

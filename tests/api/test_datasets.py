"""Datasets looked at through the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cognate_core.api.routes.datasets import _fetching
from cognate_core.api.streams import working
from cognate_core.data import sources
from cognate_core.runs import RunManager
from tests.pages.test_datasets import write_dataset
from tests.there import there


@pytest.fixture
def gsm8k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GSM8K in a local folder, where 4 of 10 held-out rows are training rows, too; the hub must not be asked."""
    monkeypatch.setenv("COGNATE_DATASETS_DIR", str(tmp_path / "local"))
    write_dataset(tmp_path / "local" / "gsm8k" / "main", same=4)
    monkeypatch.setattr(sources, "_hub_rows", lambda *_: pytest.fail("the hub was asked"))


def test_what_is_here_is_told_and_nobody_is_asked(api: TestClient, gsm8k: None) -> None:
    told = {dataset["name"]: dataset for dataset in api.get("/v1/datasets").json()}
    assert {name: dataset["here"] for name, dataset in told.items()} == {
        "GSM8K": True,
        "SVAMP": False,
        "HotpotQA": False,
        "Synthetic": True,
    }
    assert told["GSM8K"]["hub_id"] == "openai/gsm8k"
    for path in ("rows", "lengths", "overlap", "near-duplicates"):
        answer = api.get(f"/v1/datasets/SVAMP/{path}")
        assert answer.status_code == 404 and "Fetch it" in answer.json()["detail"]
        assert "Choose one of GSM8K" in api.get(f"/v1/datasets/none/{path}").json()["detail"]


def test_only_a_fetch_asks_the_network(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "HUB_TRIES", 1)
    answer = api.post("/v1/datasets/SVAMP/fetch", json={})
    assert answer.status_code == 502 and "could not be fetched from the hub" in answer.json()["detail"]
    assert api.get("/v1/datasets/SVAMP/fetch").status_code == 405
    assert api.post("/v1/datasets/none/fetch", json={}).status_code == 404
    with _fetching.taken():
        assert api.post("/v1/datasets/SVAMP/fetch", json={}).status_code == 429


def test_a_fetched_dataset_is_here(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"Question": "How many?", "Equation": "1"}
    rows = [{**row, "Body": f"Tom has {n} pears.", "Answer": str(n)} for n in range(1, 6)]
    monkeypatch.setattr("cognate_core.data.hub.hub_problem", lambda: None)
    monkeypatch.setattr(sources, "_hub_rows", lambda *_: iter(rows))
    assert api.post("/v1/datasets/SVAMP/fetch", json={}).json()["here"] is True
    first = api.get("/v1/datasets/SVAMP/rows").json()["items"][0]
    assert "Tom has 1 pears" in first["prompt"]


def test_rows_are_given_page_by_page(api: TestClient, gsm8k: None) -> None:
    first = api.get("/v1/datasets/GSM8K/rows?limit=30").json()
    second = api.get(f"/v1/datasets/GSM8K/rows?limit=30&after={first['next']}").json()
    assert (first["training_rows"], first["heldout_rows"], first["skipped"]) == (50, 10, {})
    assert [row["number"] for row in first["items"] + second["items"]] == list(range(1, 51))
    assert second["next"] is None
    row = second["items"][-1]
    assert "How much are 49 plus one?" in row["prompt"] and "50" in row["answer"]
    assert row["characters"] == len(row["prompt"] + row["answer"])
    heldout = api.get("/v1/datasets/GSM8K/rows?split=heldout").json()["items"]
    assert "How much are 46 plus one?" in heldout[0]["prompt"] and len(heldout) == 10
    assert api.get("/v1/datasets/GSM8K/rows?split=test").status_code == 422
    assert api.get(f"/v1/datasets/GSM8K/rows?after={10**17}").json()["items"] == []


def test_lengths_tell_what_does_not_fit(api: TestClient, gsm8k: None) -> None:
    told = api.get("/v1/datasets/GSM8K/lengths").json()["training"]
    assert (told["rows"], told["left_out"], told["cut"]) == (50, 0, 0)
    assert told["mean"] == pytest.approx(told["tokens"] / 50) and told["longest"] >= told["percentile_95"]
    short = api.get("/v1/datasets/GSM8K/lengths?train_seq_len=16").json()
    assert short["training"]["left_out"] == 50 and short["training"]["longest"] == told["longest"]
    assert api.get("/v1/datasets/GSM8K/lengths?train_seq_len=0").json()["problems"].keys() >= {"train_seq_len"}
    assert api.get("/v1/datasets/GSM8K/lengths?train_seq_len=many").status_code == 422
    assert api.get("/v1/datasets/GSM8K/lengths?prepared=..").status_code == 404


def test_the_tokenizer_of_an_earlier_run_is_taken(client: TestClient, trained: RunManager, text_model: str) -> None:
    report = there(trained.log.run(trained.log.model(text_model).run_id).data_report)
    told = client.get(f"datasets/Synthetic/lengths?prepared={report['content_hash']}").json()
    assert told["vocabulary"] == 400


def test_held_out_rows_that_are_trained_on_are_found(api: TestClient, gsm8k: None) -> None:
    told = api.get("/v1/datasets/GSM8K/overlap").json()
    assert (told["heldout_rows"], told["same"], told["numbers"], told["passage"]) == (10, 4, 6, 0)
    assert told["matches"][0] == {"heldout": 1, "train": 47, "kind": "same", "share": 1.0}
    few = api.get("/v1/datasets/GSM8K/overlap?limit=1").json()
    assert len(few["matches"]) == 1 and few["same"] == 4
    other = api.get("/v1/datasets/GSM8K/overlap?train=Synthetic").json()
    assert (other["heldout_rows"], other["matches"]) == (10, [])
    assert api.get("/v1/datasets/GSM8K/overlap?train=SVAMP").status_code == 404


def test_training_rows_that_nearly_repeat_another_are_found(api: TestClient, gsm8k: None) -> None:
    told = api.get("/v1/datasets/GSM8K/near-duplicates").json()
    assert (told["training_rows"], told["near_duplicates"], told["of_heldout"]) == (50, 4, 4)
    assert told["pairs"][0] == {"row": 47, "repeats": 1, "of_heldout": True, "similarity": 1.0}
    few = api.get("/v1/datasets/GSM8K/near-duplicates?limit=1").json()
    assert len(few["pairs"]) == 1 and few["near_duplicates"] == 4
    assert api.get("/v1/datasets/GSM8K/near-duplicates?limit=0").status_code == 422


def test_a_mixture_is_reckoned_and_its_first_batch_shown(api: TestClient, gsm8k: None) -> None:
    settings = {"dataset_sources": ["GSM8K", "Synthetic"], "mixture_weights": "GSM8K=1, Synthetic=3", "batch_size": 4}
    told = api.post("/v1/mixture", json={"settings": settings}).json()
    assert {share["name"]: share["of_sequences"] for share in told["shares"]} == {"GSM8K": 0.25, "Synthetic": 0.75}
    own = told["shares"][0]
    assert own["passes"] == pytest.approx(told["drawn_sequences"] * 0.25 / own["sequences"])
    assert len(told["batch"]) == 4
    kinds = {piece["kind"] for sequence in told["batch"] for piece in sequence["pieces"]}
    assert {"target", "end"} <= kinds
    assert api.post("/v1/mixture", json={"settings": settings}).json() == told


def test_a_mixture_is_of_the_problems_that_the_settings_ask_for(api: TestClient) -> None:
    settings = {"dataset_sources": ["Synthetic"], "vocab_size": 2048, "batch_size": 1}

    def batch(level: str) -> object:
        told = api.post("/v1/mixture", json={"settings": {**settings, "word_problems": level}}).json()
        return told["batch"]

    assert batch("sums-to-20") != batch("two-steps")


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"seed": "x"}, 422, "Seed"),
        ({"colour": 1}, 422, "colour"),
        ({"dataset_sources": ["none"]}, 422, "none"),
        ({"dataset_sources": ["SVAMP"]}, 404, "not on this computer"),
        ({"dataset_sources": ["GSM8K"], "mixture_weights": {"GSM8K": 0}}, 422, "weight"),
        ({"dataset_path": "/etc/passwd"}, 404, "no such dataset"),
        ({"dataset_path": "../../studio.sqlite"}, 404, "no such dataset"),
        ({"dataset_path": "GSM8K"}, 404, "must be a file's name"),
        ({"task": "arithmetic"}, 422, "text"),
        ([], 422, "settings"),
    ],
)
def test_a_mixture_that_cannot_be_made_is_told(
    api: TestClient, gsm8k: None, settings: Any, status: int, words: str
) -> None:
    answer = api.post("/v1/mixture", json={"settings": settings})
    assert answer.status_code == status and words in answer.text


def test_only_two_are_gone_through_at_once(api: TestClient) -> None:
    with working.taken(), working.taken():
        for path in ("rows", "lengths", "overlap", "near-duplicates"):
            assert api.get(f"/v1/datasets/Synthetic/{path}").status_code == 429
        settings = {"dataset_sources": ["Synthetic"]}
        assert api.post("/v1/mixture", json={"settings": settings}).status_code == 429

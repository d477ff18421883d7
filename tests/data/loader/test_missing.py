"""What cannot be had is told, and what stands in."""

from collections import Counter
from pathlib import Path

import pytest

from cognate_core.config import DATASETS
from cognate_core.contracts import Event
from cognate_core.data.prepared import PreparedData
from cognate_core.data.questions import examination, heldout_questions
from cognate_core.errors import DataError
from tests.data.loader.prepared import SMALL, gsm8k_row, prepare, texts_in, write_rows

SWITCHED_OFF = "the hub is switched off on this computer (HF_HUB_OFFLINE is set)"  # in every test


def test_whether_the_hub_can_be_reached_is_asked_once_and_only_if_something_must_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hub_problem() -> str:
        asked.append("")
        return "the line is cut"

    monkeypatch.setattr("cognate_core.data.hub.hub_problem", hub_problem)
    prepare(SMALL, tmp_path)
    assert asked == []
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "Synthetic", "SVAMP", "HotpotQA"]}), tmp_path)
    assert asked == [""]
    assert outcome.warnings == [
        "GSM8K, SVAMP and HotpotQA could not be fetched from the hub: the line is cut. The run continues without them."
    ]


def test_when_nothing_can_be_had_made_problems_stand_in_visibly(tmp_path: Path) -> None:
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "SVAMP"]}), tmp_path)
    assert outcome.results == {"GSM8K": False, "SVAMP": False}
    assert outcome.report.fallback
    synthetic, gsm8k, svamp = outcome.report.sources
    assert (synthetic.name, synthetic.loaded, synthetic.train_rows) == ("Synthetic", True, 40)
    for source, name in ((gsm8k, "GSM8K"), (svamp, "SVAMP")):
        assert (source.name, source.asked_for, source.loaded) == (name, DATASETS[name].id, False)
        assert source.reason == f"{name} could not be fetched from the hub: {SWITCHED_OFF}."
        assert (source.train_rows, source.train_tokens) == (0, 0)
    assert outcome.warnings == [
        f"GSM8K and SVAMP could not be fetched from the hub: {SWITCHED_OFF}. The run continues without them.",
        "No dataset is available: the run uses built-in synthetic word problems instead.",
    ]
    assert PreparedData(outcome.folder).sources == ["Synthetic"]


def test_what_can_be_had_is_used_and_the_rest_is_reported(local: Path, tmp_path: Path) -> None:
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["SVAMP", "GSM8K"]}), tmp_path / "cache")
    assert outcome.results == {"GSM8K": True, "SVAMP": False}
    assert not outcome.report.fallback
    assert [(source.name, source.loaded) for source in outcome.report.sources] == [("GSM8K", True), ("SVAMP", False)]
    assert PreparedData(outcome.folder).sources == ["GSM8K"]
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].endswith("The run continues without it.")
    assert "The local folder has no svamp. SVAMP could not be fetched" in outcome.report.sources[1].reason


def test_a_dataset_that_is_there_but_broken_is_no_reason_to_go_on(local: Path, tmp_path: Path) -> None:
    (local / "gsm8k/main/train.jsonl").write_text("broken\n" * 10)
    with pytest.raises(DataError, match=r"^10 of 10 rows cannot be used"):
        prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "Synthetic"]}), tmp_path / "cache")


def test_rows_that_are_all_too_long_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"^Every row is longer than the training length of 16 tokens\. "
        r"Raise the training length, or have long rows cut\.$",
    ):
        prepare(SMALL.with_overrides({"train_seq_len": 16}), tmp_path)
    assert list(tmp_path.glob("prepared/*")) == []


def test_rows_that_are_too_long_are_counted(local: Path, tmp_path: Path) -> None:
    long, other = ({"question": word * 400, "answer": "So.\n#### 1"} for word in ("Why? ", "How? "))
    write_rows(local / "gsm8k/main/train.jsonl", [long, *map(gsm8k_row, range(30))])
    write_rows(local / "gsm8k/main/test.jsonl", [other])
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    (source,) = outcome.report.sources
    assert source.skipped == {"longer than 256 tokens": 2}
    assert (source.train_rows, source.heldout_rows) == (30, 0)
    assert texts_in(PreparedData(outcome.folder), "GSM8K", "heldout") == Counter()


def test_rows_that_are_too_long_are_cut_if_that_is_asked_for(local: Path, tmp_path: Path) -> None:
    long, other = ({"question": word * 400, "answer": "So.\n#### 1"} for word in ("Why? ", "How? "))
    write_rows(local / "gsm8k/main/train.jsonl", [long, *map(gsm8k_row, range(30))])
    write_rows(local / "gsm8k/main/test.jsonl", [other])
    config = SMALL.with_overrides({"dataset_sources": ["GSM8K"], "long_rows": "cut", "loss_on_answer_only": True})
    outcome = prepare(config, tmp_path / "cache")
    (source,) = outcome.report.sources
    assert (source.skipped, source.train_rows, source.heldout_rows, source.cut_rows) == ({}, 31, 1, 2)
    told = [record.message for record in outcome.records if isinstance(record, Event)]
    assert told == ["GSM8K: 2 rows are longer than 256 tokens and cut over several sequences."]
    data = PreparedData(outcome.folder)
    tokens, counted = data.packed("GSM8K", "heldout").tokens, data.packed("GSM8K", "heldout").counted
    assert data.tokenizer().decode(tokens[counted.astype(bool)].tolist(), skip_special_tokens=True) == " So.\n#### 1"
    assert heldout_questions(data, "GSM8K", 10, seed=0) == []
    assert examination(data, "GSM8K", 10, seed=0) is None


def test_no_piece_of_a_row_is_a_question(tmp_path: Path) -> None:
    config = SMALL.with_overrides({"train_seq_len": 128, "max_train_samples": 200, "max_eval_samples": 60})
    left_out, cut = (prepare(config.with_overrides({"long_rows": rule}), tmp_path) for rule in ("leave-out", "cut"))
    assert sum(source.cut_rows or 0 for source in cut.report.sources) > 20
    whole, among_pieces = (
        heldout_questions(PreparedData(each.folder), "Synthetic", 1_000, seed=0) for each in (left_out, cut)
    )
    assert len(whole) > 5
    assert {each.prompt for each in whole} == {each.prompt for each in among_pieces}
    assert len(whole) == len(among_pieces)

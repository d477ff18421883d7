"""Looking at a dataset: nothing is fetched by looking, and every figure agrees with a count by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.data import sources
from cognate_core.data.documents import Document
from cognate_core.data.inspection import (
    dataset_state,
    fetch,
    measure_lengths,
    new_tokenizer,
    open_source,
    prepared_folders,
    prepared_tokenizer,
    tokens_of,
)
from cognate_core.data.packing import EncodedDocument
from cognate_core.data.sources import splits_here, synthetic_source
from cognate_core.errors import DataError, DatasetUnavailable
from cognate_core.runs import RunManager
from tests.waiting import LONG

FEW = TrainingConfig(max_train_samples=40, max_eval_samples=4)


@pytest.fixture(autouse=True)
def _the_hub_must_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(sources, "_hub_rows", asked)


def write_split(path: Path, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"question": f"What is {n} + {path.stem[:2]}?", "answer": f"#### {n}"}) for n in range(rows)]
    path.write_text("\n".join(lines))


def test_a_dataset_that_is_not_here_is_said_to_be_missing(tmp_path: Path) -> None:
    assert dataset_state("GSM8K", tmp_path) is None
    assert splits_here("GSM8K", tmp_path) is None
    with pytest.raises(DatasetUnavailable, match="GSM8K is not on this computer"):
        open_source("GSM8K", FEW, tmp_path)


def test_what_an_earlier_run_fetched_is_found_whatever_number_of_rows_it_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "gsm8k"
    for name in ("train-7", "train-30", "test-3", "train-x"):
        write_split(
            folder / f"{name}.jsonl", 3 if name.startswith("test") else int(name[6:]) if name[6:].isdigit() else 99
        )
    (folder / "train-99.partial-abc").write_text("half of it")
    found = splits_here("GSM8K", tmp_path)
    assert found is not None and found[0].name == "train-30.jsonl"
    source = open_source("GSM8K", FEW, tmp_path)
    assert (len(source.train), len(source.heldout)) == (30, 3)
    assert source.origin == "Hugging Face hub, openai/gsm8k (fetched earlier)"


def test_half_of_what_was_fetched_is_not_a_dataset(tmp_path: Path) -> None:
    write_split(tmp_path / "hub" / "gsm8k" / "train-30.jsonl", 30)
    assert dataset_state("GSM8K", tmp_path) is None


def test_the_local_folder_comes_first_and_only_some_rows_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COGNATE_DATASETS_DIR", str(tmp_path / "local"))
    for split in ("train", "test"):
        write_split(tmp_path / "local" / "gsm8k" / "main" / f"{split}.jsonl", 50)
        write_split(tmp_path / "hub" / "gsm8k" / f"{split}-9.jsonl", 9)
    source = open_source("GSM8K", FEW, tmp_path)
    assert (len(source.train), len(source.heldout), source.origin) == (40, 4, "local folder, gsm8k/main")


def test_a_changed_file_is_another_state(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_split(tmp_path / "hub" / "gsm8k" / f"{split}-9.jsonl", 9)
    before = dataset_state("GSM8K", tmp_path)
    assert before is not None
    assert dataset_state("GSM8K", tmp_path) == before
    write_split(tmp_path / "hub" / "gsm8k" / "train-9.jsonl", 8)
    assert dataset_state("GSM8K", tmp_path) != before
    assert dataset_state("Synthetic", tmp_path) == ()


def test_fetching_asks_the_hub_and_what_came_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"question": f"What is {n}?", "answer": f"#### {n}"} for n in range(9)]
    monkeypatch.setattr("cognate_core.data.hub.hub_problem", lambda: None)
    monkeypatch.setattr(sources, "_hub_rows", lambda *_: iter(rows))
    told: list[str] = []
    fetch("GSM8K", FEW, tmp_path, told.append)
    assert told
    assert len(open_source("GSM8K", FEW, tmp_path).train) == 9


def test_an_own_file_is_opened_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    write_split(path, 30)
    source = open_source("Own file", FEW.with_overrides({"dataset_path": str(path)}), tmp_path)
    assert len(source.train) + len(source.heldout) == 30
    path.write_text("")
    with pytest.raises(DataError, match="empty"):
        open_source("Own file", FEW.with_overrides({"dataset_path": str(path)}), tmp_path)


def test_lengths_agree_with_a_count_by_hand() -> None:
    source = synthetic_source(FEW)
    tokenizer = new_tokenizer(source, 400)
    found = measure_lengths(tokens_of(source.train, tokenizer), 96)
    by_hand = [
        len(tokenizer.encode(document.prompt).ids) + len(tokenizer.encode(document.answer).ids)
        for document in source.train
    ]
    assert found.tokens.tolist() == by_hand
    assert found.mean == pytest.approx(statistics.fmean(by_hand))
    assert found.median == statistics.median(by_hand)
    assert found.longest == max(by_hand)
    assert sum(length <= found.percentile_95 for length in by_hand) >= 0.95 * len(by_hand) - 1
    fitting = [length for length in by_hand if length + 1 <= 96]  # each row is followed by an end-of-text
    assert found.left_out == len(by_hand) - len(fitting) > 0
    assert found.cut == 0
    assert found.padding == pytest.approx(1 - sum(length + 1 for length in fitting) / (found.sequences * 96))


def test_plain_text_goes_on_and_is_not_left_out() -> None:
    found = measure_lengths([EncodedDocument(range(1, 101), 0), EncodedDocument(range(1, 11), 0)], 32)
    assert (found.left_out, found.cut) == (0, 1)
    assert found.sequences == 4
    assert found.padding == pytest.approx(1 - (100 + 1 + 11) / (4 * 32))  # 32 + 32 + 32 + 4, and one end


def test_long_rows_are_cut_if_that_is_asked_for() -> None:
    rows = [EncodedDocument(range(1, 101), 5), EncodedDocument(range(1, 11), 5)]
    left_out, cut = measure_lengths(rows, 32), measure_lengths(rows, 32, cut_rows=True)
    assert (left_out.left_out, left_out.cut, left_out.sequences) == (1, 0, 1)
    assert (cut.left_out, cut.cut, cut.sequences) == (0, 1, 4)


@pytest.mark.parametrize(
    ("sizes", "length"),
    [
        ([10], 16),
        ([15] * 20, 16),
        ([16] * 20, 32),  # each row has its end
        ([10] * 19 + [5_000], 16),
        ([10] * 18 + [40, 5_000], 48),
        ([10] * 18 + [5_000] * 2, 5_008),
        ([16_383] * 20, 16_384),
        ([16_384] * 20, None),  # a training length ends there
    ],
)
def test_the_fitting_length_is_the_shortest_that_95_percent_fit(sizes: list[int], length: int | None) -> None:
    rows = [EncodedDocument([1] * size, 1) for size in sizes]
    assert measure_lengths(rows, 64).fitting() == length
    if length is not None:
        fits = [measure_lengths(rows, each).left_out <= 0.05 * len(rows) for each in (length, length - 16) if each]
        assert fits == [True, False][: len(fits)]


def test_when_no_row_fits_there_is_no_padding_to_speak_of() -> None:
    found = measure_lengths([EncodedDocument(range(1, 101), 5)], 32)
    assert (found.left_out, found.sequences, found.padding) == (1, 0, 0.0)


def test_prepared_folders_tell_where_their_text_came_from(manager: RunManager, tiny_config: TrainingConfig) -> None:
    cache = manager.home / "cache"
    assert prepared_folders(cache) == []
    assert manager.wait(manager.start(tiny_config.with_overrides({"max_steps": 1}), "run", ["m"]), LONG)
    (folder,) = prepared_folders(cache)
    assert folder.report is not None
    assert [source.origin for source in folder.report.sources] == ["made on this computer"]
    text = "Problem: What is 3 + 4?"
    tokenizer = prepared_tokenizer(folder.path)
    (row,) = tokens_of([Document("", text)], tokenizer)
    assert tokenizer.decode(list(row.ids)) == text
    assert np.all(np.array(row.ids) < folder.report.vocabulary)

    (folder.path / "manifest.json").write_text("{}")
    (cache / "prepared" / "half.tmp-1").mkdir()
    (damaged,) = prepared_folders(cache)
    assert damaged.report is None
    with pytest.raises(DataError, match="damaged"):
        prepared_tokenizer(folder.path)

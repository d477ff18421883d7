"""The local folder, bad rows, files of one's own, and rows made here."""

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.data.own_file import own_file_source
from cognate_core.data.row_files.rows import TOO_LONG
from cognate_core.data.sources import SourceDocuments, load_source, synthetic_source
from cognate_core.errors import DataError, DatasetUnavailable, HubUnreachable
from tests.data.sources.hubs import CONFIG, FakeHub, answers, problem, quiet, write_rows


def test_the_local_folder_goes_before_the_hub(local: Path, hub: FakeHub, tmp_path: Path) -> None:
    write_rows(local / "gsm8k/main/train.jsonl", [problem(n) for n in range(20)])
    write_rows(local / "gsm8k/main/test.jsonl", [problem(n) for n in range(50, 60)])
    told: list[str] = []
    source = load_source("GSM8K", CONFIG, tmp_path / "cache", told.append)
    assert (source.name, source.asked_for, source.origin) == (
        "GSM8K",
        "openai/gsm8k",
        "local folder, gsm8k/main",
    )
    assert answers(source.train) == [0, 1, 2, 3, 4]
    assert answers(source.heldout) == [50, 51, 52]
    assert not source.skipped
    assert told == ["Reading GSM8K from the local folder"]
    assert hub.asked == []


def test_the_local_folder_may_hold_csv(local: Path, hub: FakeHub, tmp_path: Path) -> None:
    row = "Ann has 3 cats,How many legs?,( 3.0 * 4.0 ),12.0\n"
    for split in ("train", "test"):
        path = local / "svamp" / f"{split}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("Body,Question,Equation,Answer\n" + row, "utf-8")
    source = load_source("SVAMP", CONFIG, tmp_path / "cache", quiet)
    assert [d.answer for d in source.train + source.heldout] == [" 3 * 4 = 12\n#### 12"] * 2


@pytest.mark.parametrize("present", [[], ["train"], ["test"]])
def test_without_a_whole_local_folder_the_hub_is_tried(
    local: Path, hub: FakeHub, tmp_path: Path, present: list[str]
) -> None:
    for split in present:
        write_rows(local / f"gsm8k/main/{split}.jsonl", [problem(0)])
    assert load_source("GSM8K", CONFIG, tmp_path / "cache", quiet).origin == "Hugging Face hub, openai/gsm8k"


def test_when_neither_has_it_both_are_named(local: Path, hub: FakeHub, tmp_path: Path) -> None:
    hub.info_errors = iter([ConnectionError("no network\nsecond line")] * 9)
    with pytest.raises(
        DatasetUnavailable,
        match=r"^The local folder has no gsm8k/main\. GSM8K could not be fetched from the hub in 3 tries "
        r"\(ConnectionError: no network\)\.$",
    ):
        load_source("GSM8K", CONFIG, tmp_path / "cache", quiet)


def test_without_a_connection_the_hub_is_asked_for_nothing(local: Path, hub: FakeHub, tmp_path: Path) -> None:
    told: list[str] = []
    words = "The local folder has no gsm8k/main. GSM8K could not be fetched from the hub: the line is cut."
    with pytest.raises(HubUnreachable, match=f"^{re.escape(words)}$"):
        load_source("GSM8K", CONFIG, tmp_path / "cache", told.append, lambda: "the line is cut")
    assert (hub.asked, hub.loads, hub.waits, told) == ([], [], [], [])


def folder_with_bad_rows(local: Path, good: int, bad: int) -> None:
    rows: list[Any] = [problem(n) for n in range(good)]
    for n in range(bad):
        rows.insert(3 + n, "this is no JSON" if n % 2 else {"question": "Where is the answer?"})
    write_rows(local / "gsm8k/main/train.jsonl", rows)
    write_rows(local / "gsm8k/main/test.jsonl", [problem(n) for n in range(5)])


def test_one_bad_row_in_a_hundred_is_counted(local: Path, tmp_path: Path) -> None:
    folder_with_bad_rows(local, good=198, bad=2)
    source = load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 500}), tmp_path, quiet)
    assert answers(source.train) == list(range(198))
    assert dict(source.skipped) == {
        "the column 'answer' is missing": 1,
        "the row is not valid JSON (one object on each line is expected)": 1,
    }


def test_more_than_one_bad_row_in_a_hundred_names_the_first(local: Path, tmp_path: Path) -> None:
    folder_with_bad_rows(local, good=197, bad=2)
    with pytest.raises(
        DataError,
        match=r"^2 of 199 rows cannot be used; at most 1 in 100 may be bad\. "
        r"The first: train\.jsonl, line 4: the column 'answer' is missing\.$",
    ):
        load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 500}), tmp_path, quiet)


def test_bad_rows_behind_the_limit_are_not_looked_at(local: Path, tmp_path: Path) -> None:
    folder_with_bad_rows(local, good=3, bad=50)
    source = load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 3}), tmp_path, quiet)
    assert answers(source.train) == [0, 1, 2]
    assert not source.skipped


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_of_blank_lines_is_named(local: Path, tmp_path: Path, split: str) -> None:
    folder_with_bad_rows(local, good=5, bad=0)
    (local / f"gsm8k/main/{split}.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match=rf"^{split}\.jsonl of GSM8K has no rows\. Put its rows there"):
        load_source("GSM8K", CONFIG, tmp_path, quiet)


def test_a_text_of_more_than_a_megabyte_is_a_bad_row_whatever_the_file(tmp_path: Path) -> None:
    rows = [b"row %d" % n for n in range(150)] + [b"x" * 1_000_001]
    (tmp_path / "mine.csv").write_bytes(b"text\n" + b"\n".join(rows))
    source = own(tmp_path / "mine.csv")
    assert dict(source.skipped) == {TOO_LONG: 1}
    assert len(source.train) + len(source.heldout) == 150


def own(path: Path, **settings_: Any) -> SourceDocuments:
    return own_file_source(TrainingConfig(dataset_path=str(path), **settings_), quiet)


def test_an_own_file_keeps_one_row_in_twenty_apart(tmp_path: Path) -> None:
    source = own(write_rows(tmp_path / "mine.jsonl", [{"text": f"row {n}"} for n in range(60)]))
    assert (source.name, source.asked_for, source.origin) == ("Own file", "mine.jsonl", "own file, mine.jsonl")
    assert (len(source.train), len(source.heldout)) == (57, 3)
    assert {d.text for d in source.train + source.heldout} == {f"row {n}" for n in range(60)}


def test_an_own_file_keeps_to_the_numbers_of_rows(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "mine.jsonl", [{"text": f"row {n}"} for n in range(200)])
    source = own(path, max_train_samples=30, max_eval_samples=2)
    assert (len(source.train), len(source.heldout)) == (30, 2)


@pytest.mark.parametrize("count", [1, 2])
def test_an_own_file_needs_two_different_rows(tmp_path: Path, count: int) -> None:
    path = write_rows(tmp_path / "mine.jsonl", [{"text": "the same"}] * count)
    with pytest.raises(
        DataError, match=r"^mine\.jsonl has 1 usable row( \(the others repeat it\))?; at least two are needed"
    ):
        own(path)


def test_an_own_file_of_blank_lines_has_no_row(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("\n\n \n", "utf-8")
    with pytest.raises(DataError, match=r"^mine\.txt has no usable rows; at least two"):
        own(tmp_path / "mine.txt")


def test_two_rows_are_enough(tmp_path: Path) -> None:
    source = own(write_rows(tmp_path / "mine.jsonl", [{"text": "one"}, {"text": "two"}]))
    assert (len(source.train), len(source.heldout)) == (1, 1)


def test_rows_that_stand_twice_are_counted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "mine.jsonl", [{"text": text} for text in ("a", "b", "a", "c", " a ", "b")])
    source = own(path)
    assert sorted(d.text.strip() for d in source.train + source.heldout) == ["a", "b", "c"]
    assert dict(source.skipped) == {"the same text appears twice": 3}


def test_a_bad_row_of_an_own_file_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "mine.jsonl", [{"text": "a"}, {"txt": "b"}, {"text": "c"}])
    with pytest.raises(DataError, match=r"^1 of 3 rows cannot be used; .* The first: mine\.jsonl, line 2: none of"):
        own(path)


def test_half_a_letter_makes_one_bad_row(tmp_path: Path) -> None:
    # JSON may spell half of a two-part letter; no tokenizer and no UTF-8 file can hold it
    rows = [{"text": f"row {n}"} for n in range(150)]
    path = write_rows(tmp_path / "mine.jsonl", [*rows, '{"text": "\\ud83d"}'])
    source = own(path)
    assert {d.text for d in source.train + source.heldout} == {row["text"] for row in rows}
    assert sum(source.skipped.values()) == 1


@settings(max_examples=25)
@given(data=st.data(), texts=st.lists(st.text("abcdef", min_size=1), min_size=2, max_size=60, unique=True))
def test_which_rows_are_held_out_depends_on_their_text_alone(data: st.DataObject, texts: list[str]) -> None:
    shuffled = data.draw(st.permutations(texts))
    with tempfile.TemporaryDirectory() as folder:
        first = own(write_rows(Path(folder) / "one.jsonl", [{"text": text} for text in texts]))
        second = own(write_rows(Path(folder) / "other.jsonl", [{"text": text} for text in shuffled]))
    assert first.heldout == second.heldout
    assert first.train == second.train
    assert not {d.text for d in first.heldout} & {d.text for d in first.train}
    assert {d.text for d in first.heldout + first.train} == set(texts)


def test_made_rows_are_the_same_each_time_and_none_is_held_out_and_learned() -> None:
    config = TrainingConfig(dataset_sources=["Synthetic"], max_train_samples=80, max_eval_samples=20)
    source, again = synthetic_source(config), load_source("Synthetic", config, Path("unused"), quiet)
    assert (source.train, source.heldout) == (again.train, again.heldout)
    assert (len(source.train), len(source.heldout)) == (80, 20)
    assert not {d.text for d in source.train} & {d.text for d in source.heldout}


def test_as_many_held_out_as_training_rows_leave_some_to_learn_from() -> None:
    config = TrainingConfig(dataset_sources=["Synthetic"], max_train_samples=1, max_eval_samples=9)
    source = synthetic_source(config)
    assert len(source.train) >= 1
    assert len(source.heldout) <= 9

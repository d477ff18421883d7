"""Where rows come from: the local folder first, then the hub (here a double), a person's own file, made ones."""

import itertools
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import DATASETS, TrainingConfig
from cognate_core.data import sources as sources_module
from cognate_core.data.files import TOO_LONG
from cognate_core.data.sources import SourceDocuments, load_source, own_file_source, synthetic_source
from cognate_core.errors import CancelRequested, DataError, DatasetUnavailable, HubUnreachable
from tests.waiting import LONG

CONFIG = TrainingConfig(max_train_samples=5, max_eval_samples=3)


def problem(number: int) -> dict[str, str]:
    return {"question": f"What is {number} + 0?", "answer": f"It is <<{number}+0={number}>>{number}.\n#### {number}"}


def answers(documents: list[Any]) -> list[int]:
    return [int(document.answer.rpartition("#### ")[2]) for document in documents]


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def quiet(message: str) -> None:
    """A Tell that shows nothing."""


class FakeHub:
    """Stands in for the hub: `rows` for each split, and errors to raise, one for each call that should fail."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.loads: list[tuple[Any, ...]] = []
        self.waits: list[float] = []
        self.rows: dict[str, list[dict[str, Any]]] = {
            "train": [problem(n) for n in range(100, 200)],
            "test": [problem(n) for n in range(10)],
        }
        self.info_errors: Iterator[BaseException] = iter(())
        self.load_errors: Iterator[BaseException] = iter(())
        self.said: dict[str, Any] | None = None  # what the dataset's page says of its splits
        self.stream: Callable[[str, int], Iterator[dict[str, Any]]] = lambda split, n: iter(self.rows[split][:n])

    def dataset_info(self, api: object, dataset_id: str, **options: Any) -> None:
        self.asked.append((dataset_id, options))
        for error in self.info_errors:
            raise error

    def load_dataset(self, dataset_id: str, config: str | None, **options: Any) -> Any:
        self.loads.append((dataset_id, config, options))
        for error in self.load_errors:
            raise error
        hub, split = self, options["split"]

        class Rows:
            info = datasets.DatasetInfo.from_dict({"splits": hub.said})

            def take(self, n: int) -> Iterator[dict[str, Any]]:
                return hub.stream(split, n)

        return Rows()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda api, name, **options: fake.dataset_info(api, name, **options)
    )
    monkeypatch.setattr(datasets, "load_dataset", fake.load_dataset)
    monkeypatch.setattr("cognate_core.data.hub.hub_problem", lambda: None)
    monkeypatch.setattr("cognate_core.data.sources.sleep", fake.waits.append)
    return fake


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setenv("COGNATE_DATASETS_DIR", str(folder))
    return folder


# The local folder


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


# The hub


@pytest.mark.parametrize(
    ("name", "config", "heldout"),
    [("GSM8K", "main", "test"), ("SVAMP", None, "test"), ("HotpotQA", "distractor", "validation")],
)
def test_the_hub_is_asked_for_the_right_splits(
    hub: FakeHub, tmp_path: Path, name: str, config: str | None, heldout: str
) -> None:
    row: dict[str, Any] = {
        **problem(1),
        **{"Body": "b", "Question": "q?", "Equation": "1", "Answer": "1"},
        "context": {"title": ["t"], "sentences": [["s"]]},
        "supporting_facts": {"title": ["t"]},
    }
    hub.rows = {"train": [row] * 9, heldout: [row] * 9}
    source = load_source(name, CONFIG, tmp_path, quiet)
    assert hub.loads == [
        (DATASETS[name], config, {"split": "train", "streaming": True}),
        (DATASETS[name], config, {"split": heldout, "streaming": True}),
    ]
    assert (len(source.train), len(source.heldout)) == (5, 3)
    assert source.origin == f"Hugging Face hub, {DATASETS[name]}"


def test_the_hub_gives_no_more_rows_than_wanted(hub: FakeHub, tmp_path: Path) -> None:
    taken: list[int] = []

    def stream(split: str, n: int) -> Iterator[dict[str, Any]]:
        for row in hub.rows[split]:
            taken.append(n)
            yield row

    hub.stream = lambda split, n: itertools.islice(stream(split, n), n)
    source = load_source("GSM8K", CONFIG, tmp_path, quiet)
    assert taken == [5] * 5 + [3] * 3
    assert answers(source.train) == [100, 101, 102, 103, 104]
    assert answers(source.heldout) == [0, 1, 2]


def test_a_second_run_reads_what_the_first_fetched(hub: FakeHub, tmp_path: Path) -> None:
    first = load_source("GSM8K", CONFIG, tmp_path, quiet)
    asked = len(hub.asked)
    again = load_source("GSM8K", CONFIG, tmp_path, quiet)
    assert len(hub.asked) == asked
    assert (again.train, again.heldout) == (first.train, first.heldout)
    assert again.origin == "Hugging Face hub, openai/gsm8k (fetched earlier)"


def test_more_rows_than_are_there_are_fetched(hub: FakeHub, tmp_path: Path) -> None:
    load_source("GSM8K", CONFIG, tmp_path, quiet)
    more = load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 7}), tmp_path, quiet)
    assert len(more.train) == 7
    assert hub.loads[-1][2]["split"] == "train", "of the held-out rows enough were there"


def test_of_more_rows_than_are_asked_for_the_first_are_used(hub: FakeHub, tmp_path: Path) -> None:
    """Just those that would be fetched: the same settings are the same data, whatever was fetched before."""
    hub.rows["train"] = [problem(n) for n in range(200)]
    hub.rows["train"][2] = {"question": "Who?"}  # without an answer
    wanted = CONFIG.with_overrides({"max_train_samples": 150})
    fetched = load_source("GSM8K", wanted, tmp_path / "new", quiet)
    load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 180}), tmp_path / "old", quiet)
    load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 190}), tmp_path / "old", quiet)
    hub.load_errors = hub.info_errors = iter([OSError("no network")] * 9)
    kept = load_source("GSM8K", wanted, tmp_path / "old", quiet)
    assert (kept.train, kept.heldout, kept.skipped) == (fetched.train, fetched.heldout, fetched.skipped)
    assert len(kept.train) == 149
    assert kept.origin == "Hugging Face hub, openai/gsm8k (fetched earlier)"


def test_a_split_that_is_there_whole_is_enough_for_any_number(hub: FakeHub, tmp_path: Path) -> None:
    load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 500}), tmp_path, quiet)
    hub.load_errors = hub.info_errors = iter([OSError("no network")] * 9)
    assert len(load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 9000}), tmp_path, quiet).train) == 100
    with pytest.raises(DatasetUnavailable):  # of these, exactly as many are there as were asked for
        load_source("GSM8K", CONFIG.with_overrides({"max_eval_samples": 4}), tmp_path, quiet)


def test_the_hub_is_tried_a_second_time(hub: FakeHub, tmp_path: Path) -> None:
    hub.info_errors = iter([TimeoutError("too slow")])
    told: list[str] = []
    source = load_source("GSM8K", CONFIG, tmp_path, told.append)
    assert len(source.train) == 5
    assert told == ["Fetching GSM8K from the hub", "Fetching GSM8K from the hub, try 2 of 3"]
    assert len(hub.waits) == 1


class OddError(Exception):
    """An error of no known family, as the hub's transport has some."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("gone"), r"\(OSError: gone\)"),
        (OSError(-3, "Temporary failure in name resolution"), r"\(OSError: Temporary failure in name resolution\)"),
        (ValueError("Config 'main' not found"), r"\(ValueError: Config 'main' not found\)"),
        (RuntimeError(), r"\(RuntimeError.*\)"),
        (RuntimeError("x" * 5_000), r"\(RuntimeError: x{100,200}\)"),
        (OddError("odd\nand long"), r"\(OddError: odd\)"),
    ],
)
def test_after_three_tries_the_hub_is_given_up(hub: FakeHub, tmp_path: Path, error: Exception, words: str) -> None:
    hub.load_errors = iter([error] * 9)
    with pytest.raises(DatasetUnavailable, match=rf"^GSM8K could not be fetched from the hub in 3 tries {words}\.$"):
        load_source("GSM8K", CONFIG, tmp_path, quiet)
    assert len(hub.loads) == 3
    assert len(hub.waits) == 2


def test_half_a_download_leaves_no_final_file_and_is_fetched_whole_next_time(hub: FakeHub, tmp_path: Path) -> None:
    whole = hub.stream

    def broken(split: str, n: int) -> Iterator[dict[str, Any]]:
        yield from list(whole(split, n))[: n // 2]
        if split == "test":
            raise ConnectionError("the line went dead")

    hub.stream = lambda split, n: broken(split, n) if split == "test" else whole(split, n)
    with pytest.raises(DatasetUnavailable, match="the line went dead"):
        load_source("GSM8K", CONFIG, tmp_path, quiet)
    assert [file.name for file in tmp_path.rglob("*.jsonl")] == ["train-5.jsonl"]
    hub.stream = whole
    assert answers(load_source("GSM8K", CONFIG, tmp_path, quiet).heldout) == [0, 1, 2]


def test_a_cancel_while_fetching_is_no_failure_of_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    def tell(message: str) -> None:
        if "rows of train" in message:
            raise CancelRequested

    hub.rows["train"] = [problem(n) for n in range(500)]
    with pytest.raises(CancelRequested):
        load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 500}), tmp_path, tell)
    assert len(hub.asked) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_empty_cells_of_the_hub_count_as_missing_columns(hub: FakeHub, tmp_path: Path) -> None:
    hub.rows["train"] = [problem(n) for n in range(200)]
    hub.rows["train"][7] = {"question": "Why?", "answer": None}
    source = load_source("GSM8K", CONFIG.with_overrides({"max_train_samples": 150}), tmp_path, quiet)
    assert dict(source.skipped) == {"the column 'answer' is missing": 1}


def test_two_runs_may_fetch_the_same_dataset_at_once(hub: FakeHub, tmp_path: Path) -> None:
    # the first run has written most of its rows when the second begins; the first then ends before the second
    second_began, first_ended = threading.Event(), threading.Event()
    streams = itertools.count()
    filler = "x" * 20_000  # more than a file keeps in memory before it writes

    def train_rows() -> list[int]:
        return answers(load_source("GSM8K", CONFIG, tmp_path, quiet).train)

    with ThreadPoolExecutor(1) as pool:
        second: list[Future[list[int]]] = []

        def stream(split: str, n: int) -> Iterator[dict[str, Any]]:
            is_second = split == "train" and next(streams) > 0
            if is_second:
                second_began.set()
                first_ended.wait(LONG)
            for number, row in enumerate(hub.rows[split][:n]):
                if split == "train" and number == 3 and not second and not is_second:
                    second.append(pool.submit(train_rows))
                    second_began.wait(LONG)
                yield {**row, "note": filler}

        hub.stream = stream
        try:
            first = train_rows()
        finally:
            first_ended.set()
        assert first == second[0].result(LONG) == [100, 101, 102, 103, 104]


def test_a_hub_that_hangs_is_given_up_after_a_while(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count()
    monkeypatch.setattr(sources_module, "monotonic", lambda: float(next(now)))  # a second each time it is asked
    monkeypatch.setattr(sources_module, "WAIT_SECONDS", 0.001)
    answers_again = threading.Event()
    whole = hub.stream

    def stream(split: str, n: int) -> Iterator[dict[str, Any]]:
        rows = whole(split, n)
        yield next(rows)
        answers_again.wait(LONG)
        yield from rows

    hub.stream = stream
    told: list[str] = []
    try:
        with pytest.raises(
            DatasetUnavailable, match=r"in 3 tries \(TimeoutError: the hub was silent for 60 seconds\)\.$"
        ):
            load_source("GSM8K", CONFIG, tmp_path, told.append)
    finally:
        answers_again.set()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    tries = ["", ", try 2 of 3", ", try 3 of 3"]
    assert [line for line in told if "Fetching" in line] == [f"Fetching GSM8K from the hub{each}" for each in tries]
    assert told[-1] == "Waiting for the hub for 60 s"


def test_a_cancel_is_heard_while_the_hub_hangs(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "WAIT_SECONDS", 0.001)
    answers_again = threading.Event()

    def stream(split: str, n: int) -> Iterator[dict[str, Any]]:
        assert answers_again.wait(LONG)
        yield from hub.rows[split][:n]

    def tell(message: str) -> None:
        if message.startswith("Waiting for the hub"):
            raise CancelRequested

    hub.stream = stream
    try:
        with pytest.raises(CancelRequested):
            load_source("GSM8K", CONFIG, tmp_path, tell)
        assert any(thread.name == "hub" for thread in threading.enumerate()), "it hangs still"
    finally:
        answers_again.set()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_hub_that_is_left_draws_no_more_rows(hub: FakeHub, tmp_path: Path) -> None:
    drawn: list[int] = []

    def stream(split: str, n: int) -> Iterator[dict[str, Any]]:
        for number in itertools.count():
            drawn.append(number)
            yield problem(number)
            if number > 250:
                left.wait(LONG)

    def tell(message: str) -> None:
        if "rows of train" in message:
            raise CancelRequested

    left = threading.Event()
    hub.stream = stream
    with pytest.raises(CancelRequested):
        load_source("GSM8K", CONFIG, tmp_path, tell)
    left.set()
    for thread in threading.enumerate():
        if thread.name == "hub":
            thread.join(LONG)
            assert not thread.is_alive()
    assert len(drawn) < 260


def test_a_split_with_fewer_rows_than_it_says_is_not_used(hub: FakeHub, tmp_path: Path) -> None:
    hub.said = {"train": {"name": "train", "num_examples": 101}, "test": {"name": "test"}}
    config = CONFIG.with_overrides({"max_train_samples": 500})
    with pytest.raises(DatasetUnavailable, match=r"\(DataError: the hub gave 100 of 101 rows of train\)\.$"):
        load_source("GSM8K", config, tmp_path, quiet)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    hub.said = {"train": {"name": "train", "num_examples": 100}, "test": {"name": "test"}}
    assert len(load_source("GSM8K", config, tmp_path, quiet).train) == 100


def test_a_split_without_a_row_is_not_used(hub: FakeHub, tmp_path: Path) -> None:
    hub.rows["test"] = []
    with pytest.raises(DatasetUnavailable, match=r"\(DataError: the hub gave 0 of 1 rows of test\)\.$"):
        load_source("GSM8K", CONFIG, tmp_path, quiet)


def test_what_is_fetched_is_on_the_disk_before_it_has_its_name(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []  # what was done, to which inode
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(descriptor: int) -> None:
        done.append(("sync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def spy_replace(path: Path, target: Path) -> Path:
        done.append(("rename", path.stat().st_ino))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    load_source("GSM8K", CONFIG, tmp_path, quiet)
    train, test, folder = (
        (tmp_path / "hub/gsm8k" / name).stat().st_ino for name in ("train-5.jsonl", "test-3.jsonl", "")
    )
    assert done == [pair for file in (train, test) for pair in (("sync", file), ("rename", file), ("sync", folder))]


# Bad rows


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
    with pytest.raises(DataError, match=rf"^{split}\.jsonl of GSM8K holds no row\. Put its rows there"):
        load_source("GSM8K", CONFIG, tmp_path, quiet)


def test_a_text_of_more_than_a_megabyte_is_a_bad_row_whatever_the_file(tmp_path: Path) -> None:
    rows = [b"row %d" % n for n in range(150)] + [b"x" * 1_000_001]
    (tmp_path / "mine.csv").write_bytes(b"text\n" + b"\n".join(rows))
    source = own(tmp_path / "mine.csv")
    assert dict(source.skipped) == {TOO_LONG: 1}
    assert len(source.train) + len(source.heldout) == 150


# A person's own file


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
    with pytest.raises(DataError, match=r"^mine\.jsonl has 1 usable row\(s\); at least two are needed"):
        own(path)


def test_an_own_file_of_blank_lines_has_no_row(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("\n\n \n", "utf-8")
    with pytest.raises(DataError, match=r"^mine\.txt has 0 usable row\(s\)"):
        own(tmp_path / "mine.txt")


def test_two_rows_are_enough(tmp_path: Path) -> None:
    source = own(write_rows(tmp_path / "mine.jsonl", [{"text": "one"}, {"text": "two"}]))
    assert (len(source.train), len(source.heldout)) == (1, 1)


def test_rows_that_stand_twice_are_counted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "mine.jsonl", [{"text": text} for text in ("a", "b", "a", "c", " a ", "b")])
    source = own(path)
    assert sorted(d.text for d in source.train + source.heldout) == ["a", "b", "c"]
    assert dict(source.skipped) == {"the same text stands there twice": 3}


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


@settings(max_examples=25, deadline=None)
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


# Made here


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

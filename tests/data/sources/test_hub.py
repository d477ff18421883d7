"""What the hub gives, and what is done when it does not."""

import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import DATASETS
from cognate_core.data import sources as sources_module
from cognate_core.data.sources import load_source
from cognate_core.errors import CancelRequested, DatasetUnavailable
from tests.data.sources.hubs import CONFIG, FakeHub, answers, problem, quiet
from tests.waiting import LONG


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
        (DATASETS[name].id, config, {"split": "train", "streaming": True}),
        (DATASETS[name].id, config, {"split": heldout, "streaming": True}),
    ]
    assert (len(source.train), len(source.heldout)) == (5, 3)
    assert source.origin == f"Hugging Face hub, {DATASETS[name].id}"


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
            DatasetUnavailable, match=r"in 3 tries \(TimeoutError: the hub sent nothing for 60 seconds\)\.$"
        ):
            load_source("GSM8K", CONFIG, tmp_path, told.append)
    finally:
        answers_again.set()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    tries = ["", ", try 2 of 3", ", try 3 of 3"]
    assert [line for line in told if "Fetching" in line] == [f"Fetching GSM8K from the hub{each}" for each in tries]
    assert told[-1] == "Waiting for the hub: 60 s"


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
    with pytest.raises(DatasetUnavailable, match=r"\(DataError: the hub sent only 100 of 101 rows of train\)\.$"):
        load_source("GSM8K", config, tmp_path, quiet)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    hub.said = {"train": {"name": "train", "num_examples": 100}, "test": {"name": "test"}}
    assert len(load_source("GSM8K", config, tmp_path, quiet).train) == 100


def test_a_split_without_a_row_is_not_used(hub: FakeHub, tmp_path: Path) -> None:
    hub.rows["test"] = []
    with pytest.raises(DatasetUnavailable, match=r"\(DataError: the hub sent only 0 of 1 rows of test\)\.$"):
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

"""Prepared data on disk, and the order in which training draws from it: fair, complete, repeatable."""

import dataclasses
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cognate_core.contracts import END_OF_TEXT_ID, DataReport, SourceReport
from cognate_core.contracts.json_lines import report_from_json
from cognate_core.data import prepared as prepared_module
from cognate_core.data.packing import EncodedDocument, Packed, pack
from cognate_core.data.prepared import MANIFEST, Batches, HeldoutPrompt, PreparedData, write_prepared, write_report
from cognate_core.data.tokenizer import END_OF_TEXT, train_tokenizer
from cognate_core.errors import DataError, DiskFull
from cognate_core.files import write_durably

LENGTH = 3


def numbered(source: int, rows: int) -> Packed:
    """Sequences that tell their source and number: (source, number, 0, 0)."""
    tokens = np.zeros((rows, LENGTH + 1), dtype=np.uint16)
    tokens[:, 0], tokens[:, 1] = source, np.arange(rows)
    counted = np.ones_like(tokens, dtype=np.uint8)
    return Packed(tokens, counted, skipped=0)


def drawn(batches: Batches, count: int) -> list[tuple[int, int]]:
    """(source, number) of the next sequences."""
    return [(int(row[0]), int(row[1])) for _ in range(count) for row in batches.next()[0]]


SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=4)
SEEDS = st.integers(0, 2**31 - 1)


@settings(max_examples=60)
@given(size=st.integers(1, 30), seed=SEEDS, epochs=st.integers(1, 4))
def test_each_epoch_passes_each_sequence_once(size: int, seed: int, epochs: int) -> None:
    batches = Batches({"a": numbered(0, size)}, {}, batch_size=1, seed=seed)
    for epoch in range(1, epochs + 1):
        assert sorted(number for _, number in drawn(batches, size)) == list(range(size))
        assert batches.epochs() == {"a": epoch}


def test_each_epoch_has_an_order_of_its_own() -> None:
    batches = Batches({"a": numbered(0, 50)}, {}, batch_size=5, seed=1)
    first, second = drawn(batches, 10), drawn(batches, 10)
    assert first != second
    assert sorted(first) == sorted(second)
    assert first != sorted(first)


@settings(max_examples=60)
@given(sizes=SIZES, seed=SEEDS, rounds=st.integers(1, 3))
def test_without_weights_all_sources_end_their_epoch_together(sizes: list[int], seed: int, rounds: int) -> None:
    sources = {str(n): numbered(n, size) for n, size in enumerate(sizes)}
    batches = Batches(sources, {}, batch_size=1, seed=seed)
    found = Counter(drawn(batches, sum(sizes) * rounds))
    assert found == {(source, n): rounds for source, size in enumerate(sizes) for n in range(size)}


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    raw_weights=st.lists(st.floats(0.01, 1000), min_size=4, max_size=4),
    zero=st.sets(st.integers(1, 3)),
    seed=SEEDS,
)
def test_weights_are_kept_within_one_sequence_at_any_time(
    sizes: list[int], raw_weights: list[float], zero: set[int], seed: int
) -> None:
    weights = {str(n): 0.0 if n in zero else raw_weights[n] for n in range(len(sizes))}
    batches = Batches({str(n): numbered(n, size) for n, size in enumerate(sizes)}, weights, 1, seed)
    total = sum(weights.values())
    count: Counter[int] = Counter()
    for step in range(1, 80):
        count[drawn(batches, 1)[0][0]] += 1
        for source in range(len(sizes)):
            share = weights[str(source)] / total
            assert abs(count[source] - share * step) < 1 + 1e-9
    for source in range(len(sizes)):
        assert count[source] == 0 or weights[str(source)] > 0


@pytest.mark.parametrize(("weights", "count"), [({}, 7), ({"a": 3, "b": 2}, 10), ({"a": 0}, 4)])
def test_the_shares_of_tokens_are_those_of_what_is_drawn(weights: dict[str, float], count: int) -> None:
    """Over passes that are whole. Sequences of "a" have 2 tokens that count, those of "b" 3 and 1."""
    sources = {"a": numbered(0, 3), "b": numbered(1, 4), "none": numbered(2, 0)}
    sources["a"].counted[:] = [0, 0, 1, 1]
    sources["b"].counted[:] = [[0, 1, 1, 1]] * 2 + [[0, 1, 0, 0]] * 2
    batches = Batches(sources, weights, 1, seed=3)
    counted: Counter[str] = Counter()
    for name, index in Batches(sources, weights, 1, seed=3).next_sources(count):
        counted[name] += int(sources[name].counted[index, 1:].sum())
    expected = {name: counted[name] / counted.total() for name in ("a", "b")}
    assert batches.token_shares() == pytest.approx(expected)


def test_a_source_without_a_weight_of_its_own_weighs_one() -> None:
    batches = Batches({"a": numbered(0, 5), "b": numbered(1, 5)}, {"a": 3.0}, batch_size=4, seed=0)
    assert Counter(source for source, _ in drawn(batches, 25)) == {0: 75, 1: 25}


def test_a_source_without_sequences_is_left_out() -> None:
    batches = Batches({"a": numbered(0, 0), "b": numbered(1, 3)}, {}, batch_size=3, seed=0)
    assert {source for source, _ in drawn(batches, 4)} == {1}
    assert batches.epochs() == {"b": 4.0}


def test_a_batch_holds_tokens_and_what_counts() -> None:
    packed = pack([EncodedDocument([7, 8, 9], 2)], 6, answers_only=True)
    tokens, counted = Batches({"a": packed}, {}, batch_size=2, seed=0).next()
    assert tokens.tolist() == [[0, 7, 8, 9, 0, 0, 0]] * 2
    assert counted.tolist() == [[0, 0, 0, 1, 1, 0, 0]] * 2
    assert tokens.dtype == counted.dtype == np.int64


@settings(max_examples=60)
@given(sizes=SIZES, seed=SEEDS, before=st.integers(0, 40), batch_size=st.integers(1, 4), weighted=st.booleans())
def test_training_continues_where_it_was(
    sizes: list[int], seed: int, before: int, batch_size: int, weighted: bool
) -> None:
    sources = {str(n): numbered(n, size) for n, size in enumerate(sizes)}
    weights = {str(n): n + 1.0 for n in range(len(sizes))} if weighted else {}
    first = Batches(sources, weights, batch_size, seed)
    drawn(first, before)
    state = json.loads(json.dumps(first.state_dict()))
    expected = drawn(first, 20)
    fresh = Batches(sources, weights, batch_size, seed)
    drawn(fresh, 7)  # wherever it stood before
    fresh.load_state_dict(state)
    assert drawn(fresh, 20) == expected
    assert fresh.epochs() == first.epochs()


def test_the_batch_size_does_not_change_the_order() -> None:
    sources = {"a": numbered(0, 30), "b": numbered(1, 10)}
    one, four = (Batches(sources, {}, batch_size, seed=3) for batch_size in (1, 4))
    assert drawn(one, 80) == drawn(four, 20)


def test_another_seed_gives_another_order() -> None:
    orders = [drawn(Batches({"a": numbered(0, 30)}, {}, 5, seed), 6) for seed in range(5)]
    assert len({tuple(order) for order in orders}) == 5


def test_two_sources_are_not_shuffled_alike() -> None:
    batches = Batches({"a": numbered(0, 30), "b": numbered(1, 30)}, {}, 60, seed=0)
    order = drawn(batches, 1)
    assert [n for source, n in order if source == 0] != [n for source, n in order if source == 1]


def test_weights_that_leave_out_all_there_is_are_refused() -> None:
    sources = {"GSM8K": numbered(0, 3), "SVAMP": numbered(1, 3)}
    with pytest.raises(DataError, match=r"^The only data available \(GSM8K, SVAMP\) has a mixture weight of zero\."):
        Batches(sources, {"GSM8K": 0.0, "SVAMP": 0.0, "HotpotQA": 1.0}, 1, 0)


@pytest.mark.parametrize("sources", [{}, {"a": numbered(0, 0)}])
def test_no_sequence_at_all_is_refused(sources: dict[str, Packed]) -> None:
    with pytest.raises(DataError, match=r"^There are no training sequences\. Raise the training length"):
        Batches(sources, {}, 1, 0)


# On disk

REPORT = DataReport(
    [SourceReport("a", "there", "here", True, "", 3, 2, {"too long": 1}, 30, 3)], False, "cafe", 300, False
)
PROMPTS = [HeldoutPrompt("a", "Problem: é?\nSolution:", " 🎉\n#### 1")]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["some text to learn from"] * 5, 300)


def test_what_is_written_is_read_back(tmp_path: Path, tokenizer: Tokenizer) -> None:
    packed = {
        "a": {"train": numbered(0, 3), "heldout": numbered(1, 2)},
        "b/../ü": {"train": numbered(2, 4), "heldout": numbered(3, 0)},
    }
    write_prepared(tmp_path, tokenizer, packed, PROMPTS, REPORT)
    data = PreparedData(tmp_path)
    assert data.sources == ["a", "b/../ü"]
    assert data.prompts == PROMPTS
    assert data.report == REPORT
    assert data.folder == tmp_path
    assert data.tokenizer().to_str() == tokenizer.to_str()
    for name, splits in packed.items():
        for split, sequences in splits.items():
            found = data.packed(name, split)
            assert np.array_equal(found.tokens, sequences.tokens)
            assert np.array_equal(found.counted, sequences.counted)


def test_the_end_mark_in_a_persons_text_is_text_for_the_stored_tokenizer_too(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    write_prepared(tmp_path, tokenizer, {}, PROMPTS, REPORT)
    assert END_OF_TEXT_ID not in PreparedData(tmp_path).tokenizer().encode(f"He wrote {END_OF_TEXT}.").ids


def test_a_report_survives_json() -> None:
    assert report_from_json(json.loads(json.dumps(dataclasses.asdict(REPORT)))) == REPORT


@pytest.mark.parametrize("content", [None, b"", b'{"sources": [', b"\xff\xfe", b"[]", b"{}"])
def test_without_a_readable_manifest_the_data_is_not_complete(
    tmp_path: Path, tokenizer: Tokenizer, content: bytes | None
) -> None:
    write_prepared(tmp_path, tokenizer, {"a": {"train": numbered(0, 3)}}, PROMPTS, REPORT)
    (tmp_path / MANIFEST).unlink()
    if content is not None:
        (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(
        DataError, match=r"^The prepared data in .* is incomplete or damaged \(.*\)\. Start the run again"
    ):
        PreparedData(tmp_path)


def test_a_flipped_bit_or_a_missing_part_is_found_in_every_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_prepared(tmp_path, tokenizer, {"a": {"train": numbered(0, 3), "heldout": numbered(1, 2)}}, PROMPTS, REPORT)
    files = list(tmp_path.iterdir())
    assert len(files) == 6
    rng = random.Random(0)
    for path in files:
        content = path.read_bytes()
        flips = [bytearray(content) for _ in range(30)]
        for flipped in flips:
            flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        for damaged in (*flips, content[:-1], content[: len(content) // 2], b"", content + b"x"):
            if path.name == MANIFEST and same_json(bytes(damaged), content):
                continue  # a tab instead of a space
            path.write_bytes(bytes(damaged))
            with pytest.raises(DataError, match="is incomplete or damaged"):
                PreparedData(tmp_path)
        path.unlink()
        with pytest.raises(DataError, match=f"is incomplete or damaged .*{path.name}"):
            PreparedData(tmp_path)
        path.write_bytes(content)
        assert PreparedData(tmp_path).report == REPORT


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_a_newer_report_is_read_and_the_rest_stays(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_prepared(tmp_path, tokenizer, {"a": {"train": numbered(0, 3)}}, PROMPTS, REPORT)
    newer = dataclasses.replace(REPORT, fallback=True, from_cache=True)
    write_report(tmp_path, newer)
    data = PreparedData(tmp_path)
    assert (data.report, data.prompts, data.sources) == (newer, PROMPTS, ["a"])


def test_everything_is_on_the_disk_before_the_manifest_is(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []  # inodes
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_prepared(tmp_path, tokenizer, {"a": {"train": numbered(0, 3)}}, PROMPTS, REPORT)
    parts, last = set(tmp_path.iterdir()) - {tmp_path / MANIFEST}, [tmp_path / MANIFEST, tmp_path]
    assert len(parts) == 3
    assert set(synced[:3]) == {path.stat().st_ino for path in parts}
    assert synced[3:] == [path.stat().st_ino for path in last]


def test_the_manifest_is_written_last(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    write = write_durably
    for nth in range(1, 5):
        folder = tmp_path / str(nth)
        folder.mkdir()
        left = iter(range(nth - 1))

        def disk_full(path: Path, content: bytes, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise OSError(28, "No space left on device")
            write(path, content)

        monkeypatch.setattr(prepared_module, "write_durably", disk_full)
        with pytest.raises(OSError, match="No space left"):
            write_prepared(folder, tokenizer, {"a": {"train": numbered(0, 3)}}, PROMPTS, REPORT)
        assert len(list(folder.iterdir())) == nth - 1
        assert not (folder / MANIFEST).exists()


def test_a_disk_without_room_is_told_before_anything_is_written(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cognate_core.files.shutil.disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(DiskFull, match="The prepared data needs"):
        write_prepared(tmp_path, tokenizer, {"a": {"train": numbered(0, 3)}}, PROMPTS, REPORT)
    assert list(tmp_path.iterdir()) == []

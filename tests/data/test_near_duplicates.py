"""Near-duplicates, against a slow formula that compares every pair, and what a run does with them."""

from __future__ import annotations

import asyncio
import json
import random
import re
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import DataReport, Record
from cognate_core.data import near_duplicates as module
from cognate_core.data.documents import Document, word_problem_document
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.mixture import mix
from cognate_core.data.near_duplicates import (
    LONG_TEXT,
    MOST_COMPARED,
    THRESHOLD,
    NearDuplicate,
    Parts,
    near_duplicates,
    parts_of,
    similarity,
)
from cognate_core.data.own_file import own_file_source
from cognate_core.data.prepared import PreparedData
from cognate_core.data.word_problems import LEVELS, word_problems

LONG = (
    "On Saturday Anna walks to the market with her two little brothers and buys some red apples for the cake that they "
    "want to bake in the evening, because grandmother comes to visit them on Sunday."
)


def problem(question: str, answer: str = "7", context: str = "") -> Document:
    return Document(f"{context}\n" * bool(context) + f"Problem: {question}\nSolution:", answer)


def text(words: str) -> Document:
    return Document("", words)


def repeated(*train: Document, heldout: Sequence[Document] = ()) -> list[tuple[int, int]]:
    return [(each.row, each.repeats) for each in near_duplicates(train, heldout)]


def test_other_capitals_and_punctuation_and_a_few_other_words_make_no_other_row() -> None:
    shouted, reworded = LONG.upper().replace(",", " -"), LONG.replace("red", "green")
    assert repeated(text(LONG), text("Something else."), text(shouted), text(reworded)) == [(2, 0), (3, 0)]
    assert repeated(problem("How much?", LONG), problem("how much", shouted)) == [(1, 0)]
    assert repeated(text(LONG), text(" ".join(reversed(LONG.split())))) == [], "the order of words counts"


def test_a_short_row_with_another_word_is_another_row() -> None:
    assert repeated(problem("Capital of France?", "Paris"), problem("Capital of Spain?", "Madrid")) == []
    assert repeated(problem("Capital of France?", "Paris"), problem("capital of france", "Paris.")) == [(1, 0)]


@pytest.mark.parametrize(("words", "found"), [(18, False), (19, True), (LONG_TEXT - 1, True), (LONG_TEXT, True)])
def test_from_19_words_on_one_may_differ(words: int, found: bool) -> None:
    told = [f"word{chr(97 + number)}" if number < 26 else f"more{chr(71 + number)}" for number in range(words)]
    other = [*told[:8], "another", *told[9:]]
    assert (repeated(text(" ".join(told)), text(" ".join(other))) == [(1, 0)]) is found


def test_a_template_with_other_numbers_is_another_problem() -> None:
    first, second = ("Anna has {0} apples. " + LONG + " She gives {1} away.").format, "Anna has {} apples left."
    assert repeated(*(text(first(*pair)) for pair in ((24, 3), (36, 3), (24, 5)))) == []
    assert repeated(*(problem(first(n, 3), second.format(n - 3)) for n in range(20, 60))) == []


@pytest.mark.parametrize("level", [*LEVELS, "all"])
def test_the_built_in_problems_with_other_numbers_are_other_problems(level: str) -> None:
    rng = random.Random(1)

    def renumbered(document: Document) -> Document:
        new = {found: str(int(found) + rng.randint(1, 90)) for found in set(re.findall(r"\d+", document.text))}
        sides = (re.sub(r"\d+", lambda match: new[match[0]], side) for side in (document.prompt, document.answer))
        return Document(*sides)

    documents = [word_problem_document(each) for each in word_problems(300, 0, level)]
    pairs = [(document, renumbered(document)) for document in documents]
    assert [pair for pair in pairs if similarity(*map(parts_of, pair)) >= THRESHOLD] == []
    assert len(near_duplicates(documents)) <= 3


def test_another_question_or_answer_about_the_same_context_is_another_row() -> None:
    context = LONG * 5
    train = [problem("Who walks?", "Anna", context), problem("When is it?", "Saturday", context)]
    assert repeated(*train, problem("who walks", "Anna", context.lower())) == [(2, 0)]
    assert repeated(*train, problem("Who walks?", "Anna", "On Saturday Anna stays at home.")) == []
    assert repeated(problem(LONG, "yes"), problem(LONG, "no")) == []


def test_a_row_is_compared_only_with_rows_that_stay() -> None:
    words = LONG.split()
    second = [*words[:5], "another", *words[6:]]
    third = [*second[:25], "other", *second[26:]]
    chain = [text(" ".join(each)) for each in (words, second, third)]
    assert similarity(*map(parts_of, chain[1:])) >= THRESHOLD > similarity(*map(parts_of, chain[::2]))
    assert repeated(*chain) == [(1, 0)], "the third repeats only the second, which is left out"


def test_rows_that_repeat_held_out_rows_are_told_apart() -> None:
    heldout = [text("Nothing of it."), text(LONG), text(LONG.lower())]
    found = near_duplicates([text("Else."), text(LONG.upper()), text("else")], heldout)
    assert found == [NearDuplicate(1, 1, of_heldout=True, similarity=1.0), NearDuplicate(2, 0, False, 1.0)]
    assert near_duplicates([], heldout) == near_duplicates([]) == []


def plain(side: str) -> list[str]:
    return [word for word in re.split(f"[{re.escape(string.punctuation)}\\s]+", side.lower()) if word]


def slow(first: Document, second: Document) -> float:
    """The similarity by another road."""
    least = 1.0
    for left, right in zip(sides(first), sides(second), strict=True):
        n = 2 if min(len(left), len(right)) < LONG_TEXT else 3
        for make in (
            lambda side, n=n: {" ".join(side[k : k + n]) for k in range(max(1, len(side) - n + 1))},
            lambda side: {word for word in side if word.isdigit()},
        ):
            ours, theirs = make(left), make(right)
            shared = sum(each in theirs for each in ours)
            different = len(ours) + len(theirs) - shared
            least = min(least, shared / different if different else 1.0)
    return least


def sides(document: Document) -> tuple[list[str], list[str]]:
    return plain(document.prompt.replace("Problem: ", "").replace("\nSolution:", "")), plain(document.answer)


SIDES = st.lists(st.sampled_from(["a", "B", "b.", "3", "4,"]), min_size=1, max_size=40).map(" ".join)
ROWS = st.lists(st.builds(problem, SIDES, SIDES) | st.builds(text, SIDES), max_size=8)


@settings(max_examples=150)
@given(train=ROWS, heldout=ROWS)
def test_what_is_found_is_what_comparing_each_pair_finds(train: list[Document], heldout: list[Document]) -> None:
    found = near_duplicates(train, heldout)
    left_out = {each.row for each in found}
    assert [each.row for each in found] == sorted(left_out)
    for each in found:
        other = heldout[each.repeats] if each.of_heldout else train[each.repeats]
        assert each.of_heldout or (each.repeats < each.row and each.repeats not in left_out)
        assert each.similarity == slow(train[each.row], other) >= THRESHOLD
    kept = [*(train[row] for row in range(len(train)) if row not in left_out)]
    same = {str(sides(document)) for document in kept}
    assert len(same) == len(kept), "a row with the same words is always found"
    assert same.isdisjoint(str(sides(document)) for document in heldout)


def test_rows_that_are_clearly_alike_are_found() -> None:
    rng = random.Random(2)
    vocabulary = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(2000)]
    texts = [rng.choices(vocabulary, k=80) for _ in range(300)]
    copies = [[rng.choice(vocabulary) if place in (9, 50) else word for place, word in enumerate(t)] for t in texts]
    train = [text(" ".join(words)) for words in (*texts, *copies)]
    assert repeated(*train) == [(300 + row, row) for row in range(300)]


def test_rows_made_from_one_template_are_not_all_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    vocabulary = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(2000)]
    rows = [text(" ".join([*vocabulary[:86], *rng.choices(vocabulary, k=12)])) for _ in range(200)]
    compared = []

    def counted(*pair: Parts) -> float:
        compared.append(pair)
        return similarity(*pair)

    monkeypatch.setattr(module, "similarity", counted)
    assert near_duplicates(rows) == []
    assert 200 < len(compared) <= 200 * MOST_COMPARED < 200 * 199 / 2


def test_hashes_are_the_same_on_every_computer() -> None:
    step = 0x9E3779B97F4A7C15  # SplitMix64 adds it before each number; these are its first two for the seed 0
    mixed = module._mixed(np.array([step, 2 * step % 2**64], dtype=np.uint64))
    assert mixed.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    """50 problems that differ in their numbers, and 20 of them in capitals."""
    told = [f"How many apples are {n} and {n + 3} and {n * 7} together?" for n in range(50)]
    rows = [*zip(told, range(50), strict=True), *zip(map(str.upper, told[:20]), range(20), strict=True)]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps({"question": question, "answer": str(n)}) for question, n in rows))
    return file


def config(file: Path, choice: str = "keep") -> TrainingConfig:
    small = {"vocab_size": 400, "train_seq_len": 128, "max_seq_len": 128}
    return TrainingConfig.from_values({"dataset_path": str(file), "near_duplicates": choice, **small})


def prepared(settings: TrainingConfig, cache: Path) -> tuple[Path, DataReport]:
    records: list[Record] = []

    async def prepare() -> str:
        loader = MixtureLoader(settings, cache, records.append, lambda _: None)
        await loader.download_dataset("Own file", "mine")
        return await loader.create_mixed_training_data()

    folder = Path(asyncio.run(prepare()))
    (report,) = [record for record in records if isinstance(record, DataReport)]
    return folder, report


def test_a_run_leaves_them_out_if_asked_to_and_counts_them(tmp_path: Path, own_file: Path) -> None:
    kept, all_rows = prepared(config(own_file), tmp_path)
    folder, report = prepared(config(own_file, "remove"), tmp_path)
    (before,), (after,) = all_rows.sources, report.sources
    assert before.skipped == {} and before.train_rows + before.heldout_rows == 70
    assert after.heldout_rows == before.heldout_rows
    source = own_file_source(config(own_file), lambda _: None)
    train, heldout = ([each.prompt.lower() for each in split] for split in (source.train, source.heldout))
    others = [prompt for prompt in train if prompt not in heldout]
    of_heldout, again = len(train) - len(others), len(others) - len(set(others))
    expected = {"nearly repeats a held-out row": of_heldout, "nearly repeats another row": again}
    assert after.skipped == {why: count for why, count in expected.items() if count}
    assert after.train_rows == before.train_rows - of_heldout - again and of_heldout and again > 10
    assert folder != kept


def test_mixture_shows_what_such_a_run_reads(tmp_path: Path, own_file: Path) -> None:
    asked = config(own_file, "remove")
    folder, _ = prepared(asked, tmp_path)
    source = own_file_source(asked, lambda _: None)
    mixture = mix([source], asked)
    assert (PreparedData(folder).packed("Own file", "train").tokens == mixture.packed["Own file"].tokens).all()
    assert not source.skipped, "the rows that the page shows are all there"


def test_without_near_duplicates_the_prepared_data_is_the_same(tmp_path: Path, own_file: Path) -> None:
    own_file.write_text("\n".join(own_file.read_text().splitlines()[:50]))
    folder, _ = prepared(config(own_file), tmp_path)
    again, report = prepared(config(own_file, "remove"), tmp_path)
    assert again == folder and report.from_cache and report.sources[0].skipped == {}

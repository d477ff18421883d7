"""Overlap of held-out and training rows, against a slow formula that compares every pair."""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.data.documents import Document
from cognate_core.data.overlap import Match, compared_text, overlap, passage_words, template, words


def problem(question: str, answer: str = "7") -> Document:
    return Document(f"Problem: {question}\nSolution:", f" {answer}")


LONG = "Anna buys {} red apples and gives {} of them to her two little brothers who live next door"


def test_the_same_question_is_found_whatever_its_case_spaces_and_punctuation() -> None:
    train = [problem("Something else."), problem("  anna HAS 3 apples,\nhow many?  ", "another answer")]
    found = overlap(train, [problem("Anna has 3 apples; how many")])
    assert found.matches == [Match(0, 1, "same", 1.0)]


def test_other_numbers_are_the_same_template_and_not_the_same_question() -> None:
    found = overlap(
        [problem("Anna has 1,250 apples.")], [problem("Anna has 3.5 apples."), problem("Anna has 1250 apples")]
    )
    assert [(match.heldout, match.kind) for match in found.matches] == [(1, "same"), (0, "numbers")]


def test_a_passage_is_found_and_its_share_is_counted() -> None:
    held = LONG.format(3, 2)
    train = [problem("Nothing of it."), problem("Anna buys 3 red apples and gives 2 of them to nobody at all.")]
    found = overlap(train, [problem(held)])
    assert found.passage_words == 13  # the question has 19 words
    assert found.matches == []
    train.append(problem("Yesterday " + " ".join(held.split()[:14]) + " somebody"))
    (match,) = overlap(train, [problem(held)]).matches
    assert (match.kind, match.train) == ("passage", 2)
    assert match.share == pytest.approx(2 / 7)  # the first two of 19 - 13 + 1 runs


def test_answers_are_not_compared_and_plain_text_is() -> None:
    assert overlap([problem("One?", "the same answer")], [problem("Two?", "the same answer")]).matches == []
    assert overlap([Document("", "The same text.")], [Document("", "the same text")]).count("same") == 1
    assert compared_text(Document("Title: fact\nProblem: Who?\nSolution:", " She")) == "Title: fact\nProblem: Who?"


def test_texts_of_signs_alone_are_told_apart() -> None:
    assert overlap([problem("+++ ---")], [problem("*** ///")]).matches == []
    assert words("+++ ---") == ("+++", "---")


def test_a_passage_is_as_long_as_a_short_question_within_8_and_13_words() -> None:
    assert [passage_words([("word",) * length] * 3) for length in (2, 8, 11, 13, 400)] == [8, 8, 11, 13, 13]
    assert passage_words([]) == 13


def plain_words(document: Document) -> list[str]:
    """The same words by another road: small letters, and a number or a run of letters each."""
    text = document.prompt.replace("Problem: ", "").replace("\nSolution:", "").lower()
    return [word for word in re.split(f"[{re.escape(string.punctuation)}\\s]+", text) if word]


def slow(train: Sequence[Document], heldout: Sequence[Document], n: int) -> list[tuple[int, str, float]]:
    """Compare each held-out row with each training row."""
    found = []
    for row, held in enumerate(map(plain_words, heldout)):
        others = list(map(plain_words, train))
        passages = {" ".join(held[k : k + n]) for k in range(len(held) - n + 1)}
        shared = [p for p in passages if any(f" {p} " in f" {' '.join(other)} " for other in others)]
        share = len(shared) / len(passages) if passages else 0.0
        masked = re.sub(r"\d+", "#", " ".join(held))
        if held in others:
            found.append((row, "same", 1.0))
        elif any(re.sub(r"\d+", "#", " ".join(other)) == masked for other in others):
            found.append((row, "numbers", share))
        elif shared:
            found.append((row, "passage", share))
    return found


QUESTIONS = st.lists(
    st.lists(st.sampled_from(["a", "B", "b.", "3", "4,"]), min_size=1, max_size=24).map(" ".join).map(problem),
    max_size=6,
)


@settings(max_examples=150)
@given(train=QUESTIONS, heldout=QUESTIONS)
def test_it_finds_what_comparing_every_pair_finds(train: list[Document], heldout: list[Document]) -> None:
    found = overlap(train, heldout)
    pairs = [(match.heldout, match.kind, match.share) for match in found.matches]
    assert sorted(pairs) == sorted(slow(train, heldout, found.passage_words))
    for match in found.matches:  # the row that is shown has it
        held, other = plain_words(heldout[match.heldout]), plain_words(train[match.train])
        if match.kind == "same":
            assert held == other
        elif match.kind == "numbers":
            assert template(tuple(held)) == template(tuple(other))
        else:
            n = found.passage_words
            assert any(f" {' '.join(held[k : k + n])} " in f" {' '.join(other)} " for k in range(len(held) - n + 1))


def test_a_phrase_that_every_row_has_does_not_make_it_quadratic() -> None:
    rows = [problem(LONG.format(n, 2) + f" number{'x' * (n % 50)}") for n in range(4000)]

    def lines(count: int) -> int:
        """How many lines of overlap.py are carried out."""
        done, before = 0, sys.gettrace()

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal done
            done += event == "line"
            return trace if frame.f_code.co_filename == overlap.__code__.co_filename else None

        sys.settrace(trace)
        try:
            overlap(rows[:count], rows[-count:])
        finally:
            sys.settrace(before)
        return done

    assert lines(1000) < 11 * lines(100)  # quadratic: 100 times

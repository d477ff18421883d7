"""Whether training already showed the held-out questions: the same, the same except for numbers, or passages of them.

Compares documents by words, not tokens. Time grows with the text, memory only with the held-out text.

Passages are found as in the GPT-3 paper (arXiv 2005.14165, appendix C): a held-out question counts if any n
consecutive words of it are in the training text. n is the length of a short question (the 5th percentile): at least 8,
because shorter runs are everyday phrases, and at most 13. Word problems are short: n = 13 alone would miss many.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cognate_core.contracts.answers import question_of
from cognate_core.data.documents import Document

Words = tuple[str, ...]
Kind = Literal["same", "numbers", "passage"]

SHORTEST_PASSAGE, LONGEST_PASSAGE = 8, 13  # words
PASSAGE_PERCENTILE = 5
NUMBER = "#"  # stands for any number in a template
_WORD = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Match:
    """A held-out row, and the first of the training rows most like it."""

    heldout: int
    train: int
    kind: Kind
    share: float  # of the question's different runs of n words, the share found in the training text


@dataclass(frozen=True, slots=True)
class Overlap:
    """Which held-out rows are also in the training rows. Each row has at most one match: the closest kind."""

    heldout_rows: int
    passage_words: int  # n
    matches: list[Match]  # the closest first

    def count(self, kind: Kind) -> int:
        """How many held-out rows have a match of this kind."""
        return sum(match.kind == kind for match in self.matches)


def overlap(train: Iterable[Document], heldout: Sequence[Document]) -> Overlap:
    """Compare questions (or whole plain texts), ignoring case, white space and punctuation."""
    held = [words(compared_text(document)) for document in heldout]
    n = passage_words(held)
    # Each maps to the first training row that has it.
    same: dict[Words, int | None] = dict.fromkeys(held)
    templates: dict[Words, int | None] = dict.fromkeys(template(question) for question in held)
    passages: dict[Words, int | None] = dict.fromkeys(run for question in held for run in runs(question, n))
    for number, document in enumerate(train):
        question = words(compared_text(document))
        _note(same, question, number)
        _note(templates, template(question), number)
        for run in runs(question, n):
            _note(passages, run, number)
    matches = []
    for row, question in enumerate(held):
        places = [passages[run] for run in set(runs(question, n))]
        found = Counter(place for place in places if place is not None)
        share = found.total() / len(places) if places else 0.0
        exact, alike = same[question], templates[template(question)]
        if exact is not None:
            matches.append(Match(row, exact, "same", 1.0))
        elif alike is not None:
            matches.append(Match(row, alike, "numbers", share))
        elif found:
            train_row = min(found, key=lambda place: (-found[place], place))
            matches.append(Match(row, train_row, "passage", share))
    order: tuple[Kind, ...] = ("same", "numbers", "passage")
    matches.sort(key=lambda match: (order.index(match.kind), -match.share, match.heldout))
    return Overlap(len(held), n, matches)


def compared_text(document: Document) -> str:
    """The question without the words that the layout adds; the whole of a plain text."""
    return question_of(document.prompt) or document.answer


def words(text: str) -> Words:
    """Words and numbers, in order. A text with neither keeps its signs."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = tuple(word.replace(",", "") for word in _WORD.findall(plain))
    return found or tuple(plain.split())


def template(question: Words) -> Words:
    """The question with every number replaced by NUMBER."""
    return tuple(NUMBER if word[0].isdigit() else word for word in question)


def runs(question: Words, n: int) -> Iterator[Words]:
    """Every run of n consecutive words."""
    return zip(*(question[start:] for start in range(n)), strict=False)


def passage_words(questions: Sequence[Words]) -> int:
    """How many words make a passage, for held-out questions like these."""
    if not questions:
        return LONGEST_PASSAGE
    short = int(np.percentile([len(question) for question in questions], PASSAGE_PERCENTILE))
    return min(LONGEST_PASSAGE, max(SHORTEST_PASSAGE, short))


def _note(seen: dict[Words, int | None], key: Words, number: int) -> None:
    if key in seen and seen[key] is None:
        seen[key] = number

"""Questions with a known answer, read back out of prepared data: the very rows that were held out, and no others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from cognate_core.answers import answer_of, commonest
from cognate_core.data.documents import SOLUTION_MARK
from cognate_core.data.packing import documents_in
from cognate_core.data.prepared import PreparedData


@dataclass(frozen=True, slots=True)
class Question:
    """`prompt` is the text before the solution, `answer` the right one."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Examination:
    """What a dataset can ask.

    Attributes:
        questions: of the held-out rows.
        commonest: the answer that its training rows have most often.
        longest: tokens of the longest solution among the training rows.
    """

    dataset: str
    questions: list[Question]
    commonest: str
    longest: int


def examination(data: PreparedData, source: str, limit: int, seed: int) -> Examination | None:
    """At most `limit` held-out questions of a source, drawn by `seed`; None when its rows hold no such answers."""
    held_out = [Question(prompt, answer) for prompt, answer, _ in _solved(data, source, "heldout")]
    trained = list(_solved(data, source, "train"))
    most = commonest((answer for _, answer, _ in trained), source)
    if not held_out or most is None:
        return None
    drawn = random.Random(seed).sample(held_out, min(limit, len(held_out)))
    return Examination(source, drawn, most, max(tokens for _, _, tokens in trained))


def _solved(data: PreparedData, source: str, split: str) -> Iterator[tuple[str, str, int]]:
    """Prompt, answer and tokens of the solution of each document that has an answer."""
    tokenizer = data.tokenizer()
    documents = [each for sequence in data.packed(source, split).tokens.tolist() for each in documents_in(sequence)]
    for text in tokenizer.decode_batch(documents):
        prompt, mark, solution = text.partition(SOLUTION_MARK)  # the first: nothing of a solution is ever shown
        answer = answer_of(solution)
        if mark and answer is not None:
            yield prompt + mark, answer, len(tokenizer.encode(solution).ids)

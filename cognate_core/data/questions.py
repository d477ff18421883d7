"""Questions with a known answer, read from prepared data: exactly the rows that were held out."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from cognate_core.contracts.answers import SOLUTION_MARK, answer_of, commonest
from cognate_core.data.packing import whole_documents_in
from cognate_core.data.prepared import PreparedData


@dataclass(frozen=True, slots=True)
class Question:
    """`prompt` is the text before the solution; `solution` is the dataset's and ends in `answer`."""

    prompt: str
    solution: str
    answer: str


@dataclass(frozen=True, slots=True)
class Examination:
    """What a dataset can ask.

    Attributes:
        questions: from the held-out rows.
        commonest: the most frequent answer of the training rows.
        longest: tokens of the longest solution in the training rows.
    """

    dataset: str
    questions: list[Question]
    commonest: str
    longest: int


def examination(data: PreparedData, source: str, limit: int, seed: int) -> Examination | None:
    """At most `limit` held-out questions of a source, drawn by `seed`; None if its rows hold no such answers."""
    questions = heldout_questions(data, source, limit, seed)
    # A source whose rows are all held out has no training rows: use those of the other sources.
    learned = [source] if len(data.packed(source, "train").tokens) else data.sources
    trained = [question for each in learned for question in _solved(data, each, "train")]
    most = commonest((question.answer for question in trained), source)
    if not questions or most is None:
        return None
    return Examination(source, questions, most, longest_solution(data.tokenizer(), trained))


def heldout_questions(data: PreparedData, source: str, limit: int, seed: int) -> list[Question]:
    """At most `limit` held-out questions of a source, drawn by `seed`."""
    held_out = list(_solved(data, source, "heldout"))
    return random.Random(seed).sample(held_out, min(limit, len(held_out)))


def longest_solution(tokenizer: Tokenizer, questions: Sequence[Question]) -> int:
    """Tokens of the longest solution; at least one question is needed."""
    return max(len(each.ids) for each in tokenizer.encode_batch([each.solution for each in questions]))


def _solved(data: PreparedData, source: str, split: str) -> Iterator[Question]:
    """The documents that have an answer. A cut one asks nothing: a piece of it lacks its question or its answer."""
    tokenizer = data.tokenizer()
    sequences = data.packed(source, split).tokens.tolist()
    documents = [each for sequence in sequences for each in whole_documents_in(sequence)]
    for text in tokenizer.decode_batch(documents):
        prompt, mark, solution = text.partition(SOLUTION_MARK)  # the first mark: the prompt shows nothing of a solution
        answer = answer_of(solution)
        if mark and answer is not None:
            yield Question(prompt + mark, solution, answer)

"""Whether an answer is right: how to find it in a text, when two answers are the same, and how certain a share is.

Works on text and counts; uses no model and no files.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from cognate_core.config import DATASETS

QUESTION_MARK = "Problem: "
SOLUTION_MARK = "\nSolution:"
"""Ends the prompt: the model's text follows it."""

ANSWER_MARK = "####"
"""Precedes the answer on the same line, which has nothing else, as in GSM8K (arXiv 2110.14168)."""

Z_95 = 1.959963984540054  # standard deviations around the mean that cover 95 % of a normal distribution

_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+)")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def question_of(prompt: str) -> str:
    """The question without the marks around it."""
    return prompt.removeprefix(QUESTION_MARK).removesuffix(SOLUTION_MARK)


def answer_of(text: str) -> str | None:
    """The rest of the line after the last answer mark; None without a mark, or with nothing after it."""
    _, mark, rest = text.rpartition(ANSWER_MARK)
    return (rest.strip().splitlines() or [""])[0].strip() or None if mark else None


def is_answered(text: str) -> bool:
    """Whether the line with the answer is complete: generation can then stop."""
    _, mark, rest = text.partition(ANSWER_MARK)
    return bool(mark) and "\n" in rest.lstrip()


def same_form(answer: str, dataset: str) -> str:
    """`answer` in the normal form for comparing answers to questions of `dataset` character by character.

    Numbers lose commas, a currency sign, a full stop and trailing zeros. Words lose capitals, punctuation, articles and
    extra spaces, as in the scoring script of SQuAD (arXiv 1606.05250), which HotpotQA (arXiv 1809.09600) also uses.
    """
    if dataset not in DATASETS or not DATASETS[dataset].word_answers:
        number = answer.strip().replace("$", "", 1).strip().removesuffix(".")
        if _NUMBER.fullmatch(number):
            value = f"{Decimal(number.replace(',', '')):f}"
            value = value.rstrip("0").rstrip(".") if "." in value else value
            return "0" if value == "-0" else value
    words = answer.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", words).split())


def is_right(text: str, answer: str, dataset: str) -> bool:
    """Whether the answer in a model's `text` is `answer`."""
    given = answer_of(text)
    return given is not None and same_form(given, dataset) == same_form(answer, dataset)


def verdict(text: str, expected: str, dataset: str, *, asked: bool) -> bool | None:
    """Whether a model's `text` is right by the dataset's `expected` text. None: there is nothing to judge.

    Args:
        asked: whether it was asked for an answer; else it may have been cut before it reached one.
    """
    answer = answer_of(expected)
    if answer is None or not (asked or answer_of(text) is not None):
        return None
    return is_right(text, answer, dataset)


def commonest(answers: Iterable[str], dataset: str) -> str | None:
    """The most frequent answer, spelt as at its first occurrence; the first of equals. None without answers."""
    spelt: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for answer in answers:
        form = same_form(answer, dataset)
        spelt.setdefault(form, answer)
        counts[form] += 1
    return spelt[max(counts, key=counts.__getitem__)] if counts else None


def wilson_interval(right: int, asked: int) -> tuple[float, float]:
    """The 95 % interval of a share, given `right` of `asked` (Wilson 1927, doi 10.2307/2276774).

    It stays between 0 and 1, and is valid for few questions and for shares near 0.
    """
    share, z2 = right / asked, Z_95**2
    middle = (share + z2 / (2 * asked)) / (1 + z2 / asked)
    half = Z_95 * math.sqrt(share * (1 - share) / asked + z2 / (4 * asked**2)) / (1 + z2 / asked)
    return max(0.0, middle - half) if right else 0.0, min(1.0, middle + half) if right < asked else 1.0


@dataclass(frozen=True, slots=True)
class Score:
    """How many answers to a dataset were right, and how many if the answer were always the commonest in training."""

    dataset: str
    asked: int
    right: int
    commonest: str
    commonest_right: int

    @property
    def share(self) -> float:
        return self.right / self.asked

    @property
    def commonest_share(self) -> float:
        return self.commonest_right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.right, self.asked)


@dataclass(frozen=True, slots=True)
class StepScores:
    """The scores of a model after a step."""

    step: int
    scores: list[Score]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The result of a measurement: scores by step, first of earlier checkpoints, last of the finished model.

    Attributes:
        limit: the most questions asked of each dataset.
        seed: chooses them among the held-out questions.
        data_hash: of the data that they were held out from.
        left_out: what was not measured -> why.
    """

    measured_at: str
    weights_sha256: str  # of the finished model
    limit: int
    seed: int
    temperature: float
    data_hash: str
    seconds: float
    steps: list[StepScores]
    left_out: dict[str, str]

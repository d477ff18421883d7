"""Whether an answer is right: how it is read out of a text, when two are the same, and how sure a share of them is.

Knows text and counts; no model, no files.
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
"""Ends the prompt: what a model should write comes behind it."""

ANSWER_MARK = "####"
"""Stands before the answer, on a line of its own, as in GSM8K (arXiv 2110.14168)."""

Z_95 = 1.959963984540054  # of the normal distribution: 95 % lie within so many standard deviations

_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+)")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def question_of(prompt: str) -> str:
    """The question alone, without the marks around it."""
    return prompt.removeprefix(QUESTION_MARK).removesuffix(SOLUTION_MARK)


def answer_of(text: str) -> str | None:
    """What stands on the line behind the last answer mark; None when there is none, or nothing behind it."""
    _, mark, rest = text.rpartition(ANSWER_MARK)
    return (rest.strip().splitlines() or [""])[0].strip() or None if mark else None


def is_answered(text: str) -> bool:
    """Whether the line with the answer is whole: nothing that follows it is waited for."""
    _, mark, rest = text.partition(ANSWER_MARK)
    return bool(mark) and "\n" in rest.lstrip()


def same_form(answer: str, dataset: str) -> str:
    """`answer` in the form in which two answers to questions of `dataset` are compared, letter by letter.

    Numbers lose commas, a currency sign, a full stop and trailing zeros. Words lose capitals, punctuation, articles and
    surplus space, as in the script that scores SQuAD (arXiv 1606.05250), which HotpotQA's (arXiv 1809.09600) repeats.
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
    """Whether what a model wrote ends in `answer`."""
    given = answer_of(text)
    return given is not None and same_form(given, dataset) == same_form(answer, dataset)


def commonest(answers: Iterable[str], dataset: str) -> str | None:
    """The answer that comes most often, spelt as it first is; of several, the first. None when there are none."""
    spelt: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for answer in answers:
        form = same_form(answer, dataset)
        spelt.setdefault(form, answer)
        counts[form] += 1
    return spelt[max(counts, key=counts.__getitem__)] if counts else None


def wilson_interval(right: int, asked: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `right` of `asked` were seen (Wilson 1927, doi 10.2307/2276774).

    It stays between 0 and 1 and is sound for few questions and for shares near 0.
    """
    share, z2 = right / asked, Z_95**2
    middle = (share + z2 / (2 * asked)) / (1 + z2 / asked)
    half = Z_95 * math.sqrt(share * (1 - share) / asked + z2 / (4 * asked**2)) / (1 + z2 / asked)
    return max(0.0, middle - half) if right else 0.0, min(1.0, middle + half) if right < asked else 1.0


@dataclass(frozen=True, slots=True)
class Score:
    """How many answers of a dataset were right, and how many if it had always given the commonest training answer."""

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
    """The scores of a model as it was after a step."""

    step: int
    scores: list[Score]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a measurement gave: the finished model's scores last, those of earlier checkpoints before, by step.

    Attributes:
        limit: at most this many questions of a dataset were asked.
        seed: which of the held-out ones.
        data_hash: of the data whose held-out part they are.
        left_out: what was not measured, and why.
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

"""Turn the rows of a dataset into the documents that a model reads. Handles columns and text; no files, no tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.contracts.answers import QUESTION_MARK, SOLUTION_MARK
from cognate_core.data.word_problems import WordProblem

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """One text: `prompt` is the question, `answer` what a model should write. Plain text has no prompt."""

    prompt: str
    answer: str

    @property
    def text(self) -> str:
        return self.prompt + self.answer


class UnusableRow(ValueError):
    """A row lacks what a document needs. The message is the reason, without the row's number."""


_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")
_LAST_IS_A_CONDITION = re.compile(r"(^|[.?!]\s+)If\b([^.?!]|\.\d)*\.?$")  # the point in 0.5 ends no sentence


def gsm8k_document(row: Row, config: TrainingConfig) -> Document:
    """Columns question, answer (whose last line is `#### N`)."""
    solution = _text(row, "answer")
    if not config.keep_calculator_marks:
        solution = _CALCULATOR_MARK.sub("", solution)
    return _problem(_text(row, "question"), solution)


def svamp_document(row: Row, config: TrainingConfig) -> Document:
    """Columns Body, Question, Equation, Answer (a string or a number)."""
    question = _in_one_text(_text(row, "Body"), _text(row, "Question"))
    answer = _number(_text(row, "Answer"))
    equation = re.sub(r"\d+\.\d+", lambda match: _number(match[0]), _text(row, "Equation")).strip()
    if equation.startswith("(") and equation.endswith(")") and equation.count("(") == 1:
        equation = equation[1:-1].strip()
    return _problem(question, f"{equation} = {answer}\n#### {answer}")


def hotpotqa_document(row: Row, config: TrainingConfig) -> Document:
    """Columns question, answer, context, supporting_facts. The paragraphs come before the question."""
    try:
        context = row["context"]
        paragraphs = list(zip(context["title"], context["sentences"], strict=True))
        gold = set(row["supporting_facts"]["title"])
        kept = [pair for pair in paragraphs if config.hotpotqa_distractors or pair[0] in gold]
        # Sentences bring their own leading space.
        facts = "\n".join(f"{title}: {''.join(sentences).strip()}" for title, sentences in kept)
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableRow(f"the context cannot be read ({type(error).__name__}: {error})") from error
    if not facts:
        raise UnusableRow("no paragraph of the context holds the answer")
    answer = _text(row, "answer")
    return Document(f"{_whole(facts)}\nProblem: {_text(row, 'question')}{SOLUTION_MARK}", f" {answer}\n#### {answer}")


def word_problem_document(problem: WordProblem) -> Document:
    """A synthetic problem in the same layout as GSM8K."""
    return _problem(problem.question, f"{problem.solution}\n#### {problem.answer}")


OWN_FILE_COLUMNS = (
    ("question", "answer"),
    ("problem", "solution"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
)
"""Column pairs accepted in a person's own file, besides a single column "text"."""


def own_file_document(row: Row, config: TrainingConfig) -> Document:
    """A row of a person's own file."""
    for question, answer in OWN_FILE_COLUMNS:
        if question in row and answer in row:
            return _problem(_text(row, question), _text(row, answer))
    if "text" in row:
        return Document("", _text(row, "text"))
    pairs = ", ".join(f"{question} + {answer}" for question, answer in OWN_FILE_COLUMNS)
    found = ", ".join(map(str, row))[:200].encode(errors="replace").decode()  # a name may hold half a letter, too
    raise UnusableRow(f"none of the columns text, {pairs} is there (found: {found or 'none'})")


def _in_one_text(body: str, question: str) -> str:
    """Join SVAMP's body and question. A condition at the end of the body ("If she ate 4") continues in the question."""
    if _LAST_IS_A_CONDITION.search(body):
        return f"{body.removesuffix('.')}, {question[0].lower()}{question[1:]}"
    return f"{body if body.endswith(('.', '?', '!')) else body + '.'} {question}"


RowFormat = Callable[[Row, TrainingConfig], Document]

ROW_FORMATS: dict[str, RowFormat] = {
    "gsm8k": gsm8k_document,
    "svamp": svamp_document,
    "hotpotqa": hotpotqa_document,
}
"""The known row layouts, by their names in config/datasets.py."""


def _problem(question: str, solution: str) -> Document:
    return Document(f"{QUESTION_MARK}{question.strip()}{SOLUTION_MARK}", f" {solution.strip()}")


def _text(row: Row, column: str) -> str:
    if column not in row:
        raise UnusableRow(f"the column {column!r} is missing")
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnusableRow(f"the column {column!r} holds no text")
    if isinstance(value, float) and not math.isfinite(value):
        raise UnusableRow(f"the column {column!r} holds no number")
    text = str(value).strip()
    if not text:
        raise UnusableRow(f"the column {column!r} is empty")
    return _whole(text)


def _whole(text: str) -> str:
    """`text`; raises UnusableRow if it holds half a letter (a lone surrogate: valid in JSON, not in UTF-8)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableRow("the row holds half a letter, which is no valid text") from error
    return text


def _number(text: str) -> str:
    """'145.0' as '145'; anything else unchanged."""
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text

"""Turn the rows of a dataset into the documents that a model reads. Handles columns and text; no files, no tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
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
    ("instruction", "response"),
    ("input", "output"),
)
"""Column pairs accepted in a person's own file."""

BESIDE = ("context", "input")
"""Columns of a person's own file that are read with the question."""

CHAT_COLUMNS = ("messages", "conversations")
"""Columns of a person's own file that hold a chat: a list of turns with role and content, or from and value."""

_ROLES = {"human": "user", "developer": "system"} | dict.fromkeys(("gpt", "chatgpt", "model", "bot"), "assistant")
"""The words of several programs for who says something."""


def own_file_columns(names: Iterable[object]) -> tuple[str, ...]:
    """The columns, in small letters, from which a row of a person's own file is made; none if it cannot be used."""
    there = _by_plain_name(names)
    for pair in OWN_FILE_COLUMNS:
        if there.keys() >= set(pair):
            return (*pair, *(name for name in BESIDE if name in there and name not in pair))
    return next(((name,) for name in (*CHAT_COLUMNS, "text") if name in there), ())


def unused_columns(names: Iterable[object], chosen: Mapping[str, str]) -> list[str]:
    """The columns of a person's own file that own_file_document does not read. `chosen`: `dataset_columns`."""
    there = _by_plain_name(names := tuple(names))
    read = map(_plain, chosen.values()) if chosen else own_file_columns(names)
    used = [there.get(name) for name in read]
    return [str(name) for name in names if name not in used]


def own_file_document(row: Row, config: TrainingConfig) -> Document:
    """A row of a person's own file. Capitals in the names of columns and blanks around them do not matter."""
    names = tuple(row)
    uses = _uses(names, _in_order(config.dataset_columns))
    first, *more = uses.values()
    while not (more or "text" in uses or config.dataset_columns) and row[first] is None:  # an empty chat beside others
        names = tuple(name for name in names if name != first)
        first, *more = (uses := _uses(names, ())).values()
    if "text" in uses:
        _text(row, first)
        return Document("", _whole(str(row[first])))  # as written: blanks matter in a program
    if not more:
        return _chat(row, first)
    context, asked, answer = "", _text(row, first), _text(row, more[0])
    if more[1:]:
        beside = {use: _text(row, uses[use]) for use in BESIDE if use in uses and not _is_blank(row[uses[use]])}
        context = f"{beside['context']}\n" if "context" in beside else ""
        asked += f"\n{beside['input']}" if uses.get("input") in more and "input" in beside else ""
    return Document(f"{context}{QUESTION_MARK}{asked}{SOLUTION_MARK}", f" {answer}")


def _in_order(columns: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`dataset_columns`, the question first, then the answer."""
    return tuple((use, columns[use]) for use in ("question", "answer", *columns) if use in columns) if columns else ()


@lru_cache(maxsize=64)  # most rows have the columns of the one before
def _uses(names: tuple[Any, ...], chosen: tuple[tuple[str, str], ...]) -> Mapping[str, Any]:
    """What the columns of a row are used for: a text, a chat, or first the question, then the answer.

    Raises:
        UnusableRow: the row lacks what it needs.
    """
    there = _by_plain_name(names)
    read = chosen or [(name, name) for name in own_file_columns(names)]
    if not read:
        pairs = (f"{question} + {answer}" for question, answer in OWN_FILE_COLUMNS)
        found = ", ".join(map(str, names))[:200].encode(errors="replace").decode()  # a name may hold half a letter, too
        known = ", ".join(("text", *CHAT_COLUMNS, *pairs))
        found += " (choose with the setting Columns to learn from)" if found else "none"
        raise UnusableRow(f"none of the columns {known} is there; found: {found}")
    missing = [name for _, name in read if _plain(name) not in there]
    if missing:
        raise UnusableRow(f"the column {missing[0]!r} is missing")
    return {use: there[_plain(name)] for use, name in read}


def _by_plain_name(names: Iterable[Any]) -> Mapping[str, Any]:
    """The names of columns by their names in small letters. Of "Text" and "text" it is the second."""
    there: dict[str, Any] = {}
    for name in names:
        plain = _plain(name)
        if plain not in there or name == plain:
            there[plain] = name
    return there


def _plain(name: object) -> str:
    return str(name).strip().lower()


def _is_blank(value: object) -> bool:
    return value is None or value != value or not str(value).strip()


def _chat(row: Row, column: str) -> Document:
    """A chat, whose last answer is the one to learn; what was said before is its prompt."""
    turns = row[column]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns) or not turns:
        raise UnusableRow(f"the column {column!r} holds no chat")
    said: list[tuple[str, str]] = []
    for turn in turns:
        role = str(turn.get("role") or turn.get("from", "")).lower()
        role, text = _ROLES.get(role, role), _said(turn)
        if said and said[-1][0] == role:
            text = f"{said.pop()[1]}\n{text}"
        said.append((role, text))
    *before, (role, answer) = said
    if role != "assistant":
        raise UnusableRow("the chat does not end with an answer")
    prompt = ""
    for role, text in before:
        match role:
            case "system" if not prompt:
                prompt = f"{text}\n"
            case "system":
                raise UnusableRow("a system message comes after the first question")
            case "user":
                prompt += f"{QUESTION_MARK}{text}{SOLUTION_MARK}"
            case "assistant":
                prompt += f" {text}\n"
            case _:
                raise UnusableRow(f"a turn of the chat has the role {role[:50]!r}")
    return Document(prompt, f" {answer}")


def _said(turn: Row) -> str:
    """What is said in a turn of a chat: a text, or a list of parts that are texts."""
    column = "content" if turn.get("value") is None else "value"
    parts = turn.get(column)
    if isinstance(parts, list) and parts and all(isinstance(part, dict) and "text" in part for part in parts):
        return "\n".join(_text(part, "text") for part in parts)
    return _text(turn, column)


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
    if isinstance(value, UnusableRow):
        raise value
    if type(value) is not str:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
            raise UnusableRow(f"the column {column!r} holds no text")
        if isinstance(value, float | Decimal) and not math.isfinite(value):
            raise UnusableRow(f"the column {column!r} holds no number")
        value = str(value)
    text: str = value.strip()
    if not text:
        raise UnusableRow(f"the column {column!r} is empty")
    return _whole(text)


def _whole(text: str) -> str:
    """`text`; raises UnusableRow if it holds half a letter (a lone surrogate: valid in JSON, not in UTF-8)."""
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise UnusableRow("the row holds half a letter, which is no valid text") from error
    return text


def _number(text: str) -> str:
    """'145.0' as '145'; anything else unchanged."""
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text

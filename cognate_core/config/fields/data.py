"""What the model reads."""

from __future__ import annotations

import codecs
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, field_validator

from cognate_core.config.datasets import DATASETS
from cognate_core.config.setting import TEXT, Settings, setting

_setting = partial(setting, section="Data", tasks=TEXT, branchable=False, prepares_data="rows")

_ANY = TypeAdapter(dict[str, str])
ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
WAYS = ({"question", "answer"}, {"question", "answer", "context"}, {"text"}, {"messages"})
"""What the columns of an own file may be used for."""

READ_BY = ("dataset_columns", "text_rows", "text_encoding")
"""The settings that say how an own file is read."""


def _encoding(name: str) -> str:
    "".encode(name)  # refuses codecs that are no encoding of text
    found = codecs.lookup(name).name
    if found in ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined"):
        raise LookupError(name)
    return found


def _pairs(text: str, looks: str) -> list[tuple[str, str]]:
    """The pairs of "a=1, b=2". Raises ValueError with what they look like."""
    pairs = [part.split("=") for part in text.split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{looks}; got {text!r}.")
    return [(name.strip(), value.strip()) for name, value in pairs]


class DataSettings(Settings):
    """What the model reads."""

    dataset_sources: list[str] = _setting(
        ["GSM8K", "SVAMP", "HotpotQA"],
        title="Datasets",
        help="What the model reads. Datasets that cannot be loaded are skipped and reported; if none can be loaded, "
        "built-in synthetic word problems are used instead, with a warning.",
        simple=True,
        example="GSM8K, SVAMP",
    )
    dataset_path: str | None = _setting(
        None,
        title="Own file",
        help="A table (CSV, Excel, Parquet), JSON or text file, compressed or not, an archive, or a dataset's folder. "
        "It is used instead of the datasets.",
        example="my_texts.jsonl",
        sweepable=False,
        personal=True,
    )
    dataset_columns: dict[str, ColumnName] = _setting(
        {},
        title="Columns to learn from",
        help="Which columns of your own file hold the question and answer (and context), the text, or the messages of "
        "a chat, such as question=Frage, answer=Antwort. Empty: found by their names.",
        example="question=Frage, answer=Antwort",
        sweepable=False,
    )
    text_rows: Literal["auto", "blocks", "paragraphs", "lines"] = _setting(
        "auto",
        title="Rows of plain text",
        help="How a text file of your own is cut into rows. lines, paragraphs: each is a row. blocks: paragraphs "
        "together, about 1,500 characters. auto: lines for a list, such as one of names; otherwise blocks.",
    )
    text_encoding: str | None = _setting(
        None,
        title="Text encoding",
        help="How your own file stores letters, such as utf-8 or cp1252. Empty: detected.",
        example="cp1252",
        sweepable=False,
    )
    mixture_weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] = _setting(
        {},
        title="Mixture weights",
        help="How often each dataset is drawn, relative to the others, such as GSM8K=2, SVAMP=1. Empty: in proportion "
        "to its size.",
        example="GSM8K=2, SVAMP=1",
        prepares_data="",
    )
    max_train_samples: int = _setting(
        5000,
        title="Training rows",
        help="Use at most this many rows of each dataset for training.",
        unit="rows",
        ge=1,
        le=1_000_000,
    )
    max_eval_samples: int = _setting(
        500,
        title="Held-out rows",
        help="Set aside at most this many rows of each dataset, to measure the model on text it never saw.",
        unit="rows",
        ge=1,
        le=100_000,
    )
    near_duplicates: Literal["keep", "remove"] = _setting(
        "keep",
        title="Near-duplicates",
        help="Training rows that nearly repeat an earlier row or a held-out row: only capitals, punctuation or a few "
        "words differ. Problems with other numbers do not count. keep: train on them. remove: leave them out. Datasets "
        "shows them.",
    )
    train_seq_len: int = _setting(
        512,
        title="Training length",
        help="How many tokens a training sequence holds. Several rows share a sequence. A longer plain text continues "
        "in the next sequence, where memory starts empty. Longer sequences need more time and memory.",
        unit="tokens",
        ge=16,
        le=16384,
        prepares_data="tokens",
    )
    long_rows: Literal["leave-out", "cut"] = _setting(
        "leave-out",
        title="Rows that are too long",
        help="What happens to a row with a question and an answer that is longer than the training length. leave-out: "
        "it is not used. cut: it continues in the next sequence, where the model no longer sees its beginning.",
        prepares_data="tokens",
    )
    word_problems: Literal["sums-to-20", "one-step-to-100", "two-steps", "all"] = _setting(
        "all",
        title="Built-in problems",
        help="The difficulty of the built-in word problems (Synthetic). sums-to-20: one sum or difference of numbers "
        "up to 20. one-step-to-100: one step of any kind, numbers up to 100. two-steps: one or two sums and "
        "differences. all: up to four steps of any kind, in fewer wordings.",
    )
    loss_on_answer_only: bool = _setting(
        False,
        title="Learn the answers only",
        help="On: the model is graded on solutions and answers, not on repeating the question.",
        prepares_data="tokens",
    )
    keep_calculator_marks: bool = _setting(
        False,
        title="Keep calculator marks",
        help="GSM8K writes sums as <<3*4=12>> in its solutions. Off: these marks are removed.",
    )
    hotpotqa_distractors: bool = _setting(
        False,
        title="HotpotQA with distractors",
        help="On: all ten paragraphs (about 5,400 characters; needs a long training length). Off: only those that "
        "contain the answer.",
    )

    @field_validator("dataset_sources")
    @classmethod
    def _known_datasets(cls, names: list[str]) -> list[str]:
        spelling = {name.lower(): name for name in DATASETS}
        for name in names:
            if name.lower() not in spelling:
                raise ValueError(f"There is no dataset {name!r}. Choose from {', '.join(DATASETS)}.")
        return list(dict.fromkeys(spelling[name.lower()] for name in names))

    @field_validator("mixture_weights", mode="before")
    @classmethod
    def _split_weights(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        spelling = {name.lower(): name for name in DATASETS}
        pairs = _pairs(value, "Mixture weights look like GSM8K=2, SVAMP=1")
        return {spelling.get(name.lower(), name): weight for name, weight in pairs}

    @field_validator("dataset_columns", mode="before")
    @classmethod
    def _split_columns(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.startswith("{"):  # names with commas
            return {use.lower(): name for use, name in _ANY.validate_json(value).items()}
        return {use.lower(): name for use, name in _pairs(value, "Columns look like question=Frage, answer=Antwort")}

    @field_validator("dataset_columns")
    @classmethod
    def _whole_rows(cls, columns: dict[str, str]) -> dict[str, str]:
        if columns and columns.keys() not in WAYS:
            raise ValueError("Choose columns for question and answer (and context), or for text, or for messages.")
        if len({name.strip().lower() for name in columns.values()}) < len(columns):
            raise ValueError("Choose a different column for each use.")
        return columns

    @field_validator("dataset_path")
    @classmethod
    def _writable_name(cls, path: str | None) -> str | None:
        try:
            (path or "").encode()
        except UnicodeEncodeError as error:
            raise ValueError("The file's name is not UTF-8. Rename it, or use `cognate files add`.") from error
        return path

    @field_validator("text_encoding")
    @classmethod
    def _known_encoding(cls, name: str | None) -> str | None:
        try:
            return _encoding(name) if name else None
        except (LookupError, ValueError) as error:
            raise ValueError(f"There is no encoding {name!r}. Examples: utf-8, utf-16, cp1252, shift_jis.") from error

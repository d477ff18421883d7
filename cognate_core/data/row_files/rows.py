"""What every reader of a person's file gives: rows with their places, and what is wrong with a row."""

from __future__ import annotations

from dataclasses import dataclass, field

from cognate_core.data.documents import Row, UnusableRow

MAX_ROW_BYTES = 1_000_000
MOST_NOTES = 20
TOO_LONG = f"the row is longer than {MAX_ROW_BYTES // 1_000_000} MB"
NOT_UTF8 = "the row is not UTF-8 text (save the file as UTF-8, or set its text encoding)"
SAVE_AS_UTF8 = "is not UTF-8 text. Save the file as UTF-8 and try again."

NumberedRow = tuple[str, Row | UnusableRow]
"""The row's place, such as "train.jsonl, line 12", and the row or what is wrong with it."""


@dataclass(slots=True)
class Reading:
    """How to read files, and what is learned about them on the way.

    Attributes:
        encoding: of text files; None: detected.
        text_rows: what a row of a plain text is: a value of the setting of that name.
        notes: sentences for the owner, such as how a file was understood; at most MOST_NOTES.
        seen: bytes of files read so far, as they lie on the disk.
    """

    encoding: str | None = None
    text_rows: str = "auto"
    notes: list[str] = field(default_factory=list)
    seen: int = 0

    def note(self, sentence: str) -> None:
        """Keep a sentence for the owner, once."""
        if sentence not in self.notes and len(self.notes) < MOST_NOTES:
            self.notes.append(sentence)


def line_of(name: str, number: int) -> str:
    return f"{name}, line {number}"


def is_utf8(text: str) -> bool:
    """False if the file's bytes were no text: undecodable ones stay in it as characters that UTF-8 cannot hold."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False

"""Rows of JSON: an object on each line, one list of objects, a list inside an object, or objects over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from cognate_core.data.documents import Row, UnusableRow, own_file_columns
from cognate_core.data.row_files.opening import DataFile, lines_of, open_text
from cognate_core.data.row_files.rows import (
    MAX_ROW_BYTES,
    NOT_UTF8,
    SAVE_AS_UTF8,
    TOO_LONG,
    NumberedRow,
    Reading,
    is_utf8,
)
from cognate_core.errors import DataError

NO_JSON = "the row is not valid JSON (one object on each line is expected)"
PIECE = 2**22  # characters read at a time
LONGEST_VALUE = 200 * 2**20  # characters: an object around the list is read whole


def read_json(file: DataFile, reading: Reading) -> Iterator[NumberedRow]:
    """The file's rows. Raises DataError if it is one value that is no valid JSON."""
    if _is_one_value(file, reading):
        yield from _value_rows(file, reading)
        return
    with open_text(file, reading) as text:
        for number, line in enumerate(lines_of(text, MAX_ROW_BYTES + 1), start=1):
            if not line.isspace():
                yield f"{file.name}, line {number}", _json_row(line)


def _is_one_value(file: DataFile, reading: Reading) -> bool:
    """Whether a file holds one JSON value instead of an object on each line.

    It begins with a list of objects, or is a .json file with an object over several lines or on its only line.
    """
    with open_text(file, Reading(reading.encoding)) as text:
        begin = (line.strip() for line in lines_of(text, MAX_ROW_BYTES + 1) if line.strip())
        first, second = next(begin, ""), next(begin, "")
    if first.startswith("["):
        return first[1:].lstrip()[:1] in ("", "{", "]")
    several = first.startswith("{") and str(_json_row(first)) == NO_JSON and isinstance(_json_row(second), UnusableRow)
    return file.kind == ".json" and (several or not second)


def _value_rows(file: DataFile, reading: Reading) -> Iterator[NumberedRow]:
    """The objects of a list, which may be the only list of objects in an object; or objects one after another."""
    with open_text(file, reading, newline=None) as opened:
        text = _Text(opened)
        try:
            for number, (row, characters) in enumerate(_values(text), start=1):
                place = f"{file.name}, row {number}"
                yield place, UnusableRow(TOO_LONG) if characters > MAX_ROW_BYTES else _object(row)
        except _Broken as error:
            if not is_utf8(text.text):
                raise DataError(f"{file.name} {SAVE_AS_UTF8}") from error
            raise DataError(f"{file.name}, line {error.line} is not valid JSON ({error}). Repair the file.") from error
        except _TooLong as error:
            raise DataError(
                f"{file.name}: a value is longer than {LONGEST_VALUE >> 20} MB, or never ends. Save each row on a line "
                "of its own (JSON Lines)."
            ) from error
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
            raise DataError(f"{file.name} is not valid JSON ({why}). Repair the file.") from error


class _Broken(Exception):
    """It is no valid JSON from a line on."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


class _TooLong(Exception):
    """A value is longer than LONGEST_VALUE, or never ends."""


class _Text:
    """A text that is read as far as needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.text, self.at, self.lines_before = "", 0, 0  # what is here, what of it is used, lines no longer here

    def more(self) -> bool:
        """Read on; False at the end."""
        self.lines_before += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :], 0
        piece = self._file.read(max(PIECE, len(self.text)))
        self.text += piece
        return bool(piece)

    def sign(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            found = _BLANKS.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def value(self) -> tuple[Any, int]:
        """The next value, and how long it is."""
        self.sign()
        while True:
            try:
                value, end = _decode(self.text, self.at)
            except json.JSONDecodeError as error:
                broken = _Broken(error.msg, self.lines_before + error.lineno)
                if len(self.text) - self.at > LONGEST_VALUE:
                    raise _TooLong from error
                if not self.more():
                    raise broken from error
                continue
            if end == len(self.text) and self.more():
                continue  # a number may go on
            length, self.at = end - self.at, end
            return value, length

    def wrong(self, what: str) -> _Broken:
        return _Broken(what, self.lines_before + self.text.count("\n", 0, self.at) + 1)


_BLANKS = re.compile(r"[ \t\r\n]*")
_decode = json.JSONDecoder().raw_decode
_loads = json.JSONDecoder().decode


def _values(text: _Text) -> Iterator[tuple[Any, int]]:
    """Each value of a list, or of several one after another, and how long it is as text (0: not measured)."""
    if text.sign() != "[":
        while text.sign():
            yield from ((row, 0) for row in _rows_in(text.value()[0]))
    else:
        text.at += 1
        sign = text.sign()
        while sign != "]":
            yield text.value()
            sign = text.sign()
            if sign == ",":
                text.at += 1
            elif sign != "]":
                raise text.wrong("a comma is missing, or the end")
        text.at += 1
    if text.sign():
        raise text.wrong("it goes on after its end")


def _rows_in(value: Any) -> list[Any]:
    """The only list of objects in an object that is no row itself; else the object."""
    if not isinstance(value, dict) or own_file_columns(value):
        return [value]
    lists = [rows for rows in value.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    return lists[0] if len(lists) == 1 else [value]


def _json_row(line: str) -> Row | UnusableRow:
    if len(line) > MAX_ROW_BYTES:
        return UnusableRow(TOO_LONG)
    if not is_utf8(line):
        return UnusableRow(NOT_UTF8)
    try:
        return _object(
            _loads(line if line.endswith("}\n") else line.strip().removesuffix(","))
        )  # as in a list without its brackets
    except (ValueError, RecursionError):
        return UnusableRow(NO_JSON)


def _object(value: Any) -> Row | UnusableRow:
    return value if isinstance(value, dict) else UnusableRow("the row is no JSON object")

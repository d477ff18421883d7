"""Read rows from JSON, CSV, Parquet and text files, each with its place in the file.

A bad row is passed on as an UnusableRow that says what is wrong: the caller counts them. (`datasets` also reads these
formats, but rejects a whole file at its first bad line, without saying which.)
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow
import pyarrow.parquet

from cognate_core.data.documents import Row, UnusableRow, own_file_columns
from cognate_core.errors import DataError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md")
MAX_ROW_BYTES = 1_000_000
TOO_LONG = f"the row is longer than {MAX_ROW_BYTES // 1_000_000} MB"
NOT_UTF8 = "the row is not UTF-8 text (save the file as UTF-8)"
SAVE_AS_UTF8 = "is not UTF-8 text. Save the file as UTF-8 and try again."
NO_JSON = "the row is not valid JSON (one object on each line is expected)"
csv.field_size_limit(20 * MAX_ROW_BYTES)  # reads a row that is far too long to its end, where the next begins
SEPARATORS = ",;\t|"
TEXT_BLOCK_CHARACTERS = 1500  # plain text is cut between paragraphs into blocks of at least about this size;
TEXT_BLOCKS = 120  # a long text is cut into about this many: one damaged block seldom spoils the file;
LONGEST_TEXT_BLOCK = 100_000  # longer only if one paragraph is: rows have a limit, too

CANNOT_HOLD = (ValueError, OverflowError, LookupError, ImportError, pyarrow.ArrowException)
"""What reading a value of a Parquet file may raise: bytes that are no UTF-8, dates too far away, unknown time zones."""

NumberedRow = tuple[str, Row | UnusableRow]
"""The row's place, such as "train.jsonl, line 12", and the row or what is wrong with it."""


def read_rows(path: Path) -> Iterator[NumberedRow]:
    """All rows of a file, or of every file of a folder that holds data.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    for file in data_files(path):
        yield from _rows_of(file)


_HELDOUT, _TRAIN = (
    re.compile(rf"(?:^|[^a-z])(?:{words})(?:[^a-z]|$)")
    for words in ("tests?|testing|testset|valid|validation|val|dev|eval|evaluation|h[eo]ld[-_ ]?out", "train|training")
)
_ABOUT_DATA = re.compile(
    r"(readme|licen[cs]e|changelog)([._-][a-z]{2,5})?\.(md|txt)|(dataset_infos?|dataset_dict|state|config)\.json"
)


def data_files(path: Path) -> list[Path]:
    """The files at `path` that can hold rows: itself, or those below a folder that are not about the data.

    Raises:
        DataError: there is none.
    """
    if not path.is_dir():
        return [path]
    below = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    files = sorted(file for file in below if not any(part.startswith(".") for part in file.relative_to(path).parts))
    files = [file for file in files if not _ABOUT_DATA.fullmatch(file.name.lower())] or files
    if not files:
        raise DataError(f"The folder {path} has no {', '.join(SUFFIXES)} file.")
    return files


def is_heldout(file: Path, folder: Path) -> bool:
    """Whether its name, or that of its folder, says that a file is of a split that no model learns from."""
    for part in reversed(file.relative_to(folder).with_suffix("").parts):
        heldout, train = (bool(words.search(part.lower())) for words in (_HELDOUT, _TRAIN))
        if heldout != train:  # "train_test_split" says nothing
            return heldout
    return False


def _line(path: Path, number: int) -> str:
    return f"{path.name}, line {number}"


def _rows_of(path: Path) -> Iterator[NumberedRow]:
    if not path.is_file():
        raise DataError(f"There is no file {path}. Check its name, or choose another.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path.name} cannot be read: its name must end in {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty. Choose a file with at least two rows.")
    match suffix:
        case ".jsonl" | ".json":
            yield from _json(path)
        case ".csv" | ".tsv":
            yield from _csv(path)
        case ".parquet":
            yield from _parquet(path)
        case _:
            yield from _text(path)


# JSON: an object on each line, one list of objects, or a list inside an object


def _json(path: Path) -> Iterator[NumberedRow]:
    if _is_one_value(path):
        yield from _json_values(path)
        return
    with _opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _line(path, number), _json_row(line)


def _is_one_value(path: Path) -> bool:
    """Whether a file holds one JSON value instead of an object on each line.

    It begins with a list of objects, or is a .json file with an object over several lines or on its only line.
    """
    with _opened(path) as lines:
        begin = (line.strip() for line in lines if line.strip())
        first, second = next(begin, ""), next(begin, "")
    if first.startswith("["):
        return first[1:].lstrip()[:1] in ("", "{", "]")
    several = first.startswith("{") and str(_json_row(first)) == NO_JSON and isinstance(_json_row(second), UnusableRow)
    return path.suffix.lower() == ".json" and (several or not second)


def _json_values(path: Path) -> Iterator[NumberedRow]:
    """The objects of a list, which may be the only list of objects in an object."""
    text = _whole_text(path)
    if not _is_utf8(text):
        raise DataError(f"{path.name} {SAVE_AS_UTF8}")
    try:
        for number, (row, characters) in enumerate(_values(text, _after_blanks(text, 0)), start=1):
            place = f"{path.name}, row {number}"
            yield place, UnusableRow(TOO_LONG) if characters > MAX_ROW_BYTES else _object(row)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path.name}, line {error.lineno} is not valid JSON ({error.msg}). Repair the file."
        ) from error
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
        raise DataError(f"{path.name} is not valid JSON ({why}). Repair the file.") from error


def _values(text: str, at: int) -> Iterator[tuple[Any, int]]:
    """Each value of the list that begins at `at`, one after the other to save memory, and how long it is as text."""
    decode = json.JSONDecoder().raw_decode
    if not text.startswith("[", at):
        whole, at = decode(text, at)
        yield from ((row, 0) for row in _rows_in(whole))
    elif text.startswith("]", _after_blanks(text, at + 1)):
        at = _after_blanks(text, at + 1) + 1
    else:
        separator = ","
        while separator == ",":
            start = _after_blanks(text, at + 1)
            value, end = decode(text, start)
            yield value, end - start
            at = _after_blanks(text, end)
            separator = text[at : at + 1]
        if separator != "]":
            raise json.JSONDecodeError("a comma is missing, or the end", text, at)
        at += 1
    if _after_blanks(text, at) < len(text):
        raise json.JSONDecodeError("it goes on after its end", text, _after_blanks(text, at))


def _rows_in(value: Any) -> list[Any]:
    """The only list of objects in an object that is no row itself; else the object."""
    if not isinstance(value, dict) or own_file_columns(value):
        return [value]
    lists = [rows for rows in value.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    return lists[0] if len(lists) == 1 else [value]


_BLANKS = re.compile(r"[ \t\r\n]*")


def _after_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _json_row(line: str) -> Row | UnusableRow:
    if len(line) > MAX_ROW_BYTES:
        return UnusableRow(TOO_LONG)
    if not _is_utf8(line):
        return UnusableRow(NOT_UTF8)
    try:
        return _object(json.loads(line.strip().removesuffix(",")))  # as in a list without its brackets
    except (ValueError, RecursionError):
        return UnusableRow(NO_JSON)


def _object(value: Any) -> Row | UnusableRow:
    return value if isinstance(value, dict) else UnusableRow("the row is no JSON object")


# Tables


def _csv(path: Path) -> Iterator[NumberedRow]:
    """Rows of a table whose first line names the columns. Blank rows are no rows."""
    separator, skipped, blank_follows = _separator(path)
    with _opened(path) as file:
        deque(itertools.islice(file, skipped), maxlen=0)
        reader = csv.reader(file, delimiter=separator, strict=True, skipinitialspace=blank_follows)
        columns: list[str] = []
        while True:
            begin = reader.line_num + skipped + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if str(error) == "unexpected end of data":
                    raise DataError(
                        f"{_line(path, begin)}: a quotation mark opens here and is never closed, so nobody knows where "
                        "this row ends. Repair the line."
                    ) from error
                for number in range(begin, reader.line_num + skipped + 1):  # a quotation mark may have swallowed rows
                    yield _line(path, number), UnusableRow(f"the row is not valid CSV ({error})")
                continue
            if not any(cell.strip() for cell in cells):
                continue
            place = _line(path, reader.line_num + skipped)
            if columns:
                yield place, _csv_row(columns, cells, separator)
            else:
                columns = _column_names(cells, place)


def _csv_row(columns: list[str], cells: list[str], separator: str) -> Row | UnusableRow:
    if not _is_utf8("".join(cells)):
        return UnusableRow(NOT_UTF8)
    if any(cell.strip() for cell in cells[len(columns) :]):
        what = {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(separator, separator)
        return UnusableRow(
            f"the row has more cells than there are columns (put a text that holds {what} between double quotes)"
        )
    row = dict(itertools.zip_longest(columns, cells[: len(columns)]))
    return {name: cell for name, cell in row.items() if cell or not name.startswith(NO_NAME)}


NO_NAME = "column "
"""So begins the name of a column whose owner gave it none: "column 3". It matters only where it holds something."""


def _column_names(cells: list[str], place: str) -> list[str]:
    if not _is_utf8("".join(cells)):
        raise DataError(f"{place} {SAVE_AS_UTF8}")
    names = [cell.strip() or f"{NO_NAME}{number}" for number, cell in enumerate(cells, start=1)]
    for number, name in enumerate(names):
        if name.lower() in map(str.lower, names[:number]):
            raise DataError(f"{place} names two columns {name!r}. Rename one of them.")
    return names


def _separator(path: Path) -> tuple[str, int, bool]:
    """What separates a table's cells, how many lines come before the names of its columns, and whether a blank follows.

    Excel may write it in a first line, "sep=;". Otherwise it is the one that makes the most columns of the first line.
    """
    with _opened(path) as file:
        lines = ((n, line) for n, line in enumerate(file, start=1) if line.strip(f'{SEPARATORS}" \r\n'))
        number, first = next(lines, (0, ""))
    said = re.fullmatch(r'\s*"?sep=([^\w"\r\n])"?\s*', first, re.IGNORECASE)
    if said:
        return said[1], number, False
    outside = re.sub(r'"[^"]*"', '""', first)
    separator = "\t" if path.suffix.lower() == ".tsv" else max(SEPARATORS, key=outside.count)
    return separator, 0, f"{separator} " in outside


def _parquet(path: Path) -> Iterator[NumberedRow]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=100):
                for row in _parquet_rows(batch):
                    number += 1
                    yield f"{path.name}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file ({error}).") from error


def _parquet_rows(batch: pyarrow.RecordBatch) -> list[Row]:
    """The rows; a value that Python cannot hold is an UnusableRow in its cell, and matters only if it is used."""
    try:
        return list(batch.to_pylist())
    except CANNOT_HOLD:
        columns = [[_cell(value) for value in column] for column in batch.columns]
        return [dict(zip(batch.schema.names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _cell(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return UnusableRow(NOT_UTF8)
    except CANNOT_HOLD as error:
        return UnusableRow(f"a value cannot be read ({error})")


# Plain text


def _text(path: Path) -> Iterator[NumberedRow]:
    """Blocks of paragraphs; of lines or words where there are no blank lines."""
    text = _whole_text(path)
    enough = min(max(TEXT_BLOCK_CHARACTERS, len(text) // TEXT_BLOCKS), LONGEST_TEXT_BLOCK)
    first = next((n for n, separator in enumerate(_CUTS) if separator in text.strip()), 0)
    block: list[str] = []
    size, first_line, line = 0, 1, 1
    for part, separator in _parts(text, _CUTS[first:], 4 * enough):
        block += [part, separator]
        size += len(part)
        line += part.count("\n") + separator.count("\n")
        if size >= enough:
            yield _line(path, first_line), _text_row(block)
            block, size, first_line = [], 0, line
    if "".join(block).strip():
        yield _line(path, first_line), _text_row(block)


_CUTS = ("\n\n", "\n", " ")


def _parts(text: str, cuts: Sequence[str], longest: int) -> Iterator[tuple[str, str]]:
    """The text between the first of `cuts`, each with what followed it. Too long a part is cut at the others."""
    for part in text.split(cuts[0]):
        if len(part) > longest and len(cuts) > 1:
            *inner, (last, _) = _parts(part, cuts[1:], longest)
            yield from inner
            yield last, cuts[0]
        else:
            yield part, cuts[0]


def _text_row(block: list[str]) -> Row | UnusableRow:
    """`block`: parts and what follows each; what follows the last is left out."""
    text = "".join(block[:-1])
    return {"text": text} if _is_utf8(text) else UnusableRow(NOT_UTF8)


# Bytes


def _coding(path: Path) -> str:
    """UTF-8, unless the file says otherwise or every second byte is zero, as Windows programs write UTF-16."""
    with path.open("rb") as file:
        begin = file.read(4096)
    if begin.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = begin[::2].count(0), begin[1::2].count(0)
    if max(even, odd) > len(begin) / 4 and min(even, odd) < len(begin) / 40:
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8-sig"


def _opened(path: Path) -> TextIO:
    """The file as text. What is not UTF-8 stays in it, as characters that UTF-8 cannot hold."""
    coding = _coding(path)
    if coding == "utf-8-sig":
        return path.open(encoding=coding, errors="surrogateescape", newline="")
    try:
        return io.StringIO(path.read_bytes().decode(coding, "surrogatepass"), newline="")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is damaged: it is not complete {coding.upper()} text.") from error


def _whole_text(path: Path) -> str:
    with _opened(path) as file:
        text = file.read()
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_utf8(text: str) -> bool:
    """False if the file's bytes were no text: see `_opened`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

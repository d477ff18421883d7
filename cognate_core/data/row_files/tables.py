"""Rows of tables: CSV with any separator, Excel and Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from cognate_core.data.documents import Row, UnusableRow, own_file_columns
from cognate_core.data.row_files.opening import DataFile, lines_of, open_text
from cognate_core.data.row_files.rows import (
    MAX_ROW_BYTES,
    NOT_UTF8,
    SAVE_AS_UTF8,
    NumberedRow,
    Reading,
    is_utf8,
    line_of,
)
from cognate_core.errors import DataError

csv.field_size_limit(20 * MAX_ROW_BYTES)  # reads a row that is far too long to its end, where the next begins
SEPARATORS = ",;\t|"
SEEN_LINES = 1000  # of a table, to see what its quotation marks mean
MOST_WHOLE = 500 * 2**20  # bytes of a compressed table, which is unpacked in memory

CANNOT_HOLD = (ValueError, OverflowError, LookupError, ImportError, pyarrow.ArrowException)
"""What reading a value of a Parquet file may raise: bytes that are no UTF-8, dates too far away, unknown time zones."""


def read_csv(file: DataFile, reading: Reading) -> Iterator[NumberedRow]:
    """The file's rows; its first line names the columns. Blank rows are no rows.

    Raises:
        DataError: the columns' names cannot be used, or a quotation mark is never closed.
    """
    dialect, skipped = _dialect(file, reading)
    with open_text(file, reading) as opened:
        deque(itertools.islice(opened, skipped), maxlen=0)
        reader = csv.reader(lines_of(opened, 21 * MAX_ROW_BYTES), strict=True, **dialect)
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
                        f"{line_of(file.name, begin)}: a quotation mark opens here and is never closed, so nobody "
                        "knows where this row ends. Repair the line."
                    ) from error
                for number in range(begin, reader.line_num + skipped + 1):  # a quotation mark may have swallowed rows
                    yield line_of(file.name, number), UnusableRow(f"the row is not valid CSV ({error})")
                continue
            if any(map(str.strip, cells)):
                place = line_of(file.name, reader.line_num + skipped)
                if columns:
                    yield place, _row(columns, cells, dialect["delimiter"])
                else:
                    columns = _column_names(cells, place)


def read_excel(file: DataFile, reading: Reading) -> Iterator[NumberedRow]:
    """Rows of one sheet: the first with columns that are known, else the first that has any.

    Raises:
        DataError: it is no Excel file, is locked, or the columns' names cannot be used.
    """
    import openpyxl  # which takes as long to load as all that reads other files

    try:
        with (
            file.open(reading) as opened,
            closing(openpyxl.load_workbook(_seekable(file, opened), True, data_only=True)) as book,
        ):
            heads = {sheet.title: head for sheet in book if sheet.sheet_state == "visible" and (head := _head(sheet))}
            chosen = next(
                (name for name, (_, cells) in heads.items() if own_file_columns(cells)), next(iter(heads), None)
            )
            if chosen is None:
                return
            if others := [name for name in heads if name != chosen]:
                reading.note(f"{file.name}: only the sheet {chosen!r} is read, not {', '.join(others)[:200]}.")
            first, names = heads[chosen]
            columns = _column_names(names, f"{file.name}, row {first}")
            for number, row in enumerate(book[chosen].iter_rows(min_row=first + 1), start=first + 1):
                cells = [_excel_text(cell) for cell in row]
                if any(map(str.strip, cells)):
                    blank = [""] * (len(columns) - len(cells))
                    yield f"{file.name}, row {number}", _row(columns, cells + blank, "")
    except DataError:
        raise
    except Exception as error:  # openpyxl raises many unrelated kinds for damaged files
        raise DataError(
            f"{file.name} is not a readable Excel file ({error}). Save it as .xlsx without a password."
        ) from error


def _head(sheet: Any) -> tuple[int, list[str]] | None:
    """The number and cells of the first row that is not blank."""
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [_excel_text(cell) for cell in row]
        if any(map(str.strip, cells)):
            return number, cells
    return None


def _excel_text(cell: Any) -> str:
    """A cell nearly as Excel shows it: whole numbers without a point, percentages, dates without midnight."""
    value = cell.value
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case int() | float() if "%" in str(cell.number_format):
            return f"{value * 100:g} %"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
    return str(value).removesuffix(" 00:00:00")


def _row(columns: list[str], cells: list[str], separator: str) -> Row | UnusableRow:
    if not is_utf8("".join(cells)):
        return UnusableRow(NOT_UTF8)
    if any(map(str.strip, cells[len(columns) :])):
        what = {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(separator, separator)
        return UnusableRow(
            f"the row has more cells than there are columns (put a text that holds {what} between double quotes)"
        )
    row = dict(itertools.zip_longest(columns, cells[: len(columns)]))
    return {name: cell for name, cell in row.items() if cell or not name.startswith(NO_NAME)}


NO_NAME = "column "
"""So begins the name of a column whose owner gave it none: "column 3". It matters only where it holds something."""


def _column_names(cells: list[str], place: str) -> list[str]:
    if not is_utf8("".join(cells)):
        raise DataError(f"{place} {SAVE_AS_UTF8}")
    names = [cell.strip() or f"{NO_NAME}{number}" for number, cell in enumerate(cells, start=1)]
    for number, name in enumerate(names):
        if name.lower() in map(str.lower, names[:number]):
            raise DataError(f"{place} names two columns {name!r}. Rename one of them.")
    return names


def _dialect(file: DataFile, reading: Reading) -> tuple[dict[str, Any], int]:
    """How to read a table with csv.reader, and how many lines come before the names of its columns.

    Excel may write the separator in a first line, "sep=;". Otherwise it is the one that makes the most columns of the
    first line. Between tabs, quotation marks may be letters like others (as the registered format has it).
    """
    with open_text(file, Reading(reading.encoding)) as opened:
        lines = ((n, line) for n, line in enumerate(opened, start=1) if line.strip(f'{SEPARATORS}" \r\n'))
        number, first = next(lines, (0, ""))
        said = re.fullmatch(r'\s*"?sep=([^\w"\r\n])"?\s*', first, re.IGNORECASE)
        if said:
            return {"delimiter": said[1]}, number
        outside = re.sub(r'"[^"]*"', '""', first)
        separator = "\t" if file.kind == ".tsv" else max(SEPARATORS, key=outside.count)
        if separator == "\t" and _marks_are_letters([first, *itertools.islice(opened, SEEN_LINES)]):
            return {"delimiter": separator, "quoting": csv.QUOTE_NONE}, 0
    return {"delimiter": separator, "skipinitialspace": f"{separator} " in outside}, 0


_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def _marks_are_letters(lines: list[str]) -> bool:
    """Whether quotation marks between tabs quote nothing.

    Read as quoting, they leave a row with more or fewer cells than the first; and more lines have a cell whose mark
    closes nothing than have quoted cells.
    """
    cells = lines[0].count("\t") + 1
    try:
        if all(len(row) in (0, cells) for row in csv.reader(lines, delimiter="\t", strict=True)):
            return False
    except csv.Error as error:
        if len(lines) > SEEN_LINES and str(error) == "unexpected end of data":
            return False  # the last cell goes on
    letters = quoted = 0
    for line in lines:
        there = line.rstrip("\r\n").split("\t")
        begin = [cell for cell in there if cell.startswith('"')]
        whole = [cell for cell in begin if _QUOTED.fullmatch(cell)]
        quoted += bool(whole)
        letters += len(begin) > len(whole) and len(there) == cells
    return letters > quoted


def read_parquet(file: DataFile, reading: Reading) -> Iterator[NumberedRow]:
    """The file's rows. Raises DataError if it is no Parquet file."""
    number = 0
    try:
        with (
            file.open(reading) as opened,
            pyarrow.parquet.ParquetFile(_seekable(file, opened), pre_buffer=False) as table,
        ):
            names = table.schema_arrow.names
            if twice := [name for name in names if names.count(name) > 1]:
                raise DataError(f"{file.name} names two columns {twice[0]!r}. Rename one of them.")
            for batch in table.iter_batches(batch_size=1000):
                for row in _parquet_rows(batch):
                    number += 1
                    yield f"{file.name}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file.name} is not a readable Parquet file ({error}).") from error


def _seekable(file: DataFile, opened: BinaryIO) -> BinaryIO:
    """The file itself, or its content: its end says what is where."""
    if opened.seekable():
        return opened
    content = opened.read(MOST_WHOLE + 1)
    if len(content) > MOST_WHOLE:
        raise DataError(f"{file.name} is larger than {MOST_WHOLE >> 20} MB. Unpack it, and choose the result.")
    return io.BytesIO(content)


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

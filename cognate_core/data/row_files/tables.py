"""Rows of tables: CSV with any separator, Excel and Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow
import pyarrow.parquet
import python_calamine

from cognate_core.data.documents import Row, UnusableRow
from cognate_core.data.row_files.opening import DataFile, open_text
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
        reader = csv.reader(opened, strict=True, **dialect)
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
    """Rows of the first sheet that has any; its first row names the columns.

    Raises:
        DataError: it is no Excel file, is locked, or the columns' names cannot be used.
    """
    try:
        with file.open(reading) as opened, python_calamine.CalamineWorkbook.from_filelike(opened) as book:
            sheets = [(name, book.get_sheet_by_name(name)) for name in book.sheet_names]
            filled = [(name, sheet) for name, sheet in sheets if sheet.height]
            for name, _ in filled[1:]:
                reading.tell(f"{file.name}: the sheet {name!r} is not read, only {filled[0][0]!r}.")
            columns: list[str] = []
            for _, sheet in filled[:1]:
                first = sheet.start[0] + 1 if sheet.start else 1
                for number, values in enumerate(sheet.to_python(), start=first):
                    cells = [_excel_text(value) for value in values]
                    if any(map(str.strip, cells)):
                        place = f"{file.name}, row {number}"
                        if columns:
                            yield place, _row(columns, cells, "")
                        else:
                            columns = _column_names(cells, place)
    except python_calamine.PasswordError as error:
        raise DataError(f"{file.name} is locked with a password. Save it without one.") from error
    except (python_calamine.CalamineError, OSError) as error:
        raise DataError(f"{file.name} is not a readable Excel file ({error}).") from error


def _excel_text(value: object) -> str:
    """A cell as Excel shows it: whole numbers without a point."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


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
        begin = [first, *(line for _, line in itertools.islice(lines, 1000))]
    said = re.fullmatch(r'\s*"?sep=([^\w"\r\n])"?\s*', first, re.IGNORECASE)
    if said:
        return {"delimiter": said[1]}, number
    outside = re.sub(r'"[^"]*"', '""', first)
    separator = "\t" if file.kind == ".tsv" else max(SEPARATORS, key=outside.count)
    if separator == "\t" and _fits(begin, csv.QUOTE_NONE) and not _fits(begin, csv.QUOTE_MINIMAL):
        return {"delimiter": separator, "quoting": csv.QUOTE_NONE}, 0
    return {"delimiter": separator, "skipinitialspace": f"{separator} " in outside}, 0


def _fits(lines: list[str], quoting: Literal[0, 3]) -> bool:
    """Whether lines between whose cells there are tabs all have as many cells as the first, and some have quotes."""
    try:
        rows = list(csv.reader(lines, delimiter="\t", quoting=quoting, strict=True))
    except csv.Error:
        return False
    return len({len(row) for row in rows}) == 1


def read_parquet(file: DataFile, reading: Reading) -> Iterator[NumberedRow]:
    """The file's rows. Raises DataError if it is no Parquet file."""
    number = 0
    try:
        with file.open(reading) as opened:
            whole = opened if opened.seekable() else io.BytesIO(opened.read())  # its end says where everything is
            with pyarrow.parquet.ParquetFile(whole, pre_buffer=False) as table:
                for batch in table.iter_batches(batch_size=1000):
                    for row in _parquet_rows(batch):
                        number += 1
                        yield f"{file.name}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file.name} is not a readable Parquet file ({error}).") from error


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

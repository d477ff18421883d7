"""Read rows from JSONL, CSV, Parquet and text files, each with its place in the file.

A bad row is passed on as an UnusableRow that says what is wrong: the caller counts them. (`datasets` also reads these
formats, but rejects a whole file at its first bad line, without saying which.)
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from cognate_core.data.documents import Row, UnusableRow
from cognate_core.errors import DataError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".txt", ".md")
MAX_ROW_BYTES = 1_000_000
TOO_LONG = f"the row is longer than {MAX_ROW_BYTES // 1_000_000} MB"
NOT_UTF8 = "the row is not UTF-8 text (save the file as UTF-8)"
csv.field_size_limit(20 * MAX_ROW_BYTES)  # reads a row that is far too long to its end, where the next begins
TEXT_BLOCK_CHARACTERS = 1500  # plain text is cut between paragraphs into blocks of at least about this size;
TEXT_BLOCKS = 120  # a long text is cut into about this many: one damaged block seldom spoils the file;
LONGEST_TEXT_BLOCK = 100_000  # longer only if one paragraph is: rows have a limit, too

NumberedRow = tuple[str, Row | UnusableRow]
"""The row's place, such as "train.jsonl, line 12", and the row or what is wrong with it."""


def read_rows(path: Path) -> Iterator[NumberedRow]:
    """All rows of a file, or of every readable file of a folder, ordered by name.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"The folder {path} has no {', '.join(SUFFIXES)} file.")
        for file in files:
            yield from read_rows(file)
        return
    if not path.is_file():
        raise DataError(f"There is no file {path}. Check its name, or choose another.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path.name} cannot be read: its name must end in {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty. Choose a file with at least two rows.")
    if suffix in (".jsonl", ".json"):
        yield from _json_lines(path)
    elif suffix == ".csv":
        yield from _csv(path)
    elif suffix == ".parquet":
        yield from _parquet(path)
    else:
        yield from _text(path)


def _json_lines(path: Path) -> Iterator[NumberedRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            yield f"{path.name}, line {number}", _json_row(line)


def _json_row(line: bytes) -> Row | UnusableRow:
    if len(line) > MAX_ROW_BYTES:
        return UnusableRow(TOO_LONG)
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return UnusableRow(NOT_UTF8)
    except (ValueError, RecursionError):
        return UnusableRow("the row is not valid JSON (one object on each line is expected)")
    return row if isinstance(row, dict) else UnusableRow("the row is no JSON object")


def _csv(path: Path) -> Iterator[NumberedRow]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield (
                    f"{path.name}, line {reader.reader.line_num}",
                    UnusableRow(f"the row is not valid CSV ({error})"),
                )
                continue
            if not _is_utf8("".join(reader.fieldnames or ())):
                raise DataError(f"{path.name}, line 1 is not UTF-8 text. Save the file as UTF-8 and try again.")
            cells = [cell for cell in row.values() if isinstance(cell, str)]
            yield (
                f"{path.name}, line {reader.line_num}",
                row if _is_utf8("".join(cells)) else UnusableRow(NOT_UTF8),
            )


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


def _parquet_rows(batch: pyarrow.RecordBatch) -> list[Row | UnusableRow]:
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [UnusableRow(NOT_UTF8)]
        return [row for n in range(batch.num_rows) for row in _parquet_rows(batch.slice(n, 1))]


def _text(path: Path) -> Iterator[NumberedRow]:
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    enough = min(max(TEXT_BLOCK_CHARACTERS, len(text) // TEXT_BLOCKS), LONGEST_TEXT_BLOCK)
    block: list[str] = []
    first_line = line = 1
    for paragraph in text.split("\n\n"):
        block.append(paragraph)
        line += paragraph.count("\n") + 2
        if sum(map(len, block)) >= enough:
            yield f"{path.name}, line {first_line}", _text_row(block)
            block, first_line = [], line
    if any(part.strip() for part in block):
        yield f"{path.name}, line {first_line}", _text_row(block)


def _text_row(paragraphs: list[str]) -> Row | UnusableRow:
    text = "\n\n".join(paragraphs)
    return {"text": text} if _is_utf8(text) else UnusableRow(NOT_UTF8)


def _is_utf8(text: str) -> bool:
    """False if the file's bytes were not UTF-8: `surrogateescape` keeps them as characters that UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

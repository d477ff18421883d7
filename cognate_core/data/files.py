"""Reading rows from JSONL, CSV, Parquet and text files, each with its place in the file.

A bad row is handed on as what is wrong with it, never dropped: the reader's caller counts. (`datasets` reads these
formats too, but gives a whole file up at its first bad line and does not say which.)
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
csv.field_size_limit(MAX_ROW_BYTES)
TEXT_BLOCK_CHARACTERS = 1500  # plain text is cut into blocks of about this size, between paragraphs

NumberedRow = tuple[str, Row | UnusableRow]
"""Where the row stands, such as "train.jsonl, line 12", and the row or what is wrong with it."""


def read_rows(path: Path) -> Iterator[NumberedRow]:
    """All rows of a file, or of every readable file of a folder in order of name.

    Raises:
        DataError: there is no such file, or it is of no kind that can be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"The folder {path} holds no {', '.join(SUFFIXES)} file.")
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
        return UnusableRow(f"the row is longer than {MAX_ROW_BYTES // 1_000_000} MB")
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return UnusableRow("the row is not UTF-8 text")
    except (ValueError, RecursionError):
        return UnusableRow("the row is not valid JSON (one object on each line is expected)")
    return row if isinstance(row, dict) else UnusableRow("the row is no JSON object")


def _csv(path: Path) -> Iterator[NumberedRow]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                raise DataError(f"{path.name} is not UTF-8 text. Save it as UTF-8 and try again.") from error
            except csv.Error as error:
                yield (
                    f"{path.name}, line {reader.reader.line_num}",
                    UnusableRow(f"the row is not valid CSV ({error})"),
                )
                continue
            yield f"{path.name}, line {reader.line_num}", row


def _parquet(path: Path) -> Iterator[NumberedRow]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}, row {number}", row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is no readable Parquet file ({error}).") from error


def _text(path: Path) -> Iterator[NumberedRow]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 text. Save it as UTF-8 and try again.") from error
    block: list[str] = []
    first_line = line = 1
    for paragraph in text.split("\n\n"):
        block.append(paragraph)
        line += paragraph.count("\n") + 2
        if sum(map(len, block)) >= TEXT_BLOCK_CHARACTERS:
            yield f"{path.name}, line {first_line}", {"text": "\n\n".join(block)}
            block, first_line = [], line
    if any(part.strip() for part in block):
        yield f"{path.name}, line {first_line}", {"text": "\n\n".join(block)}

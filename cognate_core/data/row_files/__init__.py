"""Read rows from a person's files, each with its place, whatever format, compression or encoding they have.

A bad row is passed on as an UnusableRow that says what is wrong: the caller counts them. (`datasets` reads some of
these formats, but rejects a whole file at its first bad line, without saying which.) Nothing is read whole that can be
read in pieces.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from cognate_core.data.row_files.json_rows import read_json
from cognate_core.data.row_files.opening import DataFile, data_files
from cognate_core.data.row_files.plain_text import read_text
from cognate_core.data.row_files.rows import NumberedRow, Reading
from cognate_core.data.row_files.tables import read_csv, read_excel, read_parquet
from cognate_core.errors import DataError

_READERS: dict[str, Callable[[DataFile, Reading], Iterator[NumberedRow]]] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".xlsx": read_excel,
    ".parquet": read_parquet,
}


def read_rows(path: Path, reading: Reading | None = None) -> Iterator[NumberedRow]:
    """All rows of a file, or of every file of a folder or archive that holds data.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    reading = reading or Reading()
    for file in data_files(path, reading):
        yield from rows_of(file, reading)


def rows_of(file: DataFile, reading: Reading) -> Iterator[NumberedRow]:
    """All rows of a file. Raises DataError if it cannot be read."""
    try:
        yield from _READERS.get(file.kind, read_text)(file, reading)
    except UnicodeError as error:
        encoding = (
            (getattr(error, "encoding", "") or reading.encoding or "").upper().removesuffix("-LE").removesuffix("-BE")
        )
        raise DataError(f"{file.name} is damaged: it is not complete {encoding} text.") from error
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DataError(
            f"{file.name} cannot be unpacked ({error}). Unpack it yourself, and choose the result."
        ) from error

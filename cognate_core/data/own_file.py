"""A person's own file: which of its rows are trained on, and which are held out.

However large a file is, it is read once, row by row, and only the rows that a run asks for stay in memory.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from cognate_core.config import TrainingConfig
from cognate_core.contracts import BEYOND_LIMIT
from cognate_core.data.documents import Document, UnusableRow, own_file_document, unused_columns
from cognate_core.data.row_files import rows_of
from cognate_core.data.row_files.opening import TEXTS, DataFile, data_files
from cognate_core.data.row_files.rows import NumberedRow, Reading
from cognate_core.data.sources import SourceDocuments, Tell, usable_documents
from cognate_core.errors import DataError
from cognate_core.files import plain_name

HELDOUT_SHARE = 0.05
UNUSED_SHOWN = 20  # names of columns
ROWS_BETWEEN = 2_000  # before the person is told again how far the reading is
_ADVICE = " If each line or paragraph is a row, say so in the setting Rows of plain text."
SMALL = 20 * 2**20  # bytes: read before anybody asks how far it is


def own_file_source(config: TrainingConfig, tell: Tell) -> SourceDocuments:
    """The documents of `config.dataset_path`.

    Which rows are held out depends only on their text; in a dataset's folder or archive, on the names of its files.

    Raises:
        DataError: the file is missing, empty, malformed, or too small to hold out a row.
    """
    path = Path(config.dataset_path or "")
    name = plain_name(path.name)
    tell(f"Reading {name}")
    reading = Reading(config.text_encoding, config.text_rows)
    skipped: Counter[str] = Counter()
    unused = _UnusedColumns(config.dataset_columns)

    def read(files: Iterable[DataFile], most: int) -> _Selection:
        rows = map(unused.noted, itertools.chain.from_iterable(rows_of(file, reading) for file in files))
        found = _Selection(most)
        for document in usable_documents(_told(rows, path, reading, tell), own_file_document, config, skipped):
            found.add(document)
        if found.rows > found.distinct:
            skipped["the same text appears twice"] += found.rows - found.distinct
        return found

    files = data_files(path, reading)
    apart = [file for file in files if len(files) > 1 and file.is_heldout]
    if len(apart) == len(files):
        apart.clear()  # all are called so: then it says nothing
    found = read((file for file in files if file not in apart), config.max_train_samples + config.max_eval_samples)
    kept_apart = read(apart, config.max_eval_samples)
    if found.distinct < 2 - bool(kept_apart.distinct):
        few = found.distinct or "no"
        raise DataError(
            f"{name} has {few} usable {'row' if found.distinct == 1 else 'rows'}"
            f"{' (the others repeat it)' if found.rows > 1 and found.distinct else ''}; at least two are needed: "
            f"one to train on and one to hold out.{_ADVICE if all(file.kind in TEXTS for file in files) else ''}"
        )
    documents = found.documents()
    if kept_apart.distinct:
        heldout, of_heldout, of_train = kept_apart.documents(), kept_apart.distinct, found.distinct
    else:
        of_heldout = min(config.max_eval_samples, max(1, round(found.distinct * HELDOUT_SHARE)))
        heldout, documents, of_train = documents[:of_heldout], documents[of_heldout:], found.distinct - of_heldout
    for kind, rows, limit in (
        ("training", of_train, config.max_train_samples),
        ("held-out", of_heldout, config.max_eval_samples),
    ):
        if rows > limit:
            skipped[f"{BEYOND_LIMIT}{limit:,} {kind} rows"] += rows - limit
    held_out = f"; held out: {', '.join(file.name for file in apart[:3])}" if kept_apart.distinct else ""
    return SourceDocuments(
        name="Own file",
        asked_for=name,
        origin=f"own file, {name}{held_out}",
        train=documents[: config.max_train_samples],
        heldout=heldout,
        skipped=skipped,
        unused=unused.names,
        notes=reading.notes,
    )


def columns_of(config: TrainingConfig) -> list[str]:
    """The names of the columns in the first row of `config.dataset_path` that can be read; none if there is none.

    Raises:
        DataError: the file cannot be read.
    """
    reading = Reading(config.text_encoding, config.text_rows)
    for file in data_files(Path(config.dataset_path or ""), reading):
        for _, row in itertools.islice(rows_of(file, reading), 100):
            if not isinstance(row, UnusableRow):
                return [str(name) for name in row]
    return []


class _Selection:
    """Some of the rows, each text once: those with the smallest digests, so their order in the file does not matter.

    Blanks around a text do not count: of texts that differ in them alone, the first is kept.

    Attributes:
        rows: how many there were.
    """

    def __init__(self, most: int) -> None:
        self.rows, self._most = 0, most
        self._kept: dict[int, Document] = {}  # by digest
        self._last: list[int] = []  # a heap of negative digests: first the row that leaves first
        self._digests = array("Q")

    def add(self, document: Document) -> None:
        self.rows += 1
        digest = int.from_bytes(hashlib.sha256(document.text.strip().encode()).digest()[:8], "big")
        self._digests.append(digest)
        if digest in self._kept:
            return
        if len(self._last) < self._most:
            heapq.heappush(self._last, -digest)
        elif -digest > self._last[0]:
            del self._kept[-heapq.heapreplace(self._last, -digest)]
        else:
            return
        self._kept[digest] = document

    @functools.cached_property
    def distinct(self) -> int:
        """How many different texts there were. (Two of a million share their 64 bits once in 37 million files.)"""
        digests = np.sort(np.frombuffer(self._digests, np.uint64))
        return int(np.count_nonzero(digests[1:] != digests[:-1])) + bool(len(digests))

    def documents(self) -> list[Document]:
        """Those that were kept, in the order of their digests."""
        return [self._kept[digest] for digest in sorted(self._kept)]


def _told(rows: Iterable[NumberedRow], path: Path, reading: Reading, tell: Tell) -> Iterator[NumberedRow]:
    """The rows; between them the person is told how much of a large file has been read."""
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    for number, row in enumerate(rows):
        if size > SMALL and number % ROWS_BETWEEN == 0:
            tell(f"Reading {plain_name(path.name)}: {min(1.0, reading.seen / size):.0%}")
        yield row


class _UnusedColumns:
    """Collects the names of columns that are not read: the first few, shortened, because a file may have any number."""

    def __init__(self, chosen: Mapping[str, str]) -> None:
        self.names: list[str] = []
        self._chosen = chosen
        self._last: tuple[object, ...] = ()

    def noted(self, row: NumberedRow) -> NumberedRow:
        """The row, unchanged."""
        if isinstance(row[1], UnusableRow) or (names := tuple(row[1])) == self._last:
            return row
        self._last = names
        if len(self.names) < UNUSED_SHOWN:
            unused = (name[:40].encode(errors="replace").decode() for name in unused_columns(names, self._chosen))
            self.names = sorted({*self.names, *unused})[:UNUSED_SHOWN]
        return row

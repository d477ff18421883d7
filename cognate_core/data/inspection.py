"""Inspect a dataset before training: its rows, their lengths, and the space that packing leaves empty.

Handles documents, tokens and files; no pages. Only `fetch` uses the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cognate_core.config import TrainingConfig
from cognate_core.contracts import DataReport
from cognate_core.data.documents import Document
from cognate_core.data.loader import encode
from cognate_core.data.own_file import own_file_source
from cognate_core.data.packing import EncodedDocument, pack
from cognate_core.data.prepared import PreparedData, read_report
from cognate_core.data.sources import SourceDocuments, Tell, load_source, source_here, splits_here
from cognate_core.data.tokenizer import train_tokenizer
from cognate_core.errors import DataError, DatasetUnavailable

LONGEST_LENGTH = 16384  # allows any training length
MOST_FIT = 95  # percent of the rows: a longer length costs all rows time for the sake of a few

FileState = tuple[str, int, int]
"""Path, size, time of the last change: a changed file has a different state."""


def dataset_state(name: str, cache: Path) -> tuple[FileState, ...] | None:
    """The files a dataset would be read from: () if it is generated, None if it would have to be fetched."""
    if name == "Synthetic":
        return ()
    splits = splits_here(name, cache)
    return None if splits is None else tuple(file_state(path) for path in splits[:2])


def file_state(path: Path) -> FileState:
    """Tells changed content from unchanged, without reading it."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def open_source(name: str, config: TrainingConfig, cache: Path) -> SourceDocuments:
    """The rows of `config.dataset_path` if it is set, else those of a dataset on this computer.

    Raises:
        DatasetUnavailable: it would have to be fetched.
        DataError: it is here but cannot be used.
    """
    if config.dataset_path:
        return own_file_source(config, _say_nothing)
    source = source_here(name, config, cache)
    if source is None:
        raise DatasetUnavailable(f"{name} is not on this computer. Fetch it, or choose another.")
    return source


def fetch(name: str, config: TrainingConfig, cache: Path, tell: Tell) -> None:
    """Fetch a dataset to this computer, as a run would.

    Raises:
        DatasetUnavailable: it cannot be reached; the message says what was tried.
        DataError: it was reached but cannot be used.
    """
    load_source(name, config, cache, tell)


def new_tokenizer(source: SourceDocuments, vocab_size: int) -> Tokenizer:
    """A tokenizer trained on the dataset's training rows."""
    return train_tokenizer((document.text for document in source.train), vocab_size)


def prepared_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that an earlier run trained. Raises DataError if the folder is damaged."""
    return PreparedData(folder).tokenizer()


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long some rows are, in tokens, and how they fit a training length.

    `padding` is the share of places in packed sequences that hold no text.
    """

    tokens: npt.NDArray[np.int64]  # (rows,)
    mean: float
    median: float
    percentile_95: float
    longest: int
    left_out: int  # rows that do not fit
    cut: int  # rows that do not fit and continue in further sequences
    sequences: int
    padding: float

    def fitting(self) -> int | None:
        """The shortest training length that MOST_FIT percent of the rows fit, in steps of 16; None if none does."""
        count = -(-len(self.tokens) * MOST_FIT // 100)
        length = -(-(int(np.sort(self.tokens)[count - 1]) + 1) // 16) * 16  # each row has its end
        return length if length <= LONGEST_LENGTH else None


def tokens_of(documents: Sequence[Document], tokenizer: Tokenizer) -> list[EncodedDocument]:
    """The rows as tokens, encoded as training does."""
    return encode(list(documents), tokenizer)


def measure_lengths(rows: Sequence[EncodedDocument], training_length: int, *, cut_rows: bool = False) -> Lengths:
    """Measure at least one row, packed as in training."""
    tokens = np.array([len(row.ids) for row in rows], dtype=np.int64)
    packed = pack(rows, training_length, answers_only=False, cut_rows=cut_rows)
    places = len(packed.tokens) * training_length  # the first end-of-text of a sequence is given, not predicted
    return Lengths(
        tokens=tokens,
        mean=float(tokens.mean()),
        median=float(np.median(tokens)),
        percentile_95=float(np.percentile(tokens, 95)),
        longest=int(tokens.max()),
        left_out=packed.skipped,
        cut=packed.cut,
        sequences=len(packed.tokens),
        padding=1 - int(packed.counted.sum()) / places if places else 0.0,
    )


@dataclass(frozen=True, slots=True)
class PreparedFolder:
    """Data that an earlier run prepared. `report` is None if it cannot be read."""

    path: Path
    used: float  # when a run last used it, in seconds since 1970
    report: DataReport | None


def prepared_folders(cache: Path) -> list[PreparedFolder]:
    """What earlier runs prepared, most recently used first."""
    root = cache / "prepared"
    if not root.is_dir():
        return []
    folders = []
    for path in root.iterdir():
        if ".tmp-" in path.name or not path.is_dir():
            continue
        try:
            report = read_report(path)
        except DataError:
            report = None
        folders.append(PreparedFolder(path, path.stat().st_mtime, report))
    return sorted(folders, key=lambda folder: folder.used, reverse=True)


def _say_nothing(_: str) -> None:
    pass

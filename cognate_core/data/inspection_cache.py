"""Cached results about datasets. The keys hold the files' state and the settings: after a change, results are new.

Pages and API requests share rows and packed text, and must not change them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.data.inspection import (
    FileState,
    Lengths,
    dataset_state,
    file_state,
    measure_lengths,
    new_tokenizer,
    open_source,
    prepared_tokenizer,
    tokens_of,
)
from cognate_core.data.mixture import Mixture, mix
from cognate_core.data.near_duplicates import NearDuplicate, near_duplicates
from cognate_core.data.overlap import Overlap, overlap
from cognate_core.data.packing import EncodedDocument
from cognate_core.data.sources import SourceDocuments
from cognate_core.data.uploads import without_path
from cognate_core.errors import DataError

ROWS = TrainingConfig(dataset_sources=["Synthetic"])  # how many rows a run reads by default
LONGEST_LENGTH = 16384  # allows any training length
MOST_SEQUENCES = 64  # of a batch
MIXED_BY = ("near_duplicates", "vocab_size", "train_seq_len", "loss_on_answer_only")  # settings that change a mixture


@dataclass(frozen=True, slots=True)
class Choice:
    """A dataset or an uploaded file, in its current state. Equal choices have equal rows.

    `word_problems`: the setting of that name; it affects only Synthetic.
    """

    name: str
    cache: str
    path: str | None
    state: tuple[FileState, ...]
    word_problems: str = ROWS.word_problems


def choice_of(name: str, cache: Path, path: Path | None = None) -> Choice | None:
    """The choice in its current state; None if the dataset is not on this computer."""
    if path is not None:
        return Choice(name, str(cache), str(path), (file_state(path),))
    state = dataset_state(name, cache)
    return None if state is None else Choice(name, str(cache), None, state)


@functools.lru_cache(maxsize=8)
def rows_of(choice: Choice) -> SourceDocuments:
    """Its rows, at most as many as a run reads by default. Raises DataError if it cannot be used."""
    config = ROWS.with_overrides({"dataset_path": choice.path, "word_problems": choice.word_problems})
    try:
        return open_source(choice.name, config, Path(choice.cache))
    except DataError as error:
        raise DataError(without_path(error, choice.path) if choice.path else str(error)) from error


@functools.lru_cache(maxsize=16)
def lengths_of(
    choice: Choice, tokenizer_folder: Path | None, vocab_size: int, training_length: int
) -> tuple[Lengths, Lengths, int]:
    """(training lengths, held-out lengths, the tokenizer's number of word pieces).

    The tokenizer is that of a prepared folder, or a new one with at most `vocab_size` word pieces.
    """
    train, heldout, vocabulary = _tokens(choice, tokenizer_folder, vocab_size)
    return measure_lengths(train, training_length), measure_lengths(heldout, training_length), vocabulary


@functools.lru_cache(maxsize=3)
def _tokens(
    choice: Choice, tokenizer_folder: Path | None, vocab_size: int
) -> tuple[list[EncodedDocument], list[EncodedDocument], int]:
    source = rows_of(choice)
    tokenizer = prepared_tokenizer(tokenizer_folder) if tokenizer_folder else new_tokenizer(source, vocab_size)
    return tokens_of(source.train, tokenizer), tokens_of(source.heldout, tokenizer), tokenizer.get_vocab_size()


@functools.lru_cache(maxsize=32)
def overlap_of(train: Choice, heldout: Choice) -> Overlap:
    """Which held-out rows of one are also in the training rows of the other."""
    return overlap(rows_of(train).train, rows_of(heldout).heldout)


@functools.lru_cache(maxsize=8)
def near_duplicates_of(choice: Choice) -> list[NearDuplicate]:
    """Its training rows that nearly repeat an earlier one or a held-out one."""
    source = rows_of(choice)
    return near_duplicates(source.train, source.heldout)


def mixture_of(choices: Sequence[Choice], config: TrainingConfig) -> Mixture:
    """The training rows of several datasets, packed as a run would."""
    level = config.word_problems
    asked = (replace(each, word_problems=level) if each.name == "Synthetic" else each for each in choices)
    settings = {name: getattr(config, name) for name in MIXED_BY}
    return _mixture(tuple(asked), tuple(settings.items()))


@functools.lru_cache(maxsize=2)
def _mixture(choices: tuple[Choice, ...], settings: tuple[tuple[str, object], ...]) -> Mixture:
    config = ROWS.with_overrides({"max_seq_len": LONGEST_LENGTH, **dict(settings)})
    return mix([rows_of(choice) for choice in choices], config)

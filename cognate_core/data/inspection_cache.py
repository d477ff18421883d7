"""Cached results about datasets. The keys hold the files' state and the settings: after a change, results are new.

Pages and API requests share rows and packed text, and must not change them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cognate_core.config import READ_BY, TrainingConfig
from cognate_core.data.inspection import (
    LONGEST_LENGTH,
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
from cognate_core.data.uploads import unnamed, without_path

ROWS = TrainingConfig(dataset_sources=["Synthetic"])  # how many rows a run reads by default
MOST_SEQUENCES = 64  # of a batch
MIXED_BY = ("near_duplicates", "vocab_size", "train_seq_len", "loss_on_answer_only", "long_rows")
"""Settings that change a mixture."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A dataset or an uploaded file, in its current state. Equal choices have equal rows.

    `word_problems`: the setting of that name; it affects only Synthetic. `read_by`: the settings that say how a file
    is read, as JSON.
    """

    name: str
    cache: str
    path: str | None
    state: tuple[FileState, ...]
    word_problems: str = ROWS.word_problems
    read_by: str = "{}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings with which a run reads it."""
        return {**json.loads(self.read_by), "dataset_path": self.path, "word_problems": self.word_problems}


def choice_of_file(settings: Mapping[str, Any], cache: Path) -> Choice:
    """A person's own file in its current state. `settings`: of a kept file, or of a run that reads it."""
    path = Path(settings["dataset_path"])
    read_by = {name: settings[name] for name in READ_BY if name in settings and settings[name] != getattr(ROWS, name)}
    return Choice("Own file", str(cache), str(path), (file_state(path),), read_by=json.dumps(read_by))


def choice_of(name: str, cache: Path) -> Choice | None:
    """The choice in its current state; None if the dataset is not on this computer."""
    state = dataset_state(name, cache)
    return None if state is None else Choice(name, str(cache), None, state)


@functools.lru_cache(maxsize=8)
def rows_of(choice: Choice) -> SourceDocuments:
    """Its rows, at most as many as a run reads by default. Raises DataError if it cannot be used."""
    config = ROWS.with_overrides(choice.settings)
    name = choice.path
    if name is None:
        return open_source(choice.name, config, Path(choice.cache))
    with unnamed(Path(name)):
        source = open_source(choice.name, config, Path(choice.cache))
    return replace(source, notes=[without_path(sentence, name) for sentence in source.notes])


@functools.lru_cache(maxsize=16)
def lengths_of(
    choice: Choice, tokenizer_folder: Path | None, vocab_size: int, training_length: int, *, cut_rows: bool = False
) -> tuple[Lengths, Lengths, int]:
    """(training lengths, held-out lengths, the tokenizer's number of word pieces).

    The tokenizer is that of a prepared folder, or a new one with at most `vocab_size` word pieces.
    """
    train, heldout, vocabulary = _tokens(choice, tokenizer_folder, vocab_size)
    of_train, of_heldout = (measure_lengths(rows, training_length, cut_rows=cut_rows) for rows in (train, heldout))
    return of_train, of_heldout, vocabulary


@functools.lru_cache(maxsize=3)
def tokenizer_of(choice: Choice, vocab_size: int) -> Tokenizer:
    """A new tokenizer, trained on its training rows."""
    return new_tokenizer(rows_of(choice), vocab_size)


@functools.lru_cache(maxsize=3)
def _tokens(
    choice: Choice, tokenizer_folder: Path | None, vocab_size: int
) -> tuple[list[EncodedDocument], list[EncodedDocument], int]:
    source = rows_of(choice)
    tokenizer = prepared_tokenizer(tokenizer_folder) if tokenizer_folder else tokenizer_of(choice, vocab_size)
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

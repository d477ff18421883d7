"""What the Datasets page works out, kept for a while: by the files' state and the settings, so that a change is seen.

Rows and packed text are shared between the people who look (cache_resource): whoever gets them must not change them.
The library is imported inside the functions, so that other pages come up without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from cognate_core.config import TrainingConfig
from cognate_core.errors import DataError
from pages.components.own_files import without_path

ROWS = TrainingConfig(dataset_sources=["Synthetic"])  # how many rows a run reads unless told otherwise


@dataclass(frozen=True, slots=True)
class Choice:
    """A dataset or a file of one's own, in the state that it is in. Equal choices have equal rows."""

    name: str
    cache: str
    path: str | None
    state: tuple[tuple[str, int, int], ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """What the caches know it by."""
        return self.name, self.path, self.state


def choice_of(name: str, cache: Path, path: Path | None = None) -> Choice | None:
    """None: the dataset is not on this computer."""
    from cognate_core.data.inspection import dataset_state, file_state

    if path is not None:
        return Choice(name, str(cache), str(path), (file_state(path),))
    state = dataset_state(name, cache)
    return None if state is None else Choice(name, str(cache), None, state)


def rows_of(choice: Choice):
    """Its rows: at most as many as a run reads by itself. Raises DataError when it cannot be used."""
    return _rows(choice.key, choice)


@st.cache_resource(max_entries=8, show_spinner="Reading the rows")
def _rows(key: tuple[Any, ...], _choice: Choice):
    from cognate_core.data.inspection import open_source

    config = ROWS.with_overrides({"dataset_path": _choice.path})
    try:
        return open_source(_choice.name, config, Path(_choice.cache))
    except DataError as error:
        raise DataError(without_path(error, _choice.path) if _choice.path else str(error)) from error


def lengths_of(choice: Choice, tokenizer_folder: str | None, vocab_size: int, training_length: int):
    """(training, held-out) lengths, and how many word pieces the tokenizer knows.

    The tokenizer is that of a prepared folder, or a new one of at most `vocab_size` word pieces.
    """
    return _lengths(choice.key, tokenizer_folder, vocab_size, training_length, choice)


@st.cache_data(max_entries=16, show_spinner="Measuring the rows")
def _lengths(
    key: tuple[Any, ...], tokenizer_folder: str | None, vocab_size: int, training_length: int, _choice: Choice
):
    from cognate_core.data.inspection import measure_lengths

    train, heldout, vocabulary = _tokens(key, tokenizer_folder, vocab_size, _choice)
    return measure_lengths(train, training_length), measure_lengths(heldout, training_length), vocabulary


@st.cache_resource(max_entries=3, show_spinner="Turning the rows into tokens")
def _tokens(key: tuple[Any, ...], tokenizer_folder: str | None, vocab_size: int, _choice: Choice):
    from cognate_core.data.inspection import new_tokenizer, prepared_tokenizer, tokens_of

    source = rows_of(_choice)
    tokenizer = prepared_tokenizer(Path(tokenizer_folder)) if tokenizer_folder else new_tokenizer(source, vocab_size)
    return tokens_of(source.train, tokenizer), tokens_of(source.heldout, tokenizer), tokenizer.get_vocab_size()


def overlap_of(train: Choice, heldout: Choice):
    """What of the held-out rows of one stands in the training rows of the other."""
    return _overlap(train.key, heldout.key, train, heldout)


@st.cache_data(max_entries=32, show_spinner="Comparing the rows")
def _overlap(train_key: tuple[Any, ...], heldout_key: tuple[Any, ...], _train: Choice, _heldout: Choice):
    from cognate_core.data.overlap import overlap

    return overlap(rows_of(_train).train, rows_of(_heldout).heldout)


def mixture_of(choices: list[Choice], config: TrainingConfig):
    """The training rows of several datasets, packed as a run would."""
    settings = (config.vocab_size, config.train_seq_len, config.loss_on_answer_only)
    return _mixture(tuple(choice.key for choice in choices), settings, choices, config)


@st.cache_resource(max_entries=2, show_spinner="Packing the rows as training does")
def _mixture(
    keys: tuple[tuple[Any, ...], ...], settings: tuple[Any, ...], _choices: list[Choice], _config: TrainingConfig
):
    from cognate_core.data.mixture import mix

    return mix([rows_of(choice) for choice in _choices], _config)

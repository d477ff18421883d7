"""Results for the Datasets page, with a message while they are computed.

The functions import the library themselves: other pages load faster without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from cognate_core.config import TrainingConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from cognate_core.data.inspection import Lengths
    from cognate_core.data.inspection_cache import Choice
    from cognate_core.data.mixture import Mixture
    from cognate_core.data.near_duplicates import NearDuplicate
    from cognate_core.data.overlap import Overlap
    from cognate_core.data.sources import SourceDocuments


def rows_of(choice: Choice) -> SourceDocuments:
    """The dataset's rows, at most as many as a run reads by default. Raises DataError if they cannot be used."""
    from cognate_core.data.inspection_cache import rows_of

    with st.spinner("Reading the rows"):
        return rows_of(choice)


def lengths_of(
    choice: Choice, tokenizer_folder: Path | None, vocab_size: int, training_length: int, *, cut_rows: bool = False
) -> tuple[Lengths, Lengths, int]:
    """(training lengths, held-out lengths, how many word pieces the tokenizer knows)."""
    from cognate_core.data.inspection_cache import lengths_of

    with st.spinner("Measuring the rows"):
        return lengths_of(choice, tokenizer_folder, vocab_size, training_length, cut_rows=cut_rows)


def tokenizer_of(choice: Choice, vocab_size: int) -> Tokenizer:
    """A new tokenizer, trained on the dataset's training rows."""
    from cognate_core.data.inspection_cache import tokenizer_of

    with st.spinner("Training a tokenizer on the rows"):
        return tokenizer_of(choice, vocab_size)


def overlap_of(train: Choice, heldout: Choice) -> Overlap:
    """Which held-out rows of `heldout` are also in the training rows of `train`."""
    from cognate_core.data.inspection_cache import overlap_of

    with st.spinner("Comparing the rows"):
        return overlap_of(train, heldout)


def near_duplicates_of(choice: Choice) -> list[NearDuplicate]:
    """Training rows that nearly repeat an earlier one or a held-out one."""
    from cognate_core.data.inspection_cache import near_duplicates_of

    with st.spinner("Comparing the rows"):
        return near_duplicates_of(choice)


def mixture_of(choices: list[Choice], config: TrainingConfig) -> Mixture:
    """The training rows of several datasets, packed as in a run."""
    from cognate_core.data.inspection_cache import mixture_of

    with st.spinner("Packing the rows as training does"):
        return mixture_of(choices, config)

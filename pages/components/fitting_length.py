"""A training length that nearly all rows fit, and the warning when too many do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from cognate_core.config import TrainingConfig, as_text
from cognate_core.contracts.records import MANY
from cognate_core.errors import CognateError
from pages.components.dataset_cache import lengths_of
from pages.components.layout import show_refusal


def fitting_button(length: int, fields: Sequence[str]) -> None:
    """A button that fills these fields with the training length that nearly all rows fit."""
    from cognate_core.data.inspection import MOST_FIT

    label = f"Use {length:,} tokens: {MOST_FIT} % of the rows fit"
    st.button(label, icon=":material/check:", key="use_length", on_click=_fill, args=(fields, length))


def warn_of_long_rows(config: TrainingConfig, home: Path, form: str) -> None:
    """Warn if many rows of the person's own file are too long for `config`. `form`: begins the keys of its fields."""
    from cognate_core.data.inspection_cache import choice_of_file

    choice, cut_rows = choice_of_file(dict(config), home / "cache"), config.long_rows == "cut"
    try:
        train, *_ = lengths_of(choice, None, config.vocab_size, config.train_seq_len, cut_rows=cut_rows)
    except CognateError as error:
        show_refusal(error)
        return
    share = train.left_out / len(train.tokens)
    if share <= MANY:
        return
    st.warning(
        f"{share:.0%} of the file's training rows are longer than {config.train_seq_len:,} tokens and are left out.",
        icon=":material/content_cut:",
    )
    length = train.fitting()
    if length is not None:
        names = ["train_seq_len", *(["max_seq_len"] if config.max_seq_len < length else [])]
        fitting_button(length, [f"{form}.{name}" for name in names])


def _fill(fields: Sequence[str], length: int) -> None:
    for field in fields:
        st.session_state[field] = as_text(length)

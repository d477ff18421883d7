"""A row as the model reads it: each token in its colour, what is only read in grey, and the end of the row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import streamlit as st

from cognate_core.config import TrainingConfig
from pages.components.dataset_cache import tokenizer_of
from pages.components.layout import shown

if TYPE_CHECKING:
    from cognate_core.data.documents import Document
    from cognate_core.data.inspection_cache import Choice

Theme = Literal["light", "dark"]

MOST_TOKENS = 500  # of one row
GRADED = {"light": ("#cfe3ff", "#ffe3b3"), "dark": ("#1d3f6e", "#54400f")}
ONLY_READ = {"light": ("#e3e5e9", "#f1f2f4"), "dark": ("#343a42", "#22272d")}
END = ":blue-badge[end of row]"
PART = "◌"  # stands for a token that ends inside a letter
SIGNS = {"\n": "↵", "\t": "⇥"}
BLANK = "\u00a0"  # is drawn also at the edge of a token
MAY_BREAK = "\u200b"


def rows_as_tokens(choice: Choice, rows: Mapping[str, Document], config: TrainingConfig) -> None:
    """Each row below its title, with the tokens of a new tokenizer that was trained on this dataset."""
    from cognate_core.data.inspection import tokens_of
    from cognate_core.data.tokenizer import texts_of_tokens

    tokenizer, length = tokenizer_of(choice, config.vocab_size), config.train_seq_len
    st.caption(
        "Each coloured block is a token. ↵ is a line break, ◌ part of a letter."
        + (" Grey tokens are only read, not graded." if config.loss_on_answer_only else "")
    )
    for title, row in zip(rows, tokens_of(list(rows.values()), tokenizer), strict=True):
        with st.container(border=True):
            with st.container(horizontal=True):
                st.caption(f"{title}, {len(row.ids):,} tokens", width="content")
                if len(row.ids) + 1 > length:
                    st.badge(f"does not fit {length:,} tokens", icon=":material/content_cut:", color="orange")
            _show(texts_of_tokens(row.ids, tokenizer), row.prompt_length if config.loss_on_answer_only else 0)


def _show(texts: Sequence[str], only_read: int) -> None:
    theme: Theme = "dark" if st.context.theme.type == "dark" else "light"
    st.markdown(
        tokens_markdown(texts[:MOST_TOKENS], only_read, theme) + (f" {END}" if len(texts) <= MOST_TOKENS else "")
    )
    if len(texts) > MOST_TOKENS:
        st.caption(f"The first {MOST_TOKENS:,} of {len(texts):,} tokens.")


def tokens_markdown(texts: Sequence[str], only_read: int, theme: Theme) -> str:
    """The tokens as Streamlit's Markdown, in alternating colours. Their text is escaped; a line ends after its ↵."""
    parts = []
    for number, text in enumerate(texts):
        colour = (ONLY_READ if number < only_read else GRADED)[theme][number % 2]
        lines = re.findall(r"[^\n]*\n|[^\n]+", text) or [PART]
        blocks = [f':color[{_as_typed(line)}]{{background="{colour}"}}' + "  \n" * ("\n" in line) for line in lines]
        parts += [MAY_BREAK if text[:1].isspace() else "", *blocks]
    return "".join(parts)


def _as_typed(text: str) -> str:
    """`text` escaped, with each blank kept."""
    return "".join(SIGNS.get(each, BLANK) if each.isspace() else shown(each) for each in re.split(r"(\s)", text))

"""A sequence of a training batch as text: what is only read, what counts, row ends and padding."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.components.layout import shown


def show_sequence(sequence: Any, title: str) -> None:
    """Show a SampleSequence. Its text is shown literally."""
    ends = sum(piece.kind == "end" for piece in sequence.pieces)
    rows = f"{ends:,} row{'s' * (ends != 1)}"
    if sequence.pieces[-1].kind in ("target", "given"):
        rows += " and part of one that continues"
    st.markdown(f"**{title}**, from {shown(sequence.dataset)}")
    st.caption(
        f"{rows}, {sequence.tokens('target', 'end'):,} tokens that count, "
        f"{sequence.tokens('given'):,} only read, {sequence.tokens('padding'):,} of padding"
    )
    st.markdown(sequence_markdown(sequence))


def sequence_markdown(sequence: Any) -> str:
    """The pieces as Streamlit's Markdown; their text is escaped, line by line."""
    parts = []
    for piece in sequence.pieces:
        if piece.kind == "end":
            parts.append(" :blue-badge[end of row]\n\n")
        elif piece.kind == "padding":
            parts.append(f":gray-badge[{piece.tokens:,} tokens of padding]")
        else:
            lines = [shown(line) for line in piece.text.split("\n")]
            if piece.kind == "given":
                lines = [f":gray[{line}]" if line else "" for line in lines]
            parts.append((" " if piece.text[:1].isspace() else "") + "  \n".join(lines))
    return "".join(parts)

"""The lens: text coloured by how much each word surprised the model, how long it thought or how much memory it used
before it; or by where it looked before a chosen word."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

_component = st.components.v2.component(
    "lens",
    html="""
    <div class="lens">
      <div class="modes" role="group" aria-label="Colour the text by"></div>
      <p class="legend"></p>
      <div class="text" tabindex="0" role="listbox" aria-label="The text, word by word. Arrow keys move."></div>
      <div class="word" role="status"></div>
    </div>
    """,
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
    css="""
    .lens { color: var(--st-text-color); font-family: var(--st-font); font-size: 1rem; }
    .lens .modes { display: flex; flex-wrap: wrap; gap: 0.5rem; }
    .lens button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--st-border-color);
                   border-radius: var(--st-button-radius); padding: var(--inside); cursor: pointer; }
    .lens button[aria-pressed="true"] { border-color: var(--st-primary-color); color: var(--st-primary-color); }
    .lens .legend { font-size: var(--small); margin: 0.5rem 0; }
    .lens .legend span { padding: 0 0.4rem; border-radius: 3px; margin-right: 0.25rem; white-space: nowrap; }
    .lens .text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; padding: 0.75rem;
                  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); }
    .lens .text span { border-radius: 3px; cursor: pointer; padding: 0.1rem 0; }
    .lens .text .prompt { font-style: italic; }
    .lens .text .chosen { outline: 2px solid var(--st-text-color); }
    .lens .text .source { text-decoration: underline 3px var(--attention); text-underline-offset: 4px; }
    .lens .word { min-height: 5.5rem; margin-top: 0.5rem; font-size: var(--small); }
    .lens .word ul { margin: 0.25rem 0; padding-left: 1.25rem; }
    """,
)


def lens(words: Sequence[Any], *, key: str, first: str = "", looks: Any = None) -> None:
    """Show the words, each a ShownWord of the playground. The prompt is in italics.

    Only the modes that the model has are offered.

    Args:
        first: the mode to begin with; empty: the first that is offered.
        looks: one layer of Playground.attention; the lens then shows this alone.
    """
    data: dict[str, Any] = {
        "words": [dataclasses.asdict(word) for word in words],
        "dark": st.context.theme.type == "dark",
        "first": first,
    }
    if looks is not None:  # in thousandths, and no word looks at those after it: a square of numbers is long
        data["looks"] = [(1000 * row[: n + 1]).round().astype(int).tolist() for n, row in enumerate(looks)]
    _component(key=key, data=data)

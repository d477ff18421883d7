"""Glossary: every term of the pages in plain words. The address can name one: ?term=learning+rate."""

from collections.abc import Collection

import streamlit as st

from cognate_core.insight.glossary import GLOSSARY, Term, found_terms
from pages.components.layout import page_header, shown

READABLE_WIDTH = 760  # longer lines are hard to follow


def show(term: Term, others: Collection[str]) -> None:
    """Show the term, its meaning, and links to those related terms that are in `others`."""
    st.subheader(term.name, anchor=_anchor(term.name))
    st.markdown(f"**{term.plain[0].upper()}{term.plain[1:]}.** {term.meaning}")
    if term.see:
        links = (f"[{name}](#{_anchor(name)})" if name in others else name for name in term.see)
        st.markdown(f":small[See also: {', '.join(links)}]")  # a caption would make the links too faint


def _anchor(name: str) -> str:
    return name.casefold().replace(" ", "-")


page_header("Glossary", "The terms of these pages in plain words.")
with st.container(width=READABLE_WIDTH):
    words = st.text_input(
        "Search", key="term", placeholder="such as loss, or thinks", max_chars=80, bind="query-params"
    )
    found = found_terms(words)
    if not found:
        st.info(
            f"No term matches {shown(words)}. Try fewer letters, or clear the box to see all {len(GLOSSARY)}.",
            icon=":material/info:",
        )
    for term in found:
        show(term, {each.name for each in found})

"""Redraws the page when the person's computer switches between dark and light: Python chooses many of its colours."""

from pathlib import Path

import streamlit as st

_component = st.components.v2.component(
    "theme", html="<span></span>", js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
)


def follow_theme() -> None:
    """Have this page follow the theme; Streamlit itself reports a change only at the next visit."""
    _component(key="theme", data={"dark": st.context.theme.type == "dark"}, on_change_change=lambda: None)

"""The page is drawn again when the person's computer turns dark or light: many colours are chosen where it is drawn."""

from pathlib import Path

import streamlit as st

_component = st.components.v2.component(
    "theme", html="<span></span>", js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
)


def follow_theme() -> None:
    """Have this page follow the theme; Streamlit itself tells the script of it at the next visit only."""
    _component(key="theme", data={"dark": st.context.theme.type == "dark"}, on_change_change=lambda: None)

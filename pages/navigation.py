"""The script that app.py serves: the frame around all pages."""

from pathlib import Path

import streamlit as st

from pages.components.layout import PAGES

# A file, because a Material icon here would be fetched from the network.
st.set_page_config(page_title="Cognate Studio", page_icon=Path(__file__).with_name("icon.png"), layout="wide")
st.navigation(list(PAGES.values()), position="top").run()

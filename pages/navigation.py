"""The script that app.py serves: it draws the navigation bar and runs the chosen page."""

from pathlib import Path

import streamlit as st

from cognate_core.runs import current_manager
from pages.components.garbage import pass_over_libraries
from pages.components.layout import all_pages, has_arrived, name_tab, shown
from pages.components.theme import follow_theme

# A file: a Material icon would be fetched from the network.
st.set_page_config(page_title="Cognate Studio", page_icon=Path(__file__).with_name("icon.png"), layout="wide")
st.html(Path(__file__).with_name("look.css"))
page = st.navigation(all_pages(), position="top")
has_arrived(page.url_path)
if page.url_path:
    name_tab(page.title)
read_only = current_manager().read_only
if read_only:
    st.warning(f"Read-only: {shown(read_only)}", icon=":material/visibility:")
page.run()
pass_over_libraries()  # the page may have loaded torch
follow_theme()  # last, because it takes up a line

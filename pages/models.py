"""Models: try a trained model, see its figures and where it came from, and download its files."""

from functools import partial

import streamlit as st

from cognate_core.runs import current_manager
from pages.components.accuracy import accuracy
from pages.components.answer_table import calculator
from pages.components.inside import inside
from pages.components.layout import ask_first, page_called, page_header, shown
from pages.components.lineage import lineage
from pages.components.model_card import figures, files, headline
from pages.components.model_choice import choose_model
from pages.components.publishing import publish
from pages.components.text_playground import has_written, playground
from pages.components.tour import try_hint

manager = current_manager()
page_header("Models", "Try your trained models, see their figures and where they came from, and download their files.")
models = manager.log.models()
if not models:
    st.info("There are no models yet. When a run ends, its model appears here.", icon=":material/info:")
    st.page_link(page_called("new_run"), label="New run", icon=":material/add_circle:")
else:
    model = choose_model(models)
    headline(manager, model)
    place = st.container()
    if model.writes_text:
        playground(manager, model)
        try_hint(manager, place, written=has_written(model))
        inside(manager, model)
    else:
        calculator(manager, model)
    figures(model)
    if model.writes_text:
        accuracy(manager, model)
    lineage(manager, model)
    files(manager, model)
    publish(manager, model)
    if st.button("Delete this model", icon=":material/delete:", disabled=bool(manager.read_only)):
        moved = f"**{shown(model.name)}** and its files move to the trash on Home."
        ask_first("Delete this model?", moved, "Delete", partial(manager.delete_model, model.id))

"""The choice of a model: the one that the address names, and a way to find one among many."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cognate_core.storage.rows import TrainedModel
from pages.components.layout import keep_in_address, told_apart

MANY = 8  # with more models than this, a search narrows them down
CHOSEN, ADDRESSED = "chosen_model", "addressed_model"


def choose_model(models: list[TrainedModel]) -> TrainedModel:
    """The model that the address names, else the newest. Choosing another one changes the address."""
    by_id = {model.id: model for model in models}
    named = st.query_params.get("model")
    if named is not None and named not in by_id:
        st.warning("The model in this address does not exist. It may have been deleted.", icon=":material/warning:")
        named = None
    wanted = named or models[0].id
    offered = [model.id for model in (narrowed(models) if len(models) > MANY else models)]
    if st.session_state.get(ADDRESSED, "") != named:  # by a link, or Back
        st.session_state[CHOSEN] = wanted
        if wanted not in offered:
            offered.insert(0, wanted)
    elif st.session_state.get(CHOSEN) not in offered:
        st.session_state[CHOSEN] = offered[0]
    chosen = st.selectbox("Model", offered, format_func=labels(models).__getitem__, key=CHOSEN)
    keep_in_address("model", chosen, wanted)
    st.session_state[ADDRESSED] = st.query_params.get("model")
    return by_id[chosen]


def labels(models: Sequence[TrainedModel]) -> dict[str, str]:
    """The label of each model. Its time is absolute: Streamlit identifies a choice by its label."""
    return told_apart({model.id: f"{model.name}, {model.created_at[:16].replace('T', ' ')} UTC" for model in models})


def was_renamed(model: TrainedModel) -> None:
    """Choose the model again: its label in the list has changed."""
    st.query_params["model"] = model.id
    st.session_state.pop(ADDRESSED, None)


def narrowed(models: Sequence[TrainedModel]) -> Sequence[TrainedModel]:
    """The models that match the typed text and tags; all of them if none match."""
    left, right = st.columns(2, vertical_alignment="bottom")
    text = left.text_input("Find", key="find_model", placeholder="a part of the name, note or run").strip().casefold()
    tags = sorted({tag for model in models for tag in model.tags}, key=str.casefold)
    wanted = right.multiselect("With the tags", tags, key="find_tags") if tags else []
    found = [
        model
        for model in models
        if text in "\n".join((model.name, model.note, model.run_name)).casefold() and set(wanted) <= set(model.tags)
    ]
    if text or wanted:
        st.caption(f"{len(found)} of {len(models)} models." if found else "No model matches: all are listed.")
    return found or models

"""Which model is looked at: the one that the address names, and how to find one among many."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cognate_core.storage.progress_log import TrainedModel

MANY = 8  # with more models than this, there are ways to narrow them down
CHOSEN, ADDRESSED = "chosen_model", "addressed_model"


def choose_model(models: list[TrainedModel]) -> TrainedModel:
    """The model that the address names, or the newest. Choosing another changes the address."""
    by_id = {model.id: model for model in models}
    named = st.query_params.get("model")
    if named is not None and named not in by_id:
        st.warning("The model of this address does not exist any more.", icon=":material/warning:")
        named = None
    offered = [model.id for model in (narrowed(models) if len(models) > MANY else models)]
    if named is not None and st.session_state.get(ADDRESSED) != named:  # came by a link
        st.session_state[ADDRESSED] = st.session_state[CHOSEN] = named
        if named not in offered:
            offered.insert(0, named)
    elif st.session_state.get(CHOSEN) not in offered:
        st.session_state[CHOSEN] = offered[0]
    chosen = st.selectbox("Model", offered, format_func=lambda model_id: label(by_id[model_id]), key=CHOSEN)
    st.session_state[ADDRESSED] = st.query_params["model"] = chosen
    return by_id[chosen]


def label(model: TrainedModel) -> str:
    """The model in a list, with a time that does not change while the page is open: Streamlit knows it by its words."""
    return f"{model.name}, {model.created_at[:16].replace('T', ' ')} UTC"


def was_renamed() -> None:
    """Have the model that the address names chosen again: the list has other words for it now."""
    st.session_state.pop(ADDRESSED, None)


def narrowed(models: Sequence[TrainedModel]) -> Sequence[TrainedModel]:
    """The models that a person's text and tags leave; all of them when they leave none."""
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
        st.caption(f"{len(found)} of {len(models)} models." if found else "No model fits. All are listed.")
    return found or models

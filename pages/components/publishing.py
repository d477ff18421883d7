"""Publishing a model on the Hugging Face hub: what is sent, where to, and who sees it."""

from __future__ import annotations

import streamlit as st

from cognate_core.errors import CognateError
from cognate_core.runs import RunManager
from cognate_core.sharing.publishing import HOW_TO_SET_IT, LICENSES, WHAT_IS_SENT, has_token, publish_model
from cognate_core.storage.rows import TrainedModel
from pages.components.layout import show_refusal, shown


def publish(manager: RunManager, model: TrainedModel) -> None:
    """The way to publish a model. Without a token, how to set it."""
    with st.expander("Publish on the Hugging Face hub"):
        st.caption(WHAT_IS_SENT)
        if not has_token():
            st.info(HOW_TO_SET_IT, icon=":material/key:")
            return
        with st.form(f"publish-{model.id}", border=False):
            repo_id = st.text_input("Repository", placeholder="owner/name", help="It is made if it is not there yet.")
            license_name = st.selectbox(
                "License",
                LICENSES,
                index=None,
                placeholder="None chosen",
                help="What others may do with the model. Without one: nothing, until you say otherwise.",
            )
            private = st.toggle("Private", True, help="On: only you see it. On the hub you can change that later.")
            pressed = st.form_submit_button("Publish", icon=":material/cloud_upload:")
        if not pressed:
            return
        place = st.empty()
        try:
            address = publish_model(
                manager.log,
                manager.store,
                model.id,
                repo_id,
                private=private,
                license_name=license_name,
                say=lambda sentence: place.info(shown(sentence), icon=":material/cloud_upload:"),
            )
        except CognateError as error:
            place.empty()
            show_refusal(error)
        else:
            place.success(
                "It is published, and only you can see it." if private else "It is published for everybody.",
                icon=":material/cloud_done:",
            )
            st.code(address, language=None)
            st.link_button("Open it on the hub", address, icon=":material/open_in_new:")

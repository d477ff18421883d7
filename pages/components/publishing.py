"""Publish a model on the Hugging Face hub: what is sent, where, and who can see it."""

from __future__ import annotations

import streamlit as st

from cognate_core.errors import CognateError
from cognate_core.runs import RunManager
from cognate_core.sharing.publishing import HOW_TO_SET_IT, LICENSES, WHAT_IS_SENT, has_token, publish_model
from cognate_core.storage.rows import TrainedModel
from pages.components.layout import show_refusal, shown


def publish(manager: RunManager, model: TrainedModel) -> None:
    """The form to publish a model; without a token, how to set one."""
    with st.expander("Publish on the Hugging Face hub"):
        st.caption(WHAT_IS_SENT)
        if not has_token():
            st.info(HOW_TO_SET_IT, icon=":material/key:")
            return
        with st.form(f"publish-{model.id}", border=False):
            repo_id = st.text_input("Repository", placeholder="owner/name", help="It is created if it does not exist.")
            license_name = st.selectbox(
                "License",
                LICENSES,
                index=None,
                placeholder="None chosen",
                help="What others may do with the model. Without a license: nothing.",
            )
            private = st.toggle("Private", True, help="On: only you can see it. You can change this on the hub later.")
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
                "Published. Only you can see it." if private else "Published. Everybody can see it.",
                icon=":material/cloud_done:",
            )
            st.code(address, language=None)
            st.link_button("Open it on the hub", address, icon=":material/open_in_new:")

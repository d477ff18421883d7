"""A model at a glance: its name, note and tags, figures, and files."""

from __future__ import annotations

from functools import partial

import streamlit as st

from cognate_core.contracts import perplexity
from cognate_core.errors import CognateError
from cognate_core.insight.glossary import explained
from cognate_core.insight.words import compact, duration, size
from cognate_core.runs import RunManager
from cognate_core.storage.rows import TrainedModel
from pages.components.layout import page_called, show_refusal, shown
from pages.components.model_choice import was_renamed
from pages.components.tables import table

KIND_WORDS = {
    "weights": "the weights",
    "config": "the shape of the model",
    "tokenizer": "how text becomes tokens",
    "training_config": "every setting, to repeat the run",
    "training_log": "every measured step",
    "model_card": "a description with the figures",
}


def headline(manager: RunManager, model: TrainedModel) -> None:
    """Name, status, tags and note, and a button to edit them."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(shown(model.name), anchor=False, width="content")
        st.badge(model.status, color="green" if model.status == "completed" else "gray")
        if model.details["act_enabled"]:
            st.badge("ponders", color="blue", help=explained("ponder steps"))
        if model.details["ltm_enabled"]:
            st.badge("remembers", color="orange", help=explained("memory"))
        for tag in model.tags:
            st.badge(shown(tag), color="gray", icon=":material/label:")
        st.page_link(
            page_called("monitor"), label="Its run", icon=":material/monitoring:", query_params={"run": model.run_id}
        )
        if st.button("Describe", icon=":material/edit_note:", disabled=bool(manager.read_only)):
            describe(manager, model)
    if model.note:
        st.text(model.note)


@st.dialog("Describe this model")
def describe(manager: RunManager, model: TrainedModel) -> None:
    """Edit the name, note and tags. The files keep their names."""
    known = sorted({tag for each in manager.log.models() for tag in each.tags}, key=str.casefold)
    with st.form(f"describe-{model.id}", border=False):
        title = st.text_input("Name", model.name, help="Its run and its files keep their names.")
        note = st.text_area("Note", model.note, placeholder="What you want to remember about it")
        tags = st.multiselect(
            "Tags",
            known,
            model.tags,
            accept_new_options=True,
            placeholder="Choose or type a tag",
            help="Words of your own, to find models by.",
        )
        pressed = st.form_submit_button("Save", type="primary", icon=":material/save:")
    if not pressed:
        return
    try:
        manager.describe_model(model.id, title=title, note=note, tags=tags)
    except CognateError as error:
        show_refusal(error)
        return
    was_renamed(model)
    st.rerun()


def figures(model: TrainedModel) -> None:
    """The model's measured figures."""
    stats = model.details["training_stats"]
    st.subheader("Its figures", anchor=False)
    with st.container(horizontal=True):
        st.metric("Parameters", compact(model.parameter_count), help=explained("parameters"), width="content")
        st.metric("Steps", f"{stats['steps']:,} of {stats['planned_steps']:,}", width="content")
        if model.writes_text:
            st.metric("Text read", f"{compact(stats['tokens'])} tokens", help=explained("token"), width="content")
        else:
            st.metric("Problems learned from", compact(stats["tokens"]), width="content")
        st.metric("Time", duration(stats["seconds"]), width="content")
    if model.step < stats["steps"]:
        early = shown(stats.get("ended_early", ""))
        st.caption(f"{early} The weights are from step {model.step:,}, its best check.".strip())
    unseen = "text" if model.writes_text else "problems"
    st.subheader(f"How wrong it is on unseen {unseen} (held-out loss)", anchor=False, help=explained("held-out loss"))
    if not stats["heldout_loss"]:
        st.caption("Not measured: training was stopped early. The run's curves have the last checks.")
        return
    table(
        [
            {
                "dataset": dataset,
                "loss (nats per token)": loss,
                "bits per byte": stats.get("heldout_bits_per_byte", {}).get(dataset),
                "as unsure as a choice among": perplexity(loss),
            }
            for dataset, loss in stats["heldout_loss"].items()
        ],
        column_config={
            "loss (nats per token)": st.column_config.NumberColumn(format="%.3f"),
            "bits per byte": st.column_config.NumberColumn(format="%.3f", help=explained("bits per byte"))
            if model.writes_text
            else None,
            "as unsure as a choice among": st.column_config.NumberColumn(
                format="%.1f tokens", help=explained("perplexity", "This is the perplexity.")
            ),
        },
        width="content",
    )


def files(manager: RunManager, model: TrainedModel) -> None:
    """A download for each file, and one for all."""
    st.subheader("Files", anchor=False)
    rows = manager.log.artifacts(model.id)
    st.download_button(
        "Download all as zip",
        lambda: manager.store.zip(rows),
        file_name=f"cognate-{model.id}.zip",
        mime="application/zip",
        icon=":material/folder_zip:",
        on_click="ignore",
    )
    for row in rows:
        name, what, button = st.columns([3, 3, 2], vertical_alignment="center")
        name.code(row["path"].rsplit("/", 1)[-1], language=None)
        what.caption(f"{KIND_WORDS.get(row['kind'], row['kind'])}, {size(row['bytes'])}")
        with button:
            st.download_button(
                "Download",
                partial(_content, manager, row["path"]),
                file_name=row["path"].rsplit("/", 1)[-1],
                key=f"download-{model.id}-{row['kind']}",
                on_click="ignore",
            )
    with st.expander("Checksums (sha256)"):
        st.code("\n".join(f"{row['sha256']}  {row['path'].rsplit('/', 1)[-1]}" for row in rows), language=None)
        st.caption("Each file as training wrote it. `sha256sum` gives the same value if the file is unchanged.")


def _content(manager: RunManager, path: str) -> bytes:
    return manager.store.path(path).read_bytes()

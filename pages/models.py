"""Models: what was trained, with its figures and files, and a place to try it."""

from pathlib import Path
from typing import Any

import streamlit as st

from cognate_core.contracts import MEMORY_FILE, perplexity
from cognate_core.errors import CognateError
from cognate_core.insight.glossary import explained
from cognate_core.insight.words import compact, duration, size
from cognate_core.runs import RunManager, current_manager
from cognate_core.storage.progress_log import TrainedModel
from pages.components.layout import PAGES, page_header, shown
from pages.components.lens import lens
from pages.components.run_actions import act
from pages.components.tour import try_hint

KIND_WORDS = {
    "weights": "the weights",
    "config": "the shape of the model",
    "tokenizer": "how text becomes tokens",
    "training_config": "every setting, to repeat the run",
    "training_log": "every measured step",
    "model_card": "a description with the figures",
}
NOTHING_WRITTEN = "(the model ended its text at once)"
EXAMPLE = "Maria has 12 apples. She gives 5 apples to her friend. How many apples does she have left?"


def choose_model(models: list[TrainedModel]) -> TrainedModel:
    """The model that the address names, or the newest. Choosing another changes the address."""
    by_id = {model.id: model for model in models}
    named = st.query_params.get("model")
    if named is not None and named not in by_id:
        st.warning("The model of this address does not exist any more.", icon=":material/warning:")
        named = None
    if named is not None and st.session_state.get("addressed_model") != named:
        st.session_state["addressed_model"] = st.session_state["chosen_model"] = named  # came by a link
    chosen = st.selectbox(
        "Model",
        list(by_id),
        # A time that does not change while the page is open: Streamlit knows the choice by these words.
        format_func=lambda model_id: f"{by_id[model_id].name}, {by_id[model_id].created_at[:16].replace('T', ' ')} UTC",
        key="chosen_model",
    )
    st.session_state["addressed_model"] = st.query_params["model"] = chosen
    return by_id[chosen]


def figures(model: TrainedModel) -> None:
    """What was measured of the model."""
    stats = model.details["training_stats"]
    with st.container(horizontal=True):
        st.metric("Parameters", compact(model.parameter_count), help=explained("parameters"), width="content")
        st.metric("Steps", f"{stats['steps']:,} of {stats['planned_steps']:,}", width="content")
        st.metric("Text read", f"{compact(stats['tokens'])} tokens", help=explained("token"), width="content")
        st.metric("Time", duration(stats["seconds"]), width="content")
    st.subheader("How wrong it is on unseen text (held-out loss)", anchor=False, help=explained("held-out loss"))
    if not stats["heldout_loss"]:
        st.caption("Not measured: training was stopped before its end. The run's curves have the last checks.")
        return
    st.dataframe(
        [
            {"dataset": dataset, "loss (nats a token)": loss, "as unsure as choosing among": perplexity(loss)}
            for dataset, loss in stats["heldout_loss"].items()
        ],
        hide_index=True,
        column_config={
            "loss (nats a token)": st.column_config.NumberColumn(format="%.3f"),
            "as unsure as choosing among": st.column_config.NumberColumn(
                format="%.1f tokens", help=explained("perplexity", "This is the perplexity.")
            ),
        },
        width="content",
    )


def files(manager: RunManager, model: TrainedModel) -> None:
    """Each file, and all of them."""
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
                lambda path=row["path"]: manager.store.path(path).read_bytes(),
                file_name=row["path"].rsplit("/", 1)[-1],
                key=f"download-{model.id}-{row['kind']}",
                on_click="ignore",
            )


@st.cache_resource(max_entries=2, show_spinner="Opening the model")
def opened(folder: str, _weights_sha256: str):
    """The model, kept open for a while. A changed file is another entry."""
    from cognate_core.playground import Playground

    return Playground.from_folder(Path(folder))


def playground(manager: RunManager, model: TrainedModel) -> None:
    """Type a problem, read what the model makes of it, and see how it came to it."""
    st.subheader("Try it", anchor=False)
    st.caption("It has learned the style of word problems; it does not reliably solve them.")
    remembers = model.details["ltm_enabled"]
    with st.form(f"try-{model.id}", border=False):
        question = st.text_area("A problem, or the beginning of a text", EXAMPLE, max_chars=4000)
        left, middle, right = st.columns(3)
        temperature = left.slider(
            "Adventure (temperature)",
            0.0,
            1.5,
            0.7,
            0.1,
            help=explained("temperature"),
        )
        length = middle.slider("Length (tokens)", 10, 400, 120, 10)
        seed = right.number_input("Seed", 0, 2**31 - 1, 0, help=explained("seed"))
        as_problem = st.toggle("Ask it as a word problem", True, help="Writes Problem: and Solution: around the text.")
        remember = remembers and st.toggle(
            "Keep its memory",
            False,
            help="What it notes of this text, it can still read in the next ones. Off: each text begins without notes.",
        )
        pressed = st.form_submit_button("Write", type="primary", icon=":material/edit:")
    if pressed and not question.strip():
        st.error("The box is empty. Type a problem, or the beginning of a text.", icon=":material/error:")
        return
    weights = next(row for row in manager.log.artifacts(model.id) if row["kind"] == "weights")
    try:
        folder = manager.store.path(weights["path"]).parent
    except CognateError as error:
        st.error(shown(str(error)), icon=":material/error:")
        return
    result = f"written-{model.id}"  # kept, so that a press of another button does not take it away
    if pressed:
        st.session_state.pop(result, None)
        try:
            player = opened(str(folder), weights["sha256"])
            from cognate_core.playground import problem_prompt
        except CognateError as error:
            st.error(shown(str(error)), icon=":material/error:")
            return
        prompt = problem_prompt(question) if as_problem else question
        bank = kept_bank(folder) if remember else None
        with st.container(border=True):
            place, pieces = st.empty(), []
            for piece in player.stream(
                prompt, max_new_tokens=length, temperature=temperature, seed=int(seed), bank=bank
            ):
                pieces.append(piece)
                place.text("".join(each.text for each in pieces))
            if not pieces:
                place.text(NOTHING_WRITTEN)
        with st.spinner("Reading it once more"):
            explanation = player.explain(prompt, [token for piece in pieces for token in piece.ids], bank)
        if remember and explanation.bank is not None:
            keep_bank(folder, explanation.bank)
        st.session_state[result] = ("".join(piece.text for piece in pieces), explanation)
    elif result in st.session_state:
        with st.container(border=True):
            st.text(st.session_state[result][0] or NOTHING_WRITTEN)
    if (folder / MEMORY_FILE).exists():
        kept_memory(folder)
    if result in st.session_state and (remembers or model.details["act_enabled"]):
        explanation = st.session_state[result][1]
        st.subheader("How it came to each word", anchor=False)
        st.caption(
            ("The end of the text, as much as the model reads at once. " if explanation.shortened else "")
            + "What stood there before it wrote is in italics."
        )
        lens(explanation.words, key=f"lens-{model.id}")


def kept_bank(folder: Path) -> Any:
    """The memory of earlier texts; when it cannot be opened, that is said and the text begins without."""
    from cognate_core.playground import load_memory

    try:
        return load_memory(folder)
    except CognateError as error:
        st.warning(shown(str(error)), icon=":material/warning:")
        return None


def keep_bank(folder: Path, bank: Any) -> None:
    """Keep the memory for the next text."""
    from cognate_core.playground import save_memory

    try:
        save_memory(folder, bank)
    except CognateError as error:
        st.error(shown(str(error)), icon=":material/error:")


def kept_memory(folder: Path) -> None:
    """How much it remembers of earlier texts, and a way to end that."""
    from cognate_core.playground import kept_notes

    try:
        words = f"It keeps {kept_notes(folder):,} notes of earlier texts, and reads them while 'Keep its memory' is on."
    except CognateError as error:
        words = shown(str(error))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(words)
        if st.button("Forget", icon=":material/delete_history:"):
            (folder / MEMORY_FILE).unlink(missing_ok=True)
            st.rerun()


@st.dialog("Delete this model?")
def confirm_delete(manager: RunManager, model: TrainedModel) -> None:
    """Ask once, then move the model to the trash."""
    st.write(f"**{shown(model.name)}** and its files move to the trash. Home has the trash.")
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete:"):
            act(manager.delete_model, model.id)
        if st.button("Keep it"):
            st.rerun()


manager = current_manager()
page_header("Models", "Everything that was trained here: its figures, its files, and a place to try it.")
models = manager.log.models()
if not models:
    st.info("There is no model yet. When a run ends, its model appears here.", icon=":material/info:")
    st.page_link(PAGES["new_run"], label="New run", icon=":material/add_circle:")
else:
    model = choose_model(models)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(shown(model.name), anchor=False, width="content")
        st.badge(model.status, color="green" if model.status == "completed" else "gray")
        if model.details["act_enabled"]:
            st.badge("ponders", color="blue", help=explained("ponder steps"))
        if model.details["ltm_enabled"]:
            st.badge("remembers", color="orange", help=explained("memory"))
        st.page_link(
            PAGES["monitor"],
            label="Its run",
            icon=":material/monitoring:",
            query_params={"run": model.run_id},
        )
    figures(model)
    place = st.container()
    playground(manager, model)
    try_hint(manager, place, written=f"written-{model.id}" in st.session_state)
    st.subheader("Files", anchor=False)
    files(manager, model)
    if st.button("Delete this model", icon=":material/delete:", disabled=bool(manager.read_only)):
        confirm_delete(manager, model)

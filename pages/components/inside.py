"""See inside a trained model: what surprises it, where it looks, if it uses what it read, what training changed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import streamlit as st

from cognate_core.errors import CognateError, DataError
from cognate_core.insight.glossary import explained
from cognate_core.insight.inside_charts import change_chart, position_chart
from cognate_core.insight.words import layer_words
from cognate_core.runs import RunManager
from cognate_core.storage.rows import TrainedModel
from pages.components.layout import show_refusal, shown
from pages.components.lens import lens
from pages.components.live_charts import Still, still_charts
from pages.components.text_playground import EXAMPLE

SURPRISE, LOOKS, POSITION, CHANGES = (
    "What surprises it",
    "Where it looks",
    "Does it use what it read?",
    "What training changed",
)
MOST_SEQUENCES = 200


@st.fragment
def inside(manager: RunManager, model: TrainedModel) -> None:
    """The chosen view; without a choice, nothing is computed."""
    st.subheader("See inside", anchor=False)
    st.caption("How the finished model reads a text, and what training changed in it.")
    view = st.segmented_control("Look at", [SURPRISE, LOOKS, POSITION, CHANGES], key=f"inside-{model.id}")
    try:
        if view == CHANGES:
            changes(manager, model)
        elif view == POSITION:
            position(manager, model)
        elif view is not None:
            text_view(manager, model, view)
    except CognateError as error:
        show_refusal(error)


def opened_model(manager: RunManager, model: TrainedModel) -> Any:
    """The finished model's Playground. Raises CognateError if it cannot be opened."""
    from cognate_core.inference.playground import opened

    with st.spinner("Opening the model"):
        return opened(*manager.weights(model.id), None)


def text_view(manager: RunManager, model: TrainedModel, view: str) -> None:
    """What surprises the model in a text, or where it looks.

    Raises:
        CognateError: the model cannot be opened, or not read the text.
    """
    text = asked_text(manager, model)
    if text is None:
        return
    key, known = f"{view}-{model.id}", (manager.weights(model.id)[1], text)
    if st.session_state.get(key, (None,))[0] != known:
        player = opened_model(manager, model)
        with st.spinner("Reading the text"):
            looks = player.attention(text) if view == LOOKS else None
            st.session_state[key] = known, player.read(text), looks
    _, reading, looks = st.session_state[key]
    if view == LOOKS:
        where_it_looks(reading, looks, key)
    else:
        surprise(reading, key)


def asked_text(manager: RunManager, model: TrainedModel) -> str | None:
    """The text that the person last asked to read; None: none yet. Both views of a text share it."""
    asked, box = f"inside-asked-{model.id}", f"inside-box-{model.id}"
    if box not in st.session_state:
        st.session_state[box] = st.session_state.get(asked) or heldout_text(manager, model)
    with st.form(f"inside-form-{model.id}", border=False):
        text = st.text_area("A text to read", max_chars=4000, key=box)
        if st.form_submit_button("Read it", icon=":material/menu_book:"):
            st.session_state[asked] = text
    found: str | None = st.session_state.get(asked)
    return found


def heldout_text(manager: RunManager, model: TrainedModel) -> str:
    """A held-out problem of the model's data with its solution, if one was recorded."""
    samples = manager.log.newest_samples(model.run_id, model.details["model_name"])
    return f"{samples[0]['prompt']}{samples[0]['expected']}" if samples else EXAMPLE


def surprise(reading: Any, key: str) -> None:
    """The text, each word coloured by how unlikely the model found it."""
    st.caption(
        f"The stronger a word's colour, the less likely the model found it after the words before. Mean loss: "
        f"{reading.loss:.2f} nats a token, {reading.bits_per_byte:.2f} bits per byte, over {reading.tokens:,} tokens.",
        help=explained("bits per byte", "Here, the end of the text does not count."),
    )
    lens(reading.words, key=f"lens-{key}", first="surprise")


def where_it_looks(reading: Any, looks: Any, key: str) -> None:
    """The text; a chosen word shows at which earlier ones the model looked to predict it."""
    st.caption(
        "Choose a word: the stronger an earlier one's colour, the more the model looked at it to predict the chosen "
        "word (attention, the mean over all heads). It tells where a layer takes from, not why."
    )
    layer = st.selectbox(
        "Layer",
        range(len(looks) + 1),
        format_func=lambda layer: f"Layer {layer}" if layer else "All layers (their mean)",
        key=f"layer-{key}",
        width=260,
    )
    chosen = looks[layer - 1] if layer else looks.astype("float32").mean(0)
    lens(reading.words, key=f"lens-{key}", looks=chosen)


def position(manager: RunManager, model: TrainedModel) -> None:
    """The loss by position: the button to measure it, and its chart.

    Raises:
        CognateError: the model cannot be opened, or its held-out text cannot be read.
    """
    st.caption(
        "The mean loss of held-out text by position: how far into its text a token stands. A line that falls is good: "
        "the model uses what it read. A flat one: it goes by the last few words alone."
    )
    key = f"{POSITION}-{manager.weights(model.id)[1]}"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        most = st.number_input(
            "Held-out sequences of each dataset",
            1,
            MOST_SEQUENCES,
            32,
            key="inside_sequences",
            help=explained("sequence", "More give a steadier line, but take longer."),
            width=280,
        )
        if st.button("Measure by position", icon=":material/show_chart:"):
            st.session_state.pop(key, None)
            st.session_state[key] = measured(manager, model, int(most))
    if key in st.session_state:
        chart = position_chart(st.session_state[key], dark=st.context.theme.type == "dark")
        alt = "Mean held-out loss of each dataset by position in the text"
        still_charts([Still("Loss by position", explained("held-out loss"), alt, chart)], key="inside-position")


def measured(manager: RunManager, model: TrainedModel, most: int) -> dict[str, list[dict[str, Any]]]:
    """The loss by position, measured under a progress bar.

    Raises:
        CognateError: the model cannot be opened, or its held-out text cannot be read.
    """
    from cognate_core.inference.position_loss import loss_by_position, prepared_for

    report = manager.log.run(model.run_id).data_report
    if not report:
        raise DataError("This model's training data were not recorded, so there is no held-out text to measure.")
    data = prepared_for(manager.home / "cache", report["content_hash"])
    player = opened_model(manager, model)
    bar = st.progress(0.0, "Reading held-out text")
    found = loss_by_position(
        player.model,
        data,
        most,
        lambda done, total: bar.progress(done / total, f"Reading sequence {done + 1:,} of {total:,}"),
    )
    bar.empty()
    return {dataset: [asdict(row) for row in rows] for dataset, rows in found.items()}


def changes(manager: RunManager, model: TrainedModel) -> None:
    """How far each layer moved between two chosen steps.

    Raises:
        CognateError: a checkpoint is gone or damaged.
    """
    steps = [*manager.kept_steps(model.id), model.step]
    if len(steps) < 2:
        st.caption("Training kept no earlier checkpoint of this model, so there is nothing to compare it with.")
        return
    st.caption(
        "How far the weights of each layer moved between two steps, relative to their size: ||W2 - W1|| / ||W1||. To "
        "see what the model writes after each, turn on **Beside another model** above."
    )
    key = f"steps-{model.id}"
    if not set(st.session_state.get(key, ())) <= set(steps):  # a checkpoint is gone
        st.session_state.pop(key)
    first, last = st.select_slider(
        "Between steps", steps, (steps[0], steps[-1]), format_func=lambda n: f"{n:,}", key=key
    )
    if first == last:
        st.caption("Both ends are the same step. Choose two.")
        return
    from cognate_core.inference.weight_changes import weight_changes

    with st.spinner("Comparing the weights"):
        found = weight_changes(manager.weights(model.id)[0], first, None if last == model.step else last)
    chart = change_chart({layer_words(row.layer): row.change for row in found}, dark=st.context.theme.type == "dark")
    still_charts(
        [Still("Change of each layer", "", f"Relative change of each layer from step {first} to {last}", chart)],
        key="inside-changes",
    )
    if unknown := [layer_words(row.layer) for row in found if row.change is None]:
        st.caption(f"Not known, because their weights began at 0 or are not numbers: {shown(', '.join(unknown))}.")

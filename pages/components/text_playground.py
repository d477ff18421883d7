"""The playground: a model continues text, with the lens; also at an earlier step, or beside another model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from cognate_core.contracts import MEMORY_FILE
from cognate_core.errors import CognateError
from cognate_core.insight.glossary import explained
from cognate_core.runs import RunManager
from cognate_core.storage.rows import TrainedModel
from pages.components.layout import show_refusal, shown
from pages.components.lens import lens
from pages.components.model_choice import labels

NOTHING_WRITTEN = "(the model ended its text at once)"
EXAMPLE = "Maria has 12 apples. She gives 5 apples to her friend. How many apples does she have left?"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt and options when the person pressed Write."""

    prompt: str
    temperature: float
    length: int
    seed: int
    remember: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote, and the playground's Explanation."""

    text: str
    explanation: Any
    unread: int  # tokens at the beginning of the prompt


@dataclass(frozen=True, slots=True)
class Side:
    """A model that writes. `step`: of the checkpoint to use; None: the finished model."""

    model: TrainedModel
    step: int | None

    @property
    def title(self) -> str:
        last = self.model.step
        return f"{self.model.name}, {f'finished (step {last:,})' if self.step is None else f'after step {self.step:,}'}"


def playground(manager: RunManager, model: TrainedModel) -> None:
    """Type a problem, read the model's answer, and see how it found each word."""
    st.subheader("Try it", anchor=False)
    shares = answered(model)
    st.caption(
        "Right answers to questions that it never saw: "
        + ", ".join(f"{share:.0%} of {shown(name)}" for name, share in shares.items())
        + "."
        if shares
        else "It has learned the style of its text. Below you can measure how often it is right."
    )
    sides = choose_sides(manager, model)
    form(model, alone=len(sides) == 1 and sides[0].step is None)
    try:
        folder, _ = manager.weights(model.id)
    except CognateError as error:
        show_refusal(error)
        return
    asked: Prompt | None = st.session_state.get(f"asked-{model.id}")
    if asked is not None:
        texts = st.session_state[f"written-{model.id}"]
        for number, (place, side) in enumerate(zip(st.columns(len(sides), gap="medium"), sides, strict=True)):
            with place:
                answer(manager, side, asked, texts, f"{number}-{model.id}", alone=len(sides) == 1)
    if (folder / MEMORY_FILE).exists():
        kept_memory(folder)


def choose_sides(manager: RunManager, model: TrainedModel) -> list[Side]:
    """The model at a chosen step, and optionally another model beside it."""
    beside = st.toggle(
        "Beside another model",
        key="beside",
        help="Gives the same text and seed to two models, or to one model after two different steps.",
    )
    if not beside:
        return [Side(model, choose_step(manager, model, "left"))]
    left, right = st.columns(2, gap="medium")
    with left:
        models = {each.id: each for each in manager.log.models() if each.writes_text}
        words = labels([*models.values()])
        st.text_input("This model", words[model.id], disabled=True)
        sides = [Side(model, choose_step(manager, model, "left"))]
    with right:
        if st.session_state.get("other_model") not in models:
            st.session_state["other_model"] = next((each for each in models if each != model.id), model.id)
        other = models[st.selectbox("The other model", list(models), format_func=words.__getitem__, key="other_model")]
        return [*sides, Side(other, choose_step(manager, other, "right"))]


def choose_step(manager: RunManager, model: TrainedModel, side: str) -> int | None:
    """The chosen step, of those with a kept checkpoint; None for the finished model, which is last."""
    last = model.step
    steps = [*manager.kept_steps(model.id), last]
    if len(steps) == 1:
        return None
    key = f"step-{side}-{model.id}"
    if st.session_state.get(key) not in steps:  # that checkpoint is gone
        st.session_state.pop(key, None)
    step = st.select_slider(
        "As it was after step",
        steps,
        last,
        format_func=lambda step: f"{step:,}, finished" if step == last else f"{step:,}",
        key=key,
        help="Training keeps some checkpoints: see what the model wrote when it had learned less.",
    )
    return None if step == last else step


def has_written(model: TrainedModel) -> bool:
    """Whether the model has written something on this page."""
    return f"asked-{model.id}" in st.session_state


def answered(model: TrainedModel) -> dict[str, float]:
    """For each dataset, the finished model's share of right answers to unseen questions; empty if not measured."""
    shares: dict[str, float] = model.details["training_stats"].get("heldout_accuracy", {})
    return shares


def form(model: TrainedModel, *, alone: bool) -> None:
    """The prompt and options. `alone`: only the finished model by itself, which may keep its memory."""
    with st.form(f"try-{model.id}", border=False):
        question = st.text_area("A problem, or the beginning of a text", EXAMPLE, max_chars=4000)
        left, middle, right = st.columns(3)
        temperature = left.slider(
            "Adventure (temperature)",
            0.0,
            1.5,
            0.0 if answered(model) else 0.7,  # accuracy was measured with the likeliest text
            0.1,
            help=explained("temperature"),
        )
        length = middle.slider("Length (tokens)", 10, 400, 120, 10)
        seed = right.number_input("Seed", 0, 2**31 - 1, 0, help=explained("seed"))
        as_problem = st.toggle("Ask it as a word problem", True, help="Writes Problem: and Solution: around the text.")
        remember = model.details["ltm_enabled"] and st.toggle(
            "Keep its memory",
            False,
            disabled=not alone,
            help="Its notes on this text stay readable in later texts. Off: each text begins without notes. Only the "
            "finished model can keep notes, and not beside another model.",
        )
        pressed = st.form_submit_button("Write", type="primary", icon=":material/edit:")
    if not pressed:
        return
    st.session_state.pop(f"asked-{model.id}", None)
    if not question.strip():
        st.error("The box is empty. Type a problem, or the beginning of a text.", icon=":material/error:")
        return
    try:
        from cognate_core.inference.playground import problem_prompt
    except CognateError as error:
        show_refusal(error)
        return
    prompt = problem_prompt(question) if as_problem else question
    st.session_state[f"asked-{model.id}"] = Prompt(prompt, temperature, length, int(seed), bool(remember) and alone)
    st.session_state[f"written-{model.id}"] = {}


def answer(manager: RunManager, side: Side, asked: Prompt, texts: dict[Any, Written], key: str, *, alone: bool) -> None:
    """Show what one model writes, and how. Each combination of model, step and prompt is generated once."""
    st.caption(shown(side.title))
    remember = asked.remember and alone and side.step is None
    known = (side.model.id, side.step, remember)
    if known in texts:
        with st.container(border=True):
            st.text(texts[known].text or NOTHING_WRITTEN)
    else:
        try:
            texts[known] = write(*manager.weights(side.model.id), side.step, asked, remember=remember)
        except CognateError as error:
            show_refusal(error)
            return
    if texts[known].unread:
        st.warning(
            "Only the end of your text was read: it is longer than the model reads at once.",
            icon=":material/content_cut:",
        )
    explanation = texts[known].explanation
    st.subheader("How it found each word", anchor=False)
    st.caption(
        ("Only the end of the text, as much as the model reads at once. " if explanation.shortened else "")
        + "Your text is in italics."
    )
    lens(explanation.words, key=f"lens-{key}")


def write(folder: Path, weights_sha256: str, step: int | None, asked: Prompt, *, remember: bool) -> Written:
    """Let the model write, and show the text word by word.

    Raises:
        CognateError: the model or its checkpoint cannot be opened.
    """
    from cognate_core.inference.playground import opened

    with st.spinner("Opening the model"):
        player = opened(folder, weights_sha256, step)
    bank = kept_bank(folder) if remember else None
    with st.container(border=True):
        place, pieces = st.empty(), []
        for piece in player.stream(
            asked.prompt, max_new_tokens=asked.length, temperature=asked.temperature, seed=asked.seed, bank=bank
        ):
            pieces.append(piece)
            place.text("".join(each.text for each in pieces))
        if not pieces:
            place.text(NOTHING_WRITTEN)
    with st.spinner("Explaining each word"):
        explanation = player.explain(asked.prompt, [token for piece in pieces for token in piece.ids], bank)
    if remember and explanation.bank is not None:
        keep_bank(folder, explanation.bank)
    return Written("".join(piece.text for piece in pieces), explanation, player.unread(asked.prompt))


def kept_bank(folder: Path) -> Any:
    """The memory of earlier texts; None, with a warning, if it cannot be opened."""
    from cognate_core.inference.playground import load_memory

    try:
        return load_memory(folder)
    except CognateError as error:
        st.warning(shown(str(error)), icon=":material/warning:")
        return None


def keep_bank(folder: Path, bank: Any) -> None:
    """Save the memory for the next text."""
    from cognate_core.inference.playground import save_memory

    try:
        save_memory(folder, bank)
    except CognateError as error:
        show_refusal(error)


def kept_memory(folder: Path) -> None:
    """How many notes of earlier texts it keeps, and a button to forget them."""
    from cognate_core.inference.playground import kept_notes

    try:
        words = f"It keeps {kept_notes(folder):,} notes of earlier texts, and reads them while 'Keep its memory' is on."
    except CognateError as error:
        words = shown(str(error))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(words)
        if st.button("Forget", icon=":material/delete_history:"):
            (folder / MEMORY_FILE).unlink(missing_ok=True)
            st.rerun()

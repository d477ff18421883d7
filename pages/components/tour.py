"""The guided first visit: three steps, from choosing what to learn to trying what was learned.

It begins on Home of an empty data folder and ends for good when a text was written, or when somebody skips it. How far
it is follows from the data folder, so that a reload or another browser knows it; kept is only that it began and ended.
"""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cognate_core.contracts import RunStatus
from cognate_core.runs import RunManager
from cognate_core.storage.rows import Run
from pages.components.layout import page_called

KEY = "cognate-studio/tour"  # of the coordination record
STEPS = (
    ("Choose what to learn", "Take one of the presets below. The first one is done in minutes."),
    (
        "Press start, and watch it learn",
        "On the next page press **Start training**. With the first preset, a curve shows how many unseen problems it "
        "has right.",
    ),
    ("Try what it learned", "Ask the model something in your own words, and read its answer."),
)


WATCH_ANSWERS = (
    "**Step 2 of 3: watch it get answers right.** The curve is the share of problems that it solves. It never saw any "
    "of them. Three of them stand above it."
)
WATCH_LOSS = (
    "**Step 2 of 3: watch the curve fall.** The coloured line is how wrong the model is (loss) on the text it reads. "
    "The dark line is the same on text that it never saw, measured now and then. Both should fall below the dotted "
    "line, which is pure guessing."
)


def welcome(manager: RunManager) -> bool:
    """On an empty Home: the three steps. Whether they are shown."""
    if manager.read_only or _over(manager):
        return False
    if not _going(manager):
        manager.log.set_coordination(KEY, {"over": False})
    st.subheader("Your first model, in three steps", anchor=False)
    for number, (column, (title, words)) in enumerate(zip(st.columns(len(STEPS)), STEPS, strict=True), start=1):
        with column:
            st.markdown(f"**{number}. {title}**")
            st.write(words)
    _skip(manager)
    return True


def watch_hint(manager: RunManager, run: Run) -> None:
    """On Monitor: what to look at while the first model learns, and where to go when it has learned."""
    if not _going(manager) or run.config.task != "text":
        return
    if run.status.is_active or run.status is RunStatus.QUEUED:
        _hint(manager, WATCH_ANSWERS if run.config.check_questions else WATCH_LOSS)
    elif manager.log.models(run.id):
        _hint(manager, "**Step 3 of 3: try what it learned.** The model is ready.", leads_to_models=True)


def try_hint(manager: RunManager, place: DeltaGenerator, *, written: bool) -> None:
    """On Models, at `place`: what to do there. Once a text was `written`, the tour is over."""
    if not _going(manager):
        return
    with place:
        if written:
            _end(manager)
            st.success(
                "That was the tour. Compare lays runs over one another, Datasets shows what a model would read, and "
                "Glossary explains the words.",
                icon=":material/check:",
            )
        else:
            _hint(
                manager,
                "**Step 3 of 3: try what it learned.** Press **Write** below. A small model knows only what it read: "
                "outside of that, do not expect it to be right.",
            )


def _hint(manager: RunManager, words: str, *, leads_to_models: bool = False) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(words)
        if leads_to_models:
            st.page_link(page_called("models"), label="Try it now", icon=":material/arrow_forward:", width="content")
        _skip(manager)


def _skip(manager: RunManager) -> None:
    st.button("Skip the tour", type="tertiary", icon=":material/close:", on_click=_end, args=(manager,))


def _end(manager: RunManager) -> None:
    manager.log.set_coordination(KEY, {"over": True})


def _over(manager: RunManager) -> bool:
    record = manager.log.coordination(KEY)
    return record is not None and record["over"]


def _going(manager: RunManager) -> bool:
    record = None if manager.read_only else manager.log.coordination(KEY)
    return record is not None and not record["over"]

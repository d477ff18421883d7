"""The guided first visit in three steps, from choosing a preset to trying the model.

It starts on Home with an empty data folder, and ends for good when a model has written a text or somebody skips it.
Only its start and end are stored. Its progress follows from the data folder: it survives a reload or another browser.
"""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cognate_core.runs import RunManager
from cognate_core.storage.rows import Run
from pages.components.layout import page_called

KEY = "cognate-studio/tour"  # of the coordination record
STEPS = (
    ("Choose what to learn", "The first preset takes only minutes."),
    ("Press Start, and watch it learn", "A curve shows how many unseen problems it gets right."),
    ("Try what it learned", "Ask it something in your own words."),
)


WATCH_ANSWERS = (
    "**Step 2 of 3: watch it get answers right.** The curve is the share of unseen problems that it solves. Three of "
    "them stand beside it."
)
WATCH_LOSS = (
    "**Step 2 of 3: watch the curve fall.** It shows how wrong the model is (loss), on the text it reads and, with "
    "markers, on unseen text. Both should fall below the dotted line: pure guessing."
)


def welcome(manager: RunManager) -> bool:
    """Show the three steps on an empty Home. Returns whether they are shown."""
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
    """On Monitor: what to look at while the first model learns, and where to go afterwards."""
    if not _going(manager) or run.config.task != "text":
        return
    if run.status.is_going:
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
                "That was the tour. Compare overlays the curves of runs, Datasets shows what a model would read, and "
                "Glossary explains the terms.",
                icon=":material/check:",
            )
        else:
            _hint(
                manager,
                "**Step 3 of 3: try what it learned.** Press **Write** below. A small model knows only what it read: "
                "do not expect it to be right about anything else.",
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

"""The learning rate search next to its field: start it, see its curve, and fill the field with its suggestion."""

from __future__ import annotations

import streamlit as st

from cognate_core.config import TrainingConfig, as_text
from cognate_core.errors import CognateError
from cognate_core.insight.charts import View
from cognate_core.insight.rate_finder import rate_chart
from cognate_core.runs import RunManager
from cognate_core.runs.rate_finder import RateSearch
from pages.components.layout import show_refusal, shown
from pages.components.live_charts import Still, still_charts

LOOK_SECONDS = 1.0
WHAT_IT_DOES = (
    "Trains this model on this data for about a minute while the rate grows, and draws the loss over the rate. A slow "
    "model takes longer; data that no run has prepared is prepared first. The result is only a guide: a run's length "
    "and how its rate falls matter, too."
)


def rate_finder(manager: RunManager, config: TrainingConfig | None, key: str) -> None:
    """The button and the last search's result. `key`: of the field to fill."""
    search = manager.rate_finder.state
    going = search is not None and not search.ended
    if st.button(
        "Find a learning rate",
        icon=":material/query_stats:",
        help=WHAT_IT_DOES,
        disabled=going or config is None or bool(manager.read_only),
        key="find_rate",
    ):
        try:
            if config is not None:
                manager.rate_finder.start(config)
        except CognateError as error:
            show_refusal(error)
        else:
            st.rerun()
    if search is None:
        return
    if going:
        st.fragment(_progress, run_every=LOOK_SECONDS)(manager)
    elif config is not None and search.is_of(config):
        _found(search, key)
    elif config is not None:
        st.caption("The last search used other settings.")


def _progress(manager: RunManager) -> None:
    """The search's progress, refreshed until it has ended."""
    search = manager.rate_finder.state
    if search is None or search.ended:
        st.rerun()
    st.progress(len(search.rates) / max(1, search.planned), shown(search.now))
    if search.rates:
        _chart(search, None)
    if st.button("Cancel the search", icon=":material/close:", disabled=bool(manager.read_only), key="cancel_rate"):
        manager.rate_finder.cancel()
        st.rerun()


def _found(search: RateSearch, key: str) -> None:
    """The curve and the suggestion, or why there is none."""
    if search.problem:
        st.error(shown(search.problem), icon=":material/error:")
    if search.rates:
        _curve(search, key)
    for note in search.notes:
        st.caption(shown(note))


def _curve(search: RateSearch, key: str) -> None:
    suggestion = search.suggestion
    _chart(search, suggestion)
    steps = f"{len(search.rates)} steps in {search.seconds:.0f} s"
    if suggestion is None:
        why = "the loss did not clearly fall at any rate" if search.complete else "the search did not finish"
        st.caption(f"{steps}: {why}, so nothing is suggested.")
        return
    rate = float(f"{suggestion:.1e}")  # more digits would suggest false precision
    st.button(f"Use {as_text(rate)}", icon=":material/check:", key="use_rate", on_click=_fill, args=(key, rate))
    st.caption(
        f"{steps}. The suggestion is a tenth of the rate with the lowest loss. It is only a guide: try rates around it "
        "in full runs, too."
    )


def _chart(search: RateSearch, suggestion: float | None) -> None:
    view = View(dark=st.context.theme.type == "dark")
    figure = rate_chart(search.rates, search.losses, suggestion, view)
    alt = "The loss after a step at each learning rate"
    still_charts([Still("Loss by learning rate", "", alt, figure)], "rate-curve")


def _fill(key: str, rate: float) -> None:
    st.session_state[key] = as_text(rate)

"""What a run will need and do, beside the form: size, memory, disk, measured time, and the plan drawn."""

from __future__ import annotations

from typing import Any

import psutil
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cognate_core.config import TrainingConfig
from cognate_core.contracts import TimeEstimate
from cognate_core.errors import CognateError
from cognate_core.insight.charts import View
from cognate_core.insight.estimates import Estimate, estimate
from cognate_core.insight.glossary import explained
from cognate_core.insight.plan import passes_chart, schedule_chart
from cognate_core.insight.words import compact, duration, size
from cognate_core.runs import RunManager
from pages.components.layout import show_refusal


def show_needs(place: DeltaGenerator, config: TrainingConfig, report: dict[str, Any] | None) -> None:
    """Parameters, memory and disk. Counting loads torch, which takes seconds the first time: the form is up before.

    `report`: of an earlier run with the same data, if there is one. Else the vocabulary may still become smaller.
    """
    fitted = config.fitted(report)
    with place, st.spinner("Counting the parameters"):
        needs = estimate(fitted)
    with place.container():
        known = config.task != "text" or (report is not None and report.get("fitted"))
        why = "" if known else "At most: how many tokens the text makes is known once a run has prepared it."
        if fitted.vocab_size < config.vocab_size:
            why = f"With the {fitted.vocab_size:,} tokens that this text makes; {config.vocab_size:,} are asked for."
        label = "Parameters" if known else "Parameters, at most"
        st.metric(label, compact(needs.parameters["total"]), help=explained("parameters", why))
        parts = {part: count for part, count in needs.parameters.items() if part != "total"}
        rows = "\n".join(f"| {part.replace('_', ' ')} | {count:,} |" for part, count in parts.items())
        with st.expander("By part"):
            st.markdown(f"| part | numbers |\n| --- | ---: |\n{rows}")
        available = psutil.virtual_memory().available
        left, right = st.columns(2)
        left.metric("Memory, about", size(needs.total_memory_bytes), help=_memory_help(needs))
        right.metric("Disk, at most", size(needs.disk_bytes), help="The finished model and the checkpoints it keeps.")
        if needs.total_memory_bytes > available:
            st.warning(
                f"This computer has {size(available)} of memory free. Choose a smaller batch size, training length or "
                "model, or the run may end with 'out of memory'.",
                icon=":material/memory:",
            )
        else:
            st.caption(f"{size(available)} of memory are free on this computer.")
        st.metric(
            "Text to learn from",
            f"{compact(needs.tokens_per_step * config.max_steps)} tokens",
            help=f"At most {needs.tokens_per_step:,} tokens in each of {config.max_steps:,} steps.",
        )


def _memory_help(needs: Estimate) -> str:
    return "An estimate. " + ", ".join(f"{what}: {size(count)}" for what, count in needs.memory_bytes.items())


def time_estimate_of(manager: RunManager, config: TrainingConfig, models: int) -> TimeEstimate | None:
    """What was measured for just these settings, and a button to measure it."""
    from cognate_core.runs.time_estimate import measured_time_estimate

    wanted = (config.model_dump_json(), models)
    busy = manager.log.is_busy()
    quoted, kept = st.session_state.get("time_estimate", (None, None))
    time_estimate: TimeEstimate | None = kept if quoted == wanted else None
    if st.button(
        "How long will it take?" if time_estimate is None else "Measure again",
        icon=":material/timer:",
        width="stretch",
        help="Trains the first steps on this computer, for some twenty seconds, and reckons.",
    ):
        try:
            with st.spinner("Rehearsing the first steps"):
                time_estimate = measured_time_estimate(config, models, busy=busy, home=manager.home)
            st.session_state["time_estimate"] = (wanted, time_estimate)
        except CognateError as error:
            show_refusal(error)
    if time_estimate is None:
        st.caption("Time: not measured yet.")
        return None
    st.metric(
        "Time to train",
        f"{duration(time_estimate.low_seconds)} to {duration(time_estimate.high_seconds)}",
        help=_time_estimate_help(time_estimate),
    )
    if time_estimate.missing_data:
        st.caption(f"Without {', '.join(time_estimate.missing_data)}, not on this computer yet: it may take longer.")
    if time_estimate.busy:
        st.caption("Measured while another run was going: it may well be quicker.")
    return time_estimate


def _time_estimate_help(time_estimate: TimeEstimate) -> str:
    words = (
        f"{time_estimate.steps_measured} steps took {time_estimate.step_seconds:.2f} s each, with "
        f"{time_estimate.threads} thread(s), and at most {size(time_estimate.memory_bytes)} of memory. Included: "
        "checks, samples, checkpoints and the last check over all held-out text. Not included: fetching and "
        "preparing data."
    )
    quickest = time_estimate.quickest_step_seconds
    if quickest is not None and quickest != time_estimate.step_seconds:
        words += (
            f" A model that learns ponders less and less: a step in which each token is gone over once took "
            f"{quickest:.2f} s, and the shorter time is reckoned with that."
        )
    return words


def show_plan(config: TrainingConfig, report: dict[str, Any] | None) -> None:
    """The learning rate and the passes through the data, as they will be. `report`: as of `show_needs`."""
    view = View(dark=st.context.theme.type == "dark")
    st.markdown("**Learning rate, by step**")
    st.plotly_chart(schedule_chart(config, view), key="plan-rate", config={"displayModeBar": False})
    sequences = known_sequences(report)
    if sequences:
        st.markdown("**How often each text is read (passes)**")
        st.plotly_chart(passes_chart(config, sequences, view), key="plan-passes", config={"displayModeBar": False})
    else:
        st.caption("How often each text is read is known once a run has prepared these data.")


def known_sequences(report: dict[str, Any] | None) -> dict[str, int]:
    """How many sequences each dataset has, by the report of an earlier run with the same data; empty without one."""
    sources = report["sources"] if report else []
    return {source["name"]: source["train_sequences"] for source in sources if source["loaded"]}

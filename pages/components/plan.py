"""What a run needs and does, beside the form: size, memory, disk, measured time, and charts of the plan."""

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
from pages.components.live_charts import Still, still_charts


def show_needs(place: DeltaGenerator, config: TrainingConfig, report: dict[str, Any] | None) -> None:
    """Parameters, memory and disk. Counting loads torch, which takes seconds the first time: the form is drawn before.

    `report`: of an earlier run with the same data, if any. Without it the vocabulary may turn out smaller.
    """
    fitted = config.fitted(report)
    with place, st.spinner("Counting the parameters"):
        needs = estimate(fitted)
    with place.container():
        known = config.task != "text" or (report is not None and report.get("fitted"))
        why = "" if known else "At most: the exact number of tokens is known once a run has prepared the text."
        if fitted.vocab_size < config.vocab_size:
            why = f"With the {fitted.vocab_size:,} tokens that this text yields; the limit is {config.vocab_size:,}."
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
    parts = ", ".join(f"{what}: {size(count)}" for what, count in needs.memory_bytes.items())
    return f"An estimate. With bf16 numbers, activations take half. {parts}"


def time_estimate_of(manager: RunManager, config: TrainingConfig, models: int) -> TimeEstimate | None:
    """The time estimate measured for exactly these settings, and a button to measure it."""
    from cognate_core.runs.time_estimate import measured_time_estimate

    wanted = (config.model_dump_json(), models)
    busy = manager.log.is_busy()
    quoted, kept = st.session_state.get("time_estimate", (None, None))
    time_estimate: TimeEstimate | None = kept if quoted == wanted else None
    if st.button(
        "How long will it take?" if time_estimate is None else "Measure again",
        icon=":material/timer:",
        width="stretch",
        help="Trains the first steps on this computer for about twenty seconds, and estimates the time from them.",
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
        st.caption(
            f"Without {', '.join(time_estimate.missing_data)}, which is not on this computer yet: it may take longer."
        )
    if time_estimate.busy:
        st.caption("Measured during another run: training alone may be faster.")
    return time_estimate


def _time_estimate_help(time_estimate: TimeEstimate) -> str:
    words = (
        f"{time_estimate.steps_measured} steps took {time_estimate.step_seconds:.2f} s each, with "
        f"{time_estimate.threads} thread{'s' if time_estimate.threads > 1 else ''}, and at most "
        f"{size(time_estimate.memory_bytes)} of memory. Included: checks, samples, checkpoints and the last check over "
        "all held-out text. Not included: fetching and preparing data."
    )
    quickest = time_estimate.quickest_step_seconds
    if quickest is not None and quickest != time_estimate.step_seconds:
        words += (
            f" A model ponders less as it learns: a step with one pass over each token took {quickest:.2f} s, which "
            "gives the shorter time."
        )
    return words


def show_plan(config: TrainingConfig, report: dict[str, Any] | None) -> None:
    """Charts of the planned learning rate and passes through the data. `report`: as for `show_needs`."""
    view = View(dark=st.context.theme.type == "dark")
    sequences = known_sequences(report)
    later = "" if sequences else "How often each text is read is known once a run has prepared this data."
    charts = [Still("Learning rate", later, "The learning rate of each step", schedule_chart(config, view))]
    if sequences:
        chart = passes_chart(config, sequences, view)
        charts.append(Still("How often each text is read", "Passes", "Passes through each dataset by step", chart))
    still_charts(charts, key="plan")


def known_sequences(report: dict[str, Any] | None) -> dict[str, int]:
    """How many sequences each dataset has, from the report of an earlier run with the same data; empty without one."""
    sources = report["sources"] if report else []
    return {source["name"]: source["train_sequences"] for source in sources if source["loaded"]}

"""The sweep section of New run: what to vary, the resulting runs, and a time estimate for them.

The address keeps what is typed, as in the form above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import streamlit as st
from pydantic.fields import FieldInfo

from cognate_core.config import TrainingConfig, field_extra, field_range, fields_that
from cognate_core.config.sweep import MAX_RUNS, Sweep
from cognate_core.contracts import TimeEstimate
from cognate_core.errors import ConfigError
from cognate_core.insight.words import duration
from pages.components.layout import shown
from pages.components.tables import settings_columns, table

EVERY, DRAWS = "Every combination", "Random draws"
_SAME_TIME = (  # these do not change how long a step takes
    "learning_rate",
    "warmup_ratio",
    "min_lr_ratio",
    "decay_ratio",
    "weight_decay",
    "beta1",
    "beta2",
    "max_grad_norm",
    "seed",
    "grokfast_alpha",
    "grokfast_lamb",
    "grokfast_keep_step_size",
)


@dataclass(frozen=True, slots=True)
class WantedSweep:
    """What a person wants to try. `sweep`: None while it cannot be started; the form shows why."""

    on: bool
    sweep: Sweep | None = None


def sweep_form(base: TrainingConfig | None) -> WantedSweep:
    """Ask what to vary. `base`: the settings above; None while one of them is invalid."""
    kept: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}
    on = st.toggle(
        "Try several settings",
        key="sweep",
        help="Starts one run for each value, one after the other, to show which is best. Such a group of runs is "
        "called a sweep.",
        **kept,
    )
    if not on:
        return WantedSweep(on=False)
    with st.container(border=True):
        fields = fields_that("sweepable", "text")
        titles = {str(info.title): name for name, info in fields.items()}
        chosen = st.multiselect(
            "Settings to vary",
            list(titles),
            key="sweep_settings",
            placeholder="Choose one or two",
            help="All other settings are as above.",
            **kept,
        )
        way = st.segmented_control(
            "Which runs",
            [EVERY, DRAWS],
            default=EVERY,
            required=True,
            key="sweep_way",
            help=f"{EVERY}: one run for each value, or for each pair of values of two settings.  \n"
            f"{DRAWS}: as many runs as you choose, each with random values. Better for three or more settings.",
            **kept,
        )
        drawn = way == DRAWS
        places, typed = {}, {}
        for title in chosen:
            name = titles[title]
            typed[name] = st.text_input(
                f"{title}: {'values or a range' if drawn else 'values to try'}",
                key=f"sweep.{name}",
                placeholder=_example(name, fields[name], drawn=drawn),
                help=_help(fields[name], drawn=drawn),
                **kept,
            )
            places[name] = st.empty()
        draws = seed = 0
        if drawn:
            left, right = st.columns(2)
            draws = int(left.number_input("Number of runs", 2, MAX_RUNS, 8, key="sweep_runs", **kept))
            seed = int(
                right.number_input(
                    "Seed of the draws",
                    0,
                    2**31 - 1,
                    0,
                    key="sweep_seed",
                    help="The same seed draws the same values.",
                    **kept,
                )
            )
            places["draws"] = st.empty()
        places["sweep"] = st.empty()
        if base is None:
            st.caption("The runs are listed here once all settings above are valid.")
            return WantedSweep(on=True)
        missing = [title for title in chosen if not typed[titles[title]].strip()]
        if missing or not typed:
            st.caption(f"Type the values to try: {', '.join(missing)}." if missing else "Choose settings to vary.")
            return WantedSweep(on=True)
        try:
            sweep = Sweep(base, {}, typed, draws, seed) if drawn else Sweep(base, typed)
        except ConfigError as error:
            for name, sentence in error.problems.items():
                places.get(name, st).error(shown(sentence), icon=":material/error:")
            return WantedSweep(on=True)
        return WantedSweep(True, _listed(sweep, kept))


def _listed(sweep: Sweep, kept: dict[str, Any]) -> Sweep | None:
    """Show the runs and those that cannot be trained. Returns the sweep; None while it cannot be started."""
    left_out = False
    if sweep.contradictions:
        count, every = len(sweep.contradictions), len(sweep.contradictions) + len(sweep.runs)
        st.warning(f"{count} of {every} combinations cannot be trained.", icon=":material/warning:")
        rows, numbers = settings_columns([changes for changes, _ in sweep.contradictions])
        table(
            [{**row, "why": sentence} for row, (_, sentence) in zip(rows, sweep.contradictions, strict=True)],
            column_config=numbers,
        )
        left_out = st.toggle("Skip these", key="sweep_leave_out", **kept)
    if not sweep.runs:
        st.caption("There is nothing left to train. Change the values.")
        return None
    st.markdown(f"**{len(sweep.runs)} run{'s' if len(sweep.runs) > 1 else ''}**, one after the other:")
    rows, numbers = settings_columns([changes for changes, _ in sweep.runs])
    table(rows, column_config=numbers, width="content")
    if "seed" not in sweep.fields:
        st.caption("Vary the seed as well to see how much of a difference is chance.")
    sweep.leave_out = left_out
    return sweep if left_out or not sweep.contradictions else None


def sweep_time(sweep: Sweep, time_estimate: TimeEstimate | None) -> str:
    """The time of all runs in words, from the time estimate for one run with the settings above."""
    count = len(sweep.runs)
    if time_estimate is None:
        return f"All {count} runs: not measured yet."
    slower = [name for name in sweep.fields if name not in _SAME_TIME and name != "max_steps"]
    if slower:
        titles = ", ".join(str(TrainingConfig.model_fields[name].title) for name in slower)
        return f"All {count} runs: unknown, because the time of a run depends on {titles}."
    share = sum(config.max_steps for _, config in sweep.runs) / sweep.base.max_steps
    low, high = duration(time_estimate.low_seconds * share), duration(time_estimate.high_seconds * share)
    return f"All {count} runs, one after the other: {low} to {high}."


def _example(name: str, info: FieldInfo, *, drawn: bool) -> str:
    """A placeholder made from the setting's own example."""
    default = info.get_default(call_default_factory=True)
    if isinstance(default, list):
        return "such as GSM8K; GSM8K, SVAMP"
    if isinstance(default, dict):
        return "such as GSM8K=1, SVAMP=1; GSM8K=2, SVAMP=1"
    if isinstance(default, bool):
        return "on, off"
    if isinstance(default, str):
        return f"such as {', '.join(get_args(info.annotation)[:2])}"
    if name == "seed":
        return "such as 1, 2, 3"
    example = field_extra(info)["example"]
    return f"such as {example} to ..." if drawn else f"such as {example}, ..."


def _help(info: FieldInfo, *, drawn: bool) -> str:
    between = ";" if isinstance(info.get_default(call_default_factory=True), list | dict) else ","
    how = f"Several values, separated by `{between}`."
    if drawn and info.annotation in (int, float):
        how = (
            "A range, such as 1e-4 to 1e-2, or several values separated by commas; one is drawn. In a range that ends "
            "at ten times its start or more, small values are as likely as large ones (drawn by the logarithm)."
        )
    allowed = field_range(info)
    return f"{info.description}  \n{how}" + (f"  \nAllowed: {allowed}." if allowed else "")

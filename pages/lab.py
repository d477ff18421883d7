"""Grokking lab: a race of tiny models that memorise a calculation table and, much later, understand it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import streamlit as st

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS, VARIANTS, Preset, Variant
from cognate_core.contracts import RunStatus
from cognate_core.errors import CognateError, ConfigError
from cognate_core.insight.glossary import explained
from cognate_core.insight.grokking import grokked_at, known_by_heart_at
from cognate_core.insight.words import duration
from cognate_core.runs import RunManager, current_manager, numbered_names
from cognate_core.runs.rate_finder import NOT_IN_THE_LAB
from cognate_core.storage.curves import read_curves
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import Run
from pages.components.config_form import SIGNS, ConfigForm
from pages.components.layout import page_called, page_header, run_link, show_refusal, shown, status_badge, told_apart
from pages.components.live_charts import MOST_COMPARED, live_comparison
from pages.components.run_actions import act
from pages.components.step_dialog import step_dialog

OWN = "own"
PROBLEM = ("arithmetic_operation", "arithmetic_modulus", "arithmetic_train_share", "max_steps", "seed")
OWN_SETTINGS = (
    "grokfast_enabled",
    "grokfast_method",
    "grokfast_alpha",
    "grokfast_lamb",
    "grokfast_window",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "batch_size",
    "d_model",
    "n_layers",
    "n_heads",
    "stable_max",
    "orthogonal_gradient",
)
STANDINGS_SECONDS = 3.0


def preset_of_address(log: ProgressLog) -> Preset:
    """The lab's preset, or the settings of the run that the address names."""
    preset = PRESETS["grokking"]
    named = st.query_params.get("from")
    if named is None:
        return preset
    try:
        run = log.run(named)
        config = run.config.with_overrides({"output_dir": preset.config.output_dir})
    except CognateError as error:
        st.warning(shown(str(error)), icon=":material/warning:")
        return preset
    if config.task != "arithmetic":
        return preset
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Your own variant uses the settings of", width="content")
        run_link(run)
    return Preset(f"{run.id}-lab", preset.title, "", "", config)


def race_form(manager: RunManager) -> None:
    """The problem, the variants, and the start button."""
    preset = preset_of_address(manager.log)
    form = ConfigForm(preset)
    variants = {name: variant.title for name, variant in VARIANTS.items()} | {OWN: "Your own variant"}
    first = ["grokfast", "control"] + [OWN] * (preset.name not in PRESETS)
    chosen = st.pills(
        "Variants",
        list(variants),
        selection_mode="multi",
        default=first,
        format_func=variants.__getitem__,
        help="All start from the same weights and read the same problems. To see what the filter does, compare two "
        "with the same weight decay.  \n"
        + "  \n".join(f"**{variant.title}**: {variant.explanation}" for variant in VARIANTS.values()),
        key=f"variants-{preset.name}",
    )
    form.some(PROBLEM)
    if OWN in chosen:
        with st.container(border=True):
            st.markdown("**Your own variant**")
            form.some(OWN_SETTINGS)
            if form.rate_place is not None:
                form.rate_place.caption(NOT_IN_THE_LAB)
    pressed = st.button(
        "Start the race",
        type="primary",
        icon=":material/flag:",
        disabled=bool(manager.read_only) or not chosen,
    )
    if not chosen:
        st.caption("Choose at least one variant.")
    try:
        racing = {variants[name]: _config(preset, form, VARIANTS.get(name)) for name in chosen}
    except ConfigError as error:
        form.show_problems(error.problems)
        return
    if pressed:
        start_race(manager, racing)


def _config(preset: Preset, form: ConfigForm, variant: Variant | None) -> TrainingConfig:
    """The settings of a known variant, or of the person's own (`variant` None). Raises ConfigError."""
    if variant is None:
        return preset.config.with_overrides(form.values)
    problem = {name: form.values[name] for name in PROBLEM}
    return PRESETS["grokking"].config.with_overrides({**problem, **variant.overrides})


def start_race(manager: RunManager, racing: Mapping[str, TrainingConfig]) -> None:
    """Start a run for each variant. A double click starts one race: both clicks send the same keys."""
    key = st.session_state.setdefault("race_key", uuid.uuid4().hex)
    ids = []
    try:
        for title, config in racing.items():
            sign = SIGNS[config.arithmetic_operation]
            name = f"{title}, {sign} mod {config.arithmetic_modulus}, seed {config.seed}"
            ids.append(manager.start(config, name, numbered_names(title, 1), f"{key}-{title}"))
    except CognateError as error:
        show_refusal(error)
        return
    st.session_state["race_key"] = uuid.uuid4().hex
    st.switch_page(page_called("lab"), query_params={"runs": ",".join(ids)})


def chosen_runs(runs: dict[str, Run]) -> list[Run]:
    """The runs that the address names; else the newest runs with the newest run's problem."""
    addressed = [each for each in st.query_params.get("runs", "").split(",") if each]
    named = [each for each in addressed if each in runs]
    if len(named) < len(addressed):
        st.warning("A run in this address is not in the lab. It may have been deleted.", icon=":material/warning:")
    if not named and runs:
        newest = next(iter(runs.values()))
        named = [run.id for run in runs.values() if _problem(run) == _problem(newest)][: len(VARIANTS)][::-1]
    return [runs[each] for each in dict.fromkeys(named)][:MOST_COMPARED]


def _problem(run: Run) -> tuple[Any, ...]:
    config = run.config
    return config.arithmetic_operation, config.arithmetic_modulus, config.arithmetic_train_share


def standings(manager: RunManager, run_ids: list[str]) -> None:
    """Which variants have grokked, when, and how far the others are."""
    runs = [manager.log.run(run_id) for run_id in run_ids]
    if [run.status for run in runs] != st.session_state["drawn_statuses"]:
        st.rerun()  # the whole page: a variant started or ended
    for run in runs:
        with st.container(horizontal=True, vertical_alignment="center"):
            run_link(run)
            status_badge(run.status)
            st.markdown(standing(manager.log, run), width="content")
            if run.status is RunStatus.TRAINING and st.button(
                "Stop and save", icon=":material/stop_circle:", key=f"stop-{run.id}", disabled=bool(manager.read_only)
            ):
                act(manager.stop, run.id)


def standing(log: ProgressLog, run: Run) -> str:
    """One variant in words."""
    if run.error:
        return shown(run.error)
    name = run.model_names[0]
    checks = [row for row in log.evaluations(run.id, model_name=name) if row["accuracy"] is not None]
    if not checks:
        return shown(run.message) if run.status.is_going else "nothing was measured"
    parts = [f"step {run.step:,} of {run.total_steps:,}"]
    by_heart = known_by_heart_at(*read_curves(log.path, run.id, name).lines["accuracy"])
    parts.append(f"by heart at step {by_heart:,}" if by_heart else "not yet by heart")
    understood = grokked_at(checks)
    if understood is None:
        parts.append(f"{checks[-1]['accuracy']:.1%} of the unseen problems right, **not grokked yet**")
    else:
        row = log.metrics_near(run.id, name, understood)
        after = f" after {duration(row['elapsed_seconds'])}" if row else ""
        parts.append(f"**grokked at step {understood:,}**{after}")
    return ", ".join(parts)


def what_is_this() -> None:
    """Grokking in plain words, and what it does not prove."""
    with st.expander("What you see here"):
        st.markdown(
            "The model learns from half of all problems and their answers. It soon knows those by heart, but does no "
            "better than chance on the other half. Much later, within a few hundred steps, it gets the unseen half "
            "right, too: it has found the rule. This is called **grokking** (arXiv 2201.02177).\n\n"
            "**GrokFast** (arXiv 2405.20233) amplifies the slow part of the gradient and makes this happen sooner. The "
            "published factor of fifty is relative to a run without weight decay; the fair comparison is the variant "
            "with the same weight decay and no filter. One seed proves little: try several.\n\n"
            "The dotted lines are published figures of one seed each. Results on this small table say nothing about "
            "language models."
        )


manager = current_manager()
page_header(
    "Grokking lab",
    "Tiny models learn half of a calculation table by heart. Then, suddenly, they understand the other half.",
)
lab_runs = {run.id: run for run in manager.log.runs() if run.config.task == "arithmetic"}
shown_runs = chosen_runs(lab_runs)
what_is_this()
if not shown_runs:
    race_form(manager)
else:
    # Set before the standings are drawn, so that they do not rerun the page on its first drawing.
    st.session_state["drawn_statuses"] = [run.status for run in shown_runs]
    going = any(run.status.is_going for run in shown_runs)
    st.fragment(standings, run_every=STANDINGS_SECONDS if going else None)(manager, [run.id for run in shown_runs])
    clicked = live_comparison(manager, shown_runs, "Grokking lab").step
    if clicked is not None and 0 <= clicked["line"] < len(shown_runs):
        run = shown_runs[clicked["line"]]
        step_dialog(manager, run, run.model_names[0], clicked["step"])
    st.subheader("Another race", anchor=False)
    race_form(manager)
    if len(lab_runs) > 1:
        with st.expander("Show other runs of the lab"):
            picked = st.multiselect(
                "Runs",
                list(lab_runs),
                [run.id for run in shown_runs],
                format_func=told_apart({run.id: f"{run.name} ({run.id[:4]})" for run in lab_runs.values()}).__getitem__,
                max_selections=MOST_COMPARED,
                help=explained("grokking"),
            )
            if picked and picked != [run.id for run in shown_runs]:
                st.query_params["runs"] = ",".join(picked)
                st.rerun()

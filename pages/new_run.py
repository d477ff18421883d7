"""New run: choose a preset, change what you like, see what it will need, and start."""

import uuid
from pathlib import Path

import psutil
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.errors import CognateError, ConfigError, DataError
from cognate_core.insight.estimates import Estimate, estimate
from cognate_core.insight.glossary import explained
from cognate_core.insight.words import compact, size
from cognate_core.presets import PRESETS, Preset
from cognate_core.runs import MAX_MODELS, RunManager, current_manager, numbered_names
from pages.components.config_form import ConfigForm
from pages.components.layout import PAGES, page_header, shown
from pages.components.own_files import file_field, find_own_file, keep, usable_rows


def choose_preset() -> Preset:
    """The preset that the address names, or the first; a change is kept in the address."""
    chosen = st.segmented_control(
        "Preset",
        list(PRESETS),
        default=next(iter(PRESETS)),
        required=True,
        format_func=lambda name: PRESETS[name].title,
        key="preset",
        bind="query-params",
        persist_state="session",
    )
    preset = PRESETS[chosen or next(iter(PRESETS))]
    st.caption(f"{preset.summary} {preset.expectation}")
    return preset


def own_file(home: Path, top: DeltaGenerator) -> str | None:
    """A file that the person uploads here, or the one that the address names, which is said at the top of the form.

    Raises:
        DataError: it cannot be trained on, or is not there.
    """
    uploaded = file_field(
        "Or a file of your own (optional)",
        help="Used instead of the datasets above. JSONL, CSV or Parquet with the columns question and answer "
        "(or text), or a plain text file.",
    )
    named = st.query_params.get("own_file")
    if uploaded is not None:
        file, place = keep(uploaded, home), st.container()
    elif named is not None:
        file, place = find_own_file(home, named), top
    else:
        return None
    rows = usable_rows(str(file.path))
    place.info(
        f"{shown(file.label)}: {rows:,} usable rows. They are used instead of the datasets.",
        icon=":material/description:",
    )
    return str(file.path)


def show_estimate(place: DeltaGenerator, config: TrainingConfig) -> None:
    """Parameters and memory. Counting loads torch, which takes seconds the first time: the form is up before."""
    with place, st.spinner("Counting the parameters"):
        needs = estimate(config)
    with place.container():
        st.metric("Parameters", compact(needs.parameters["total"]), help=explained("parameters"))
        parts = {part: count for part, count in needs.parameters.items() if part != "total"}
        rows = "\n".join(f"| {part.replace('_', ' ')} | {count:,} |" for part, count in parts.items())
        st.markdown(f"| part | numbers |\n| --- | ---: |\n{rows}")
        available = psutil.virtual_memory().available
        st.metric("Memory, about", size(needs.total_memory_bytes), help=_memory_help(needs))
        if needs.total_memory_bytes > available:
            st.warning(
                f"This computer has {size(available)} free. Choose a smaller batch size, training length or model, "
                "or the run may end with 'out of memory'.",
                icon=":material/memory:",
            )
        else:
            st.caption(f"{size(available)} are free on this computer.")
        st.metric(
            "Text to learn from",
            f"{compact(needs.tokens_per_step * config.max_steps)} tokens",
            help=f"At most {needs.tokens_per_step:,} tokens in each of {config.max_steps:,} steps.",
        )


def _memory_help(needs: Estimate) -> str:
    return "An estimate. " + ", ".join(f"{what}: {size(count)}" for what, count in needs.memory_bytes.items())


def start(manager: RunManager, config: TrainingConfig, name: str, model_count: int) -> None:
    """Start the run and go to it. Pressing twice starts one: both presses carry the same key."""
    key = st.session_state.setdefault("start_key", uuid.uuid4().hex)
    run_id = manager.start(config, name, numbered_names(name, model_count), start_key=key)
    st.session_state["start_key"] = uuid.uuid4().hex  # this press is done; the next one is another run
    st.switch_page(PAGES["monitor"], query_params={"run": run_id})


manager = current_manager()
page_header("New run", "Choose what the model reads and how it learns. Every setting has a sensible start.")
preset = choose_preset()
form_column, summary_column = st.columns([2, 1], gap="large")
form = ConfigForm(preset)
with form_column:
    name = st.text_input("Name", preset.title, help="So that you find the run again.", key="run_name", max_chars=200)
    top = st.container()
    form.simple()
    file_problem = None
    try:
        form.values["dataset_path"] = own_file(manager.home, top)
    except DataError as error:
        file_problem = str(error)
        (top if "own_file" in st.query_params else st).error(shown(file_problem), icon=":material/error:")
    if "own_file" in st.query_params and top.button("Use the datasets instead", icon=":material/close:"):
        del st.query_params["own_file"]
        st.rerun()
    model_count = st.number_input(
        "Models",
        min_value=1,
        max_value=MAX_MODELS,
        value=1,
        help="Several models learn the same from different random starts, one after the other.",
    )
    with st.expander("All settings"):
        form.advanced()
config = None
try:
    config = TrainingConfig.from_values(form.values)
except ConfigError as error:
    with form_column:
        form.show_problems(error.problems)
if file_problem:
    config = None
with summary_column, st.container(border=True):
    pressed = st.button(
        "Start training",
        type="primary",
        icon=":material/play_arrow:",
        disabled=config is None or bool(manager.read_only),
        width="stretch",
    )
    if config is None:
        st.caption("One or more settings need your attention before training can start.")
    elif any(run.status in (RunStatus.PREPARING, RunStatus.TRAINING) for run in manager.log.runs()):
        st.caption("Another run is going. This one will wait for its turn.")
    place = st.empty()
if pressed and config is not None:
    try:
        start(manager, config, name, int(model_count))
    except CognateError as error:
        st.error(shown(str(error)), icon=":material/error:")
if config is not None:
    with form_column:
        for doubt in config.doubts():
            st.warning(doubt, icon=":material/warning:")
    show_estimate(place, config)

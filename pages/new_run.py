"""New run: choose a starting point, change settings, see what the run needs, and start it."""

import shlex
import uuid
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cognate_core.config import TrainingConfig, as_text
from cognate_core.config.presets import PRESETS, Preset
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import Origin, TimeEstimate
from cognate_core.contracts.json_lines import report_from_json
from cognate_core.data.uploads import Upload, find_upload, usable_rows
from cognate_core.errors import CognateError, ConfigError
from cognate_core.extras import require_installed
from cognate_core.runs import MAX_MODELS, RunManager, current_manager, known_report, numbered_names
from pages.components.config_form import HIDDEN_FIELDS, ConfigForm
from pages.components.fitting_length import warn_of_long_rows
from pages.components.layout import page_called, page_header, show_refusal, shown
from pages.components.plan import show_needs, show_plan, time_estimate_of
from pages.components.rate_finder import rate_finder
from pages.components.starting_point import open_settings, starting_point
from pages.components.sweep_form import sweep_form, sweep_time
from pages.components.uploads import file_field, keep_uploaded


def upload(home: Path, top: DeltaGenerator) -> Upload | None:
    """A file uploaded here or named in the address (noted at the top of the form); None without one.

    Raises:
        CognateError: the file cannot be used or saved, or is missing.
    """
    uploaded = file_field("Or files of your own (optional)")
    named = st.query_params.get("upload")
    if uploaded:
        file, place = keep_uploaded(uploaded, home), st.container()
    elif named is not None:
        file, place = find_upload(home, named), top
    else:
        return None
    rows = usable_rows(file) if file.rows is None else file.rows
    place.info(
        f"{shown(file.label)}: {rows:,} usable rows, used instead of the datasets.",
        icon=":material/description:",
    )
    return file


def command(preset: Preset, config: TrainingConfig, name: str, model_count: int) -> str:
    """The terminal command that does the same."""
    named = f"--name {shlex.quote(name)}" + (f" --models {model_count}" if model_count > 1 else "")
    if preset.name not in PRESETS:
        return f"cognate train settings.toml {named}"
    different = {
        field: value
        for field, value in config
        if field not in HIDDEN_FIELDS and value != getattr(preset.config, field, value)
    }
    file = f"{preset.name}.toml"
    changes = [f"--set {shlex.quote(f'{field}={as_text(value)}')}" for field, value in different.items()]
    if config.dataset_path:
        changes.append(f"--set dataset_path={shlex.quote(config.dataset_path)}")
    return " \\\n    ".join([f"cognate presets {preset.name} > {file}\ncognate train {file} {named}", *changes])


def keep_settings(home: Path, preset: Preset, config: TrainingConfig | None, name: str, model_count: int) -> None:
    """Save the settings as a file, open such a file, or copy the equivalent command."""
    with st.expander("Save or open settings, or run them as a command"):
        if config is not None:
            st.download_button(
                "Save these settings (TOML)",
                config.to_toml(),
                file_name="settings.toml",
                icon=":material/download:",
                on_click="ignore",
            )
            st.caption("The same as a command" + ("" if preset.name in PRESETS else ", next to the saved file:"))
            st.code(command(preset, config, name, model_count), language=None, wrap_lines=True)
        open_settings(home)


def start(
    manager: RunManager,
    config: TrainingConfig,
    name: str,
    model_count: int,
    origin: Origin | None,
    time_estimate: TimeEstimate | None,
) -> None:
    """Start the run and open it. A double click starts one run: both clicks send the same key."""
    key = st.session_state.setdefault("start_key", uuid.uuid4().hex)
    run_id = manager.start(config, name, numbered_names(name, model_count), key, origin, time_estimate)
    st.session_state["start_key"] = uuid.uuid4().hex  # the next click starts another run
    st.switch_page(page_called("monitor"), query_params={"run": run_id})


def start_all(manager: RunManager, sweep: Sweep, name: str, origin: Origin | None) -> None:
    """Start the runs of a sweep and open Compare. The key works as for one run."""
    key = st.session_state.setdefault("start_key", uuid.uuid4().hex)
    group_id, _ = manager.start_sweep(sweep, name, key, origin)
    st.session_state["start_key"] = uuid.uuid4().hex
    st.switch_page(page_called("compare"), query_params={"group": group_id})


manager = current_manager()
page_header("New run", "Choose what the model reads and how it learns.")
point = starting_point(manager)
preset = point.preset
form_column, summary_column = st.columns([2, 1], gap="large")
form = ConfigForm(preset)
with form_column:
    name = st.text_input(
        "Name",
        preset.title,
        help="Helps you find the run again.",
        max_chars=200,
        key=f"{preset.name}.name",
        bind="query-params",
        persist_state="session",
    )
    top = st.container()
    form.simple()
    own, file_problem = None, None
    try:
        own = upload(manager.home, top)
        form.values["dataset_path"] = str(own.path) if own else None
    except CognateError as error:
        file_problem = str(error)
        (top if "upload" in st.query_params else st).error(shown(file_problem), icon=":material/error:")
    if "upload" in st.query_params and top.button("Use the datasets instead", icon=":material/close:"):
        del st.query_params["upload"]
        st.rerun()
    models_place = st.container()
    with st.expander("All settings"):
        form.advanced()
config = None
try:
    typed = TrainingConfig.from_values(form.values)
    typed = own.read_by_run(typed) if own else typed
    require_installed(typed)
    config = typed
except ConfigError as error:
    with form_column:
        form.show_problems(error.problems)
if file_problem:
    config = None
if form.rate_place is not None:
    with form.rate_place:
        rate_finder(manager, config, f"{preset.name}.learning_rate")
with form_column:
    wanted = sweep_form(config)
with models_place:
    model_count = st.number_input(
        "Models",
        min_value=1,
        max_value=MAX_MODELS,
        value=1,
        disabled=wanted.on,
        key="model_count",
        bind="query-params",
        persist_state="session",
        help="Trains several models on the same data, one after the other, each from a different random start. In a "
        "sweep each run has one model: vary the seed for different starts.",
    )
model_count = 1 if wanted.on else int(model_count)
sweep = wanted.sweep
ready = config is not None and (sweep is not None or not wanted.on)
with summary_column, st.container(border=True):
    pressed = st.button(
        f"Start {len(sweep.runs)} runs" if sweep else "Start training",
        type="primary",
        icon=":material/play_arrow:",
        disabled=not ready or bool(manager.read_only),
        width="stretch",
    )
    if not ready:
        st.caption("One or more settings need your attention before training can start.")
    elif manager.log.is_busy():
        st.caption("Another run is in progress. This one will be queued.")
    report = known_report(manager.log, config) if config is not None else None
    if config is not None:
        for warning in [*config.warnings(), *(report_from_json(report).warnings() if report else [])]:
            st.warning(warning, icon=":material/warning:")
        if config.dataset_path:
            warn_of_long_rows(config, manager.home, preset.name)
    time_estimate = time_estimate_of(manager, config.fitted(report), model_count) if config is not None else None
    if sweep:
        st.caption(sweep_time(sweep, time_estimate))
        st.caption("The figures below are for one run with the settings above. Each run takes up disk space.")
    place = st.empty()
    if config is not None:
        show_plan(config, report)
if pressed and config is not None and ready:
    try:
        if sweep:
            start_all(manager, sweep, name, point.origin)
        else:
            start(manager, config, name, model_count, point.origin, time_estimate)
    except CognateError as error:
        show_refusal(error)
with form_column:
    keep_settings(manager.home, preset, config, name, model_count)
if config is not None:
    show_needs(place, config, report)
    manager.prepare_worker()

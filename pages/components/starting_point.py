"""Where a new run's settings come from: a preset, another run, or a saved file. The address names it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from cognate_core.config import TrainingConfig, as_text, form_fields, parse_setting, used_fields
from cognate_core.config.presets import PRESETS, Preset
from cognate_core.contracts import Origin, Relation
from cognate_core.errors import CognateError, ConfigError
from cognate_core.files import replace_durably
from cognate_core.runs import RunManager, name_after
from pages.components.config_form import HIDDEN_FIELDS
from pages.components.layout import page_called, run_link, shown

SETTINGS = "settings"  # folder for opened files, in the data folder
MOST_LETTERS = 100_000  # characters of such a file
_KEY = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """The form's initial settings. `origin`: the run that they come from."""

    preset: Preset
    origin: Origin | None = None


def starting_point(manager: RunManager) -> StartingPoint:
    """The starting point in the address; a preset if it names none, or (with a warning) one that does not exist."""
    try:
        if "from" in st.query_params:
            return _of_a_run(manager, st.query_params["from"], st.query_params.get("change", ""))
        if "settings" in st.query_params:
            return _of_a_file(manager.home, st.query_params["settings"])
    except CognateError as error:
        st.warning(shown(str(error)), icon=":material/warning:")
        for name in ("from", "change", "settings"):
            st.query_params.pop(name, None)
    return StartingPoint(_chosen_preset())


def open_settings(home: Path) -> None:
    """A field to open settings saved here or by `cognate presets`."""
    file = st.file_uploader("Open saved settings (TOML)", type=["toml"], key="settings_file", max_upload_size=1)
    if file is None or st.session_state.get("opened_settings") == file.file_id:
        return
    try:
        text = file.getvalue().decode("utf-8")
        if len(text) > MOST_LETTERS:
            raise ConfigError({"toml": "The file is too long to be a settings file. Choose another."})
        TrainingConfig.from_toml(text)
    except UnicodeDecodeError:
        st.error("This is not a text file. Choose a TOML file with settings.", icon=":material/error:")
        return
    except ConfigError as error:
        for sentence in error.problems.values():
            st.error(shown(sentence), icon=":material/error:")
        return
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = home / SETTINGS
    folder.mkdir(exist_ok=True)
    replace_durably(folder / f"{key}.toml", text.encode())
    st.session_state["opened_settings"] = file.file_id  # the field keeps the file while its settings are edited
    _go_to({"settings": key})


def _chosen_preset() -> Preset:
    """The preset that the address names, else the first. A change is kept in the address."""
    names = [name for name, preset in PRESETS.items() if preset.config.task == "text"]  # the lab has its own page
    chosen = st.segmented_control(
        "Preset",
        names,
        default=names[0],
        required=True,
        format_func=lambda name: PRESETS[name].title,
        key="preset",
        bind="query-params",
        persist_state="session",
    )
    preset = PRESETS[chosen or names[0]]
    st.caption(f"{preset.summary} {preset.expectation}")
    return preset


def _of_a_run(manager: RunManager, run_id: str, changes_text: str) -> StartingPoint:
    run = manager.log.run(run_id)
    if run.config.task == "arithmetic":
        st.switch_page(page_called("lab"), query_params={"from": run_id})
    changes = _changes(changes_text)
    config = run.config.with_overrides({**changes, "output_dir": TrainingConfig().output_dir})
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("The settings of", width="content")
        run_link(run)
        if changes:
            fields = form_fields()
            words = ", ".join(f"{fields[name].title}: {as_text(value)}" for name, value in changes.items())
            st.caption(f"with {shown(words)}", width="content")
        if st.button("Start from a preset instead", icon=":material/close:"):
            _go_to({})
    relation: Relation = "fix" if changes else "copy"
    key = hashlib.sha256(changes_text.encode()).hexdigest()[:6] if changes else "copy"
    preset = Preset(f"{run.id}-{key}", name_after(run.name, " (fixed)" if changes else " (again)"), "", "", config)
    return StartingPoint(preset, Origin(run.id, relation))


def _changes(text: str) -> dict[str, Any]:
    """The setting changes in an address, such as "learning_rate=0.001;max_steps=500".

    Raises:
        ConfigError: one is not a setting of this page, or has an invalid value.
    """
    changes: dict[str, Any] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, sign, given = (each.strip() for each in part.partition("="))
        if not sign:
            raise ConfigError({"change": f"The address must change settings as in max_steps=500; got {part!r}."})
        field, value = parse_setting(name, given)
        if field in HIDDEN_FIELDS or field not in used_fields("text"):
            raise ConfigError({name: f"The address cannot change {name}: this page has no such setting."})
        if field in changes:
            raise ConfigError({name: f"The address changes {name} twice. Leave one of them out."})
        changes[field] = value
    return changes


def _of_a_file(home: Path, key: str) -> StartingPoint:
    path = home / SETTINGS / f"{key}.toml"
    if not _KEY.fullmatch(key) or not path.is_file():
        raise ConfigError({"settings": "The settings in this address were not found. Open their file again."})
    config = TrainingConfig.from_toml(path.read_text(encoding="utf-8"))
    if config.task == "arithmetic":
        raise ConfigError({"settings": "These settings are for the Grokking lab. Use them with `cognate train`."})
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("The settings of the file that you opened.")
        if st.button("Start from a preset instead", icon=":material/close:"):
            _go_to({})
    return StartingPoint(Preset(key, "My settings", "", "", config))


def _go_to(query: dict[str, str]) -> None:
    """Reopen New run with only this in its address."""
    st.switch_page(page_called("new_run"), query_params=query)

"""The form for a TrainingConfig, made from the config's own titles, help, ranges and choices.

Numbers are typed as text: the config's own error can then appear below the field. The address keeps what was typed,
also after a change of page or a reload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic.fields import FieldInfo
from streamlit.delta_generator import DeltaGenerator

from cognate_core.config import DATASETS, TRACKERS, as_text, field_extra, field_range, form_fields
from cognate_core.config.presets import Preset
from cognate_core.extras import install_command
from pages.components.layout import shown

SIGNS = {"*": "×", "+": "+", "-": "−", "/": "÷"}
HIDDEN_FIELDS = ("output_dir", "dataset_path")  # the studio chooses the folder; files are uploaded


class ConfigForm:
    """Draws the fields and keeps the typed value and the place for an error of each."""

    def __init__(self, preset: Preset) -> None:
        self._preset = preset
        self.values: dict[str, Any] = {}
        self._error_places: dict[str, DeltaGenerator] = {}
        self.rate_place: DeltaGenerator | None = None  # below the learning rate

    def simple(self) -> None:
        """Draw the few settings that most people want."""
        fields = _fields(simple=True)
        self._field("dataset_sources", fields.pop("dataset_sources"))
        toggles = {name: info for name, info in fields.items() if info.annotation is bool}
        numbers = {name: info for name, info in fields.items() if name not in toggles}
        self._grid(numbers)
        for name, info in toggles.items():
            self._field(name, info)

    def advanced(self) -> None:
        """Draw all other settings, by section."""
        fields = _fields(simple=False)
        sections = dict.fromkeys(field_extra(info)["section"] for info in fields.values())
        for tab, section in zip(st.tabs(list(sections)), sections, strict=True):
            with tab:
                self._grid({n: info for n, info in fields.items() if field_extra(info)["section"] == section})

    def some(self, names: Sequence[str]) -> None:
        """Draw only these settings."""
        fields = form_fields()
        self._grid({name: fields[name] for name in names})

    def show_problems(self, problems: Mapping[str, str]) -> None:
        """Show each error below its field; errors without a field appear where this is called."""
        for name, sentence in problems.items():
            place = self._error_places.get(name)
            (place or st).error(shown(sentence), icon=":material/error:")

    def _grid(self, fields: Mapping[str, FieldInfo]) -> None:
        items = list(fields.items())
        for start in range(0, len(items), 2):  # row by row, for the Tab key and narrow screens
            for column, (name, info) in zip(st.columns(2), items[start : start + 2], strict=False):
                with column:
                    self._field(name, info)

    def _field(self, name: str, info: FieldInfo) -> None:
        default, title = getattr(self._preset.config, name), str(info.title)
        key = f"{self._preset.name}.{name}"
        remembered: dict[str, Any] = {"key": key, "bind": "query-params", "persist_state": "session"}
        if name == "dataset_sources":
            self.values[name] = st.pills(
                title,
                list(DATASETS),
                selection_mode="multi",
                default=default,
                help="  \n".join(f"**{name}**: {dataset.description}" for name, dataset in DATASETS.items()),
                **remembered,
            )
        elif name == "trackers":
            self.values[name] = st.pills(
                title,
                list(TRACKERS),
                selection_mode="multi",
                default=default,
                format_func=TRACKERS.__getitem__,
                help=info.description,
                **remembered,
            )
            _show_what_installs(self.values[name])
        elif info.annotation is bool:
            self.values[name] = st.toggle(title, default, help=info.description, **remembered)
        elif get_origin(info.annotation) is Literal:
            options = list(get_args(info.annotation))
            self.values[name] = st.segmented_control(
                title,
                options,
                default=default,
                required=True,
                format_func=lambda option: SIGNS.get(option, option),
                help=info.description,
                **remembered,
            )
            if name == "engine":
                _show_what_installs([self.values[name]])
        else:
            self.values[name] = st.text_input(_label(info), as_text(default), help=_help(info), **remembered).strip()
        self._error_places[name] = st.empty()
        if name == "learning_rate":
            self.rate_place = st.container()


def _fields(*, simple: bool) -> dict[str, FieldInfo]:
    return {
        name: info
        for name, info in form_fields().items()
        if name not in HIDDEN_FIELDS
        and field_extra(info)["simple"] is simple
        and field_extra(info)["section"] != "Grokking lab"  # it has its own page
    }


def _show_what_installs(chosen: Sequence[str]) -> None:
    """Show the install command to copy: the error below escapes its characters invisibly."""
    command = install_command(chosen)
    if command:
        st.code(command, language=None)


def _label(info: FieldInfo) -> str:
    unit = field_extra(info)["unit"]
    return f"{info.title} ({unit})" if unit else str(info.title)


def _help(info: FieldInfo) -> str:
    allowed = field_range(info)
    return f"{info.description}" + (f"  \nAllowed: {allowed}." if allowed else "")

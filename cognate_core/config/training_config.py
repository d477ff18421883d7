"""TrainingConfig: every setting of a training run.

The single source for the form, the command line, the TOML files and the documentation. It does not depend on tensors,
files or pages.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema

from cognate_core.config import rules
from cognate_core.config.fields.checking import CheckingSettings
from cognate_core.config.fields.data import DataSettings
from cognate_core.config.fields.grokfast import GrokFastSettings
from cognate_core.config.fields.lab import LabSettings
from cognate_core.config.fields.memory import MemorySettings
from cognate_core.config.fields.model import ModelSettings
from cognate_core.config.fields.pondering import PonderingSettings
from cognate_core.config.fields.training import OptimizerSettings
from cognate_core.config.fields.workers import WorkerSettings
from cognate_core.config.setting import Task, field_extra
from cognate_core.config.text import no_setting, sentences, toml_text
from cognate_core.errors import ConfigError


class TrainingConfig(  # in the order of the form: pydantic starts with the last base class
    WorkerSettings,
    CheckingSettings,
    LabSettings,
    GrokFastSettings,
    OptimizerSettings,
    MemorySettings,
    PonderingSettings,
    ModelSettings,
    DataSettings,
):
    """Every setting of a run. Immutable; make a changed copy with `with_overrides`."""

    prepared_data: SkipJsonSchema[str | None] = Field(default=None, exclude=True, repr=False)
    """Folder made by the DatasetLoader. Only the service sets it, with `model_copy`."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_service_alone(cls, values: Any) -> Any:
        """Reject prepared_data as an unknown setting: it is not stored with the others."""
        if isinstance(values, Mapping) and "prepared_data" in values:
            raise ValueError(f"prepared_data: {no_setting('prepared_data')}")
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _commas(cls, value: Any, info: ValidationInfo) -> Any:
        """Accept 5,000, as the form itself writes whole numbers, and 0,001, as people in many countries write it.

        Raises:
            ValueError: 1,500 in a field for any number could be either.
        """
        if not isinstance(value, str) or "," not in value:
            return value
        field, text = cls.model_fields[str(info.field_name)], value.strip()
        kinds = (field.annotation, *get_args(field.annotation))
        grouped = re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+", text)
        if float in kinds and re.fullmatch(r"[+-]?\d*,\d+(e[+-]?\d+)?", text, re.IGNORECASE):
            if grouped:
                one, other = text.replace(",", ""), text.replace(",", ".")
                raise ValueError(f"{field.title}: does {text} mean {one} or {other}? Write it without a comma.")
            return text.replace(",", ".")
        return text.replace(",", "") if grouped and {int, float} & set(kinds) else value

    @field_validator("dataset_sources", "trackers", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("dataset_path", "ray_address", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @model_validator(mode="after")
    def _fields_agree(self) -> TrainingConfig:
        rules.refuse_contradictions(self)
        return self

    @property
    def act_epsilon(self) -> float:
        """The paper's epsilon: 1 - the halting threshold."""
        return round(1 - self.act_threshold, 12)

    @property
    def choices(self) -> int:
        """How many tokens the model chooses the next one from."""
        return self.arithmetic_modulus + 2 if self.task == "arithmetic" else self.vocab_size

    def fitted(self, report: Mapping[str, Any] | None) -> TrainingConfig:
        """These settings with the vocabulary of models that learn from the data of `report`.

        Args:
            report: the fields of a DataReport; None before the data is prepared: the vocabulary then stays as set.
        """
        if report is None or not report.get("fitted"):
            return self
        return self.model_copy(update={"vocab_size": report["vocabulary"]})

    def warnings(self) -> list[str]:
        """Sentences about settings that are allowed but probably not intended."""
        return rules.warnings(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Validate `values` (typed, or text as a person types it).

        Raises:
            ConfigError: with a sentence for each invalid field.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(sentences(error, TrainingConfig.model_fields)) from error

    def with_overrides(self, overrides: Mapping[str, Any]) -> TrainingConfig:
        """A copy with `overrides` applied, validated as a whole.

        Raises:
            ConfigError: as for `from_values`.
        """
        current = {name: getattr(self, name) for name in form_fields()}
        if "act_epsilon" in overrides:
            del current["act_threshold"]  # the same under another name
        changed = self.from_values({**current, **overrides})
        return changed.model_copy(update={"prepared_data": self.prepared_data})

    def to_toml(self) -> str:
        """The config as TOML, with an explanation above each setting."""
        return toml_text(dict(self), form_fields())

    @classmethod
    def from_toml(cls, text: str) -> TrainingConfig:
        """Read what `to_toml` wrote, or part of it; missing settings take their defaults.

        Raises:
            ConfigError: the text is not TOML, or a setting is invalid.
        """
        try:
            values = tomllib.loads(text.removeprefix("\ufeff"))  # Windows Notepad's byte order mark
        except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
            raise ConfigError({"toml": f"This is not a readable TOML file: {error}."}) from error
        return cls.from_values(values)


class _EachAlone(TrainingConfig):
    """The settings without the check for contradictions."""

    @model_validator(mode="after")
    def _fields_agree(self) -> _EachAlone:
        return self


def parse_setting(name: str, value: Any) -> tuple[str, Any]:
    """(field, value) of one setting by itself, given typed or as text.

    `TrainingConfig.with_overrides` checks whether it agrees with the other settings.

    Raises:
        ConfigError: there is no such setting, or the value is invalid.
    """
    try:
        alone = _EachAlone.model_validate({name: value})
    except ValidationError as error:
        raise ConfigError(sentences(error, TrainingConfig.model_fields)) from error
    field = "act_threshold" if name == "act_epsilon" else name
    return field, getattr(alone, field)


def form_fields() -> dict[str, FieldInfo]:
    """The visible settings by name, in order."""
    return {name: info for name, info in TrainingConfig.model_fields.items() if not info.exclude}


def used_fields(task: Task) -> dict[str, FieldInfo]:
    """The visible settings that a task uses."""
    return {name: info for name, info in form_fields().items() if task in field_extra(info)["tasks"]}


def fields_that(fact: str, task: Task | None = None) -> dict[str, FieldInfo]:
    """The settings that declare `fact` ("branchable", ...: see `setting`), of those that a task uses."""
    fields = form_fields() if task is None else used_fields(task)
    return {name: info for name, info in fields.items() if field_extra(info)[fact]}

"""TrainingConfig: every setting of a training run.

The one source for the form, the command line, the TOML files and the documentation. It knows nothing of tensors,
files or pages.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator
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


class TrainingConfig(  # the settings stand in the order of the form: of several bases, pydantic begins with the last
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
    """Folder that the DatasetLoader made; the service puts it in with `model_copy`, and nobody else can."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_service_alone(cls, values: Any) -> Any:
        """To whoever gives settings, prepared_data is none of them: it is not kept with the others."""
        if isinstance(values, Mapping) and "prepared_data" in values:
            raise ValueError(f"prepared_data: {no_setting('prepared_data')}")
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _thousands_commas(cls, value: Any) -> Any:
        """5,000 is how the form itself writes numbers."""
        is_grouped = isinstance(value, str) and re.fullmatch(r"\s*\d{1,3}(,\d{3})+\s*", value)
        return value.replace(",", "") if is_grouped else value

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
        """The halting threshold as the paper has it: 1 - epsilon."""
        return round(1 - self.act_threshold, 12)

    @property
    def choices(self) -> int:
        """Among how many tokens the model chooses the next one."""
        return self.arithmetic_modulus + 2 if self.task == "arithmetic" else self.vocab_size

    def fitted(self, report: Mapping[str, Any] | None) -> TrainingConfig:
        """These settings with the vocabulary that models have which learn from the data of `report`.

        Args:
            report: the fields of a DataReport; None while the data are not prepared: at most as many as asked for.
        """
        if report is None or not report.get("fitted"):
            return self
        return self.model_copy(update={"vocab_size": report["vocabulary"]})

    def warnings(self) -> list[str]:
        """Sentences about settings that are allowed and will hardly do what was meant."""
        return rules.warnings(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Validate `values` (typed, or text as a person typed it).

        Raises:
            ConfigError: with a sentence for each field that cannot be used.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(sentences(error, TrainingConfig.model_fields)) from error

    def with_overrides(self, overrides: Mapping[str, Any]) -> TrainingConfig:
        """A copy with `overrides` put over it, validated as a whole.

        Raises:
            ConfigError: as `from_values`.
        """
        current = {name: getattr(self, name) for name in form_fields()}
        if "act_epsilon" in overrides:
            del current["act_threshold"]  # the same under another name
        changed = self.from_values({**current, **overrides})
        return changed.model_copy(update={"prepared_data": self.prepared_data})

    def to_toml(self) -> str:
        """The config as TOML, each setting under a comment that explains it."""
        return toml_text(dict(self), form_fields())

    @classmethod
    def from_toml(cls, text: str) -> TrainingConfig:
        """Read what `to_toml` wrote, or any part of it; what is missing takes its default.

        Raises:
            ConfigError: the text is no TOML, or a setting cannot be used.
        """
        try:
            values = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
            raise ConfigError({"toml": f"This is not a readable TOML file: {error}."}) from error
        return cls.from_values(values)


class _EachAlone(TrainingConfig):
    """The settings without the question whether they agree with one another."""

    @model_validator(mode="after")
    def _fields_agree(self) -> _EachAlone:
        return self


def parse_setting(name: str, value: Any) -> tuple[str, Any]:
    """One setting by itself, typed or as text: the field that it means, and its value.

    Whether it agrees with the other settings is for `TrainingConfig.with_overrides` to say.

    Raises:
        ConfigError: there is no such setting, or it cannot have this value.
    """
    try:
        alone = _EachAlone.model_validate({name: value})
    except ValidationError as error:
        raise ConfigError(sentences(error, TrainingConfig.model_fields)) from error
    field = "act_threshold" if name == "act_epsilon" else name
    return field, getattr(alone, field)


def form_fields() -> dict[str, FieldInfo]:
    """The settings that people see, by name, in order."""
    return {name: info for name, info in TrainingConfig.model_fields.items() if not info.exclude}


def used_fields(task: Task) -> dict[str, FieldInfo]:
    """The settings that mean something for a task, of those that people see."""
    return {name: info for name, info in form_fields().items() if task in field_extra(info)["tasks"]}


def fields_that(fact: str, task: Task | None = None) -> dict[str, FieldInfo]:
    """The settings that declare this of themselves ("branchable", ...: see `setting`), of those that a task uses."""
    fields = form_fields() if task is None else used_fields(task)
    return {name: info for name, info in fields.items() if field_extra(info)[fact]}

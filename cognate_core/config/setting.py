"""What a setting declares: its default, bounds, place in the form, and use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

Task = Literal["text", "arithmetic"]
TEXT: Sequence[Task] = ("text",)
LAB: Sequence[Task] = ("arithmetic",)
BOTH: Sequence[Task] = ("text", "arithmetic")

Section = Literal[
    "Data",
    "Model",
    "Pondering",
    "Memory",
    "Training",
    "GrokFast",
    "Grokking lab",
    "Checking and saving",
    "Several workers",
]


class Settings(BaseModel):
    """Some settings of a run. Immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def setting(
    default: Any,
    *,
    title: str,
    help: str,
    section: Section,
    tasks: Sequence[Task],
    simple: bool = False,
    unit: str = "",
    example: str = "",
    branchable: bool = True,
    sweepable: bool = True,
    shapes_model: bool = False,
    prepares_data: Literal["", "rows", "tokens"] = "",
    compared: bool = True,
    personal: bool = False,
    **bounds: Any,
) -> Any:
    """A field of `Settings`.

    Args:
        tasks: the tasks that use it.
        simple: whether it is in the short form.
        branchable: whether a branch from a checkpoint may change it.
        sweepable: whether a sweep may vary it.
        shapes_model: whether it affects what the finished model computes, and is therefore in its config.json.
        prepares_data: whether it affects which rows a run reads, or how they become tokens.
        compared: whether it must be the same in a repetition of a run.
        personal: whether it is a private place on this computer.
        bounds: as for pydantic's Field.
    """
    extra: JsonDict = {
        "section": section,
        "simple": simple,
        "unit": unit,
        "example": example or str(default),
        "tasks": list(tasks),
        "branchable": branchable,
        "sweepable": sweepable,
        "shapes_model": shapes_model,
        "prepares_data": prepares_data,
        "compared": compared,
        "personal": personal,
    }
    if isinstance(default, list | dict):
        return Field(default_factory=default.copy, title=title, description=help, json_schema_extra=extra, **bounds)
    return Field(default, title=title, description=help, json_schema_extra=extra, **bounds)


def field_extra(info: FieldInfo) -> dict[str, Any]:
    """What a field declares, by the argument names of `setting`: section, unit, example, ..."""
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def field_range(info: FieldInfo) -> str:
    """The allowed range in words, such as "1 to 4,096"; empty if there is none."""
    bounds = {
        kind: getattr(item, kind)
        for item in info.metadata
        for kind in ("ge", "gt", "le", "lt")
        if getattr(item, kind, None) is not None
    }
    low = f"{bounds['ge']:,}" if "ge" in bounds else f"above {bounds['gt']:,}" if "gt" in bounds else ""
    high = f"{bounds['le']:,}" if "le" in bounds else f"below {bounds['lt']:,}" if "lt" in bounds else ""
    between = " to " if "gt" not in bounds else ", up to " if "le" in bounds else " and "
    return f"{low}{between}{high}" if low and high else low or high

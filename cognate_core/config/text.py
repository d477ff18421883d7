"""Settings as text: TOML, as a person types them, and the sentences for invalid settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cognate_core.config.setting import field_extra, field_range

Fields = Mapping[str, FieldInfo]


def toml_text(values: Mapping[str, Any], fields: Fields) -> str:
    """The values as TOML, each under a comment that explains it."""
    lines: list[str] = []
    section = None
    for name, info in fields.items():
        extra = field_extra(info)
        if extra["section"] != section:
            section = extra["section"]
            lines += ["", f"# {section}", ""]
        value = values[name]
        lines.append(f"# {info.title}: {info.description}")
        lines.append(f"# {name} =" if value is None else f"{name} = {_toml_value(value)}")
    return "\n".join(lines).strip() + "\n"


def _toml_value(value: Any) -> str:
    """One value on one line. Tables are inline: a separate table would swallow the settings after it."""
    if isinstance(value, dict):
        pairs = (tomli_w.dumps({key: item}).strip() for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()


def as_text(value: Any) -> str:
    """A setting as a person would type it, such as 2e-4 instead of 0.0002. It reads back as the same value."""
    if value is None:
        return ""
    if isinstance(value, dict):
        if any(sign in str(weight) for weight in value.values() for sign in ",="):
            return json.dumps(value)
        return ", ".join(f"{name}={as_text(weight)}" for name, weight in value.items())
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):  # `repr` has the fewest digits that read back as the same number
        return f"{Decimal(repr(value)).normalize():e}" if 0 < value < 0.001 else repr(value).removesuffix(".0")
    return str(value)


def sentences(error: ValidationError, fields: Fields) -> dict[str, str]:
    """One sentence for each field that pydantic rejected."""
    problems: dict[str, str] = {}
    for detail in error.errors():
        name, sentence = _sentence(detail, fields)
        problems.setdefault(name, sentence)
    return problems


def no_setting(name: str) -> str:
    return f"There is no setting called {name!r}. `cognate presets first-run` lists them all."


def _sentence(detail: ErrorDetails, fields: Fields) -> tuple[str, str]:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "value_error":
        message = str(detail["ctx"]["error"])
        if not name:  # from _fields_agree, which names the field before the colon
            name, message = message.split(": ", 1)
        return name, message
    info = fields.get(name)
    if info is None:
        return name, no_setting(name)
    got = detail["input"]
    if len(str(got)) > 60:
        got = f"{str(got)[:60]}..."
    if len(detail["loc"]) > 1:
        inner = ".".join(str(part) for part in detail["loc"][1:])
        return name, f"{info.title}, {inner}: {detail['msg']}; got {got!r}."
    example = field_extra(info).get("example", "")
    if detail["type"] == "literal_error":
        return name, f"{info.title} must be one of {detail['ctx']['expected']}; got {got!r}."
    wanted = {
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "dict_type": "a list of name=weight",
    }.get(detail["type"])
    allowed = field_range(info)
    if wanted is None and allowed:
        return name, f"{info.title} must be {allowed}; got {got!r}."
    if wanted is None:
        return name, f"{info.title}: {detail['msg']}; got {got!r}."
    shown = "nothing" if got == "" else repr(got)
    limits = f" ({allowed})" if allowed else ""
    hint = f" Type something like {example}." if example and example not in ("None", "True", "False") else ""
    return name, f"{info.title} must be {wanted}{limits}; got {shown}.{hint}"

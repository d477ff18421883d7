"""docs/settings.md, written from the settings themselves: `make docs`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from cognate_core.config import TrainingConfig, as_text, field_extra, field_range, form_fields

FILE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """# Settings

Every setting of a run: in a TOML file (`cognate presets first-run` prints one), after `--set` on the command line,
in `settings` of the API, and as a field on New run. `make docs` writes this page from the settings themselves.
"""


def reference() -> str:
    """The page."""
    parts = [HEAD]
    for section, fields in groupby(form_fields().items(), lambda each: field_extra(each[1])["section"]):
        parts.append(f"\n## {section}\n\n| setting | default | may be | what it does |\n| --- | --- | --- | --- |\n")
        parts += [_row(name, info) for name, info in fields]
    return "".join(parts)


def _row(name: str, info: FieldInfo) -> str:
    default = as_text(getattr(TrainingConfig(), name))
    cells = [f"`{name}`", f"`{default}`" if default else "", _allowed(info), f"**{info.title}.** {info.description}"]
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |\n"


def _allowed(info: FieldInfo) -> str:
    if get_origin(info.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(info.annotation))
    if info.annotation is bool:
        return "on, off"
    unit = field_extra(info)["unit"]
    return " ".join(filter(None, (field_range(info), unit if field_range(info) else "")))


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")

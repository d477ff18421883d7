"""The pages of docs/ that `make docs` writes from the code: settings, metrics and commands."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.cli import get_docs_for_click

from cognate_core.cli import app
from cognate_core.config import TrainingConfig, as_text, field_extra, field_range, form_fields
from cognate_core.contracts.metrics import METRICS

DOCS = Path(__file__).parents[1] / "docs"
SETTINGS = """# Settings

Every setting of a run: in a TOML file (`cognate presets first-run` prints one), after `--set` on the command line,
in `settings` of the API, and as a field on New run. `make docs` writes this page from the settings themselves.
"""


METRICS_HEAD = """# Metrics

What is measured at each step of training: the columns of an exported table, the fields of the API and the names in
other trackers. `make docs` writes this page from `cognate_core/contracts/metrics.py`.

| metric | in trackers | chart | what it is |
| --- | --- | --- | --- |
"""


def pages() -> dict[Path, str]:
    """Each page, with its text."""
    return {DOCS / "settings.md": _settings(), DOCS / "metrics.md": _metrics(), DOCS / "cli.md": _commands()}


def _metrics() -> str:
    rows = [
        f"| `{name}` | `{metric.tracker}` | {metric.chart.title if metric.chart else ''} | {metric.help} |\n"
        for name, metric in METRICS.items()
    ]
    return METRICS_HEAD + "".join(rows)


def _commands() -> str:
    """The command line, by Typer."""
    command = typer.main.get_command(app)
    with command.make_context("cognate", [], resilient_parsing=True) as context:
        text = get_docs_for_click(obj=command, ctx=context, name="cognate", title="Commands")  # type: ignore[arg-type]
        return text.rstrip() + "\n"


def _settings() -> str:
    parts = [SETTINGS]
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
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")

"""Output of commands: tables and facts for people, JSON for programs, one sentence for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cognate_core.client import Row

answers, messages = Console(), Console(stderr=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


def print_json(value: Any) -> None:
    """Print without Rich, which would wrap lines at the terminal's width."""
    print(json.dumps(value))  # noqa: T201


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table whose cells are never cut: half an id is useless."""
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(written(cell)) for cell in row))  # Text: a name in [brackets] is no markup
    answers.print(table)


def print_rows(columns: Sequence[str], rows: Sequence[Row], as_json: bool, nothing: str) -> None:
    """Print these columns of a list, or all of it as JSON. `nothing`: printed for an empty list."""
    if as_json:
        print_json(rows)
    elif rows:
        print_table(columns, [[row.get(column) for column in columns] for row in rows])
    else:
        answers.print(Text(nothing))


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print one thing, a line for each field. Unknown fields are left out."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            table.add_row(Text(name.replace("_", " ")), Text(written(value)))
    answers.print(table)


def print_line(text: str) -> None:
    """Print one line for other programs: an id, a path."""
    answers.print(Text(plain(text)), soft_wrap=True)


def say(sentence: str) -> None:
    """Print a message for the person, to stderr."""
    messages.print(Text(plain(sentence)))


def fail(sentence: str) -> NoReturn:
    """Print why the command failed, and exit with 2."""
    messages.print(Text(plain(sentence), style="red"))
    raise typer.Exit(2)


def write_piece(text: str) -> None:
    """Print a piece of streamed text at once."""
    sys.stdout.write(plain(text))
    sys.stdout.flush()


def written(value: Any) -> str:
    """A value as text for a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case list():
            return ", ".join(written(each) for each in value)
        case dict():
            return ", ".join(f"{key}: {written(each)}" for key, each in value.items())
        case _:
            return plain(str(value))


def plain(text: str) -> str:
    """Text without control characters for the terminal: a model may write any, and names may come from anywhere."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def figure(value: float | None) -> str:
    """A measured figure, or "unknown"."""
    return "unknown" if value is None else f"{value:.3g}"


def moment(time: str | None) -> str:
    """An ISO time in this computer's time zone."""
    return "" if time is None else datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")

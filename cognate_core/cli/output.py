"""How commands speak: tables and facts for a person, JSON for a program, one sentence when something goes wrong."""

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
    """Plain, so that no terminal width breaks a line."""
    print(json.dumps(value))  # noqa: T201


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table whose cells are never cut short: half an id is of no use."""
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(written(cell)) for cell in row))  # Text: a name in [brackets] is no markup
    answers.print(table)


def print_rows(columns: Sequence[str], rows: Sequence[Row], as_json: bool, nothing: str) -> None:
    """These columns of a list, or all of it as JSON. `nothing`: what is said of an empty one."""
    if as_json:
        print_json(rows)
    elif rows:
        print_table(columns, [[row.get(column) for column in columns] for row in rows])
    else:
        answers.print(Text(nothing))


def print_facts(facts: Mapping[str, Any]) -> None:
    """One thing as a list of what is known of it; what is not known is left out."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            table.add_row(Text(name.replace("_", " ")), Text(written(value)))
    answers.print(table)


def print_line(text: str) -> None:
    """One line for whoever reads on: an id, a path."""
    answers.print(Text(plain(text)), soft_wrap=True)


def say(sentence: str) -> None:
    """Tell the person, beside the answer."""
    messages.print(Text(plain(sentence)))


def fail(sentence: str) -> NoReturn:
    """Say why nothing came of it, and end."""
    messages.print(Text(plain(sentence), style="red"))
    raise typer.Exit(2)


def write_piece(text: str) -> None:
    """A piece of running text, at once."""
    sys.stdout.write(plain(text))
    sys.stdout.flush()


def written(value: Any) -> str:
    """A value as a table has it."""
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
    """Text without what would command a terminal: a model writes any character, and a name may come from anywhere."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def figure(value: float | None) -> str:
    """A measured figure, or that there is none."""
    return "unknown" if value is None else f"{value:.3g}"


def moment(time: str | None) -> str:
    """An ISO time in the time of this computer."""
    return "" if time is None else datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")

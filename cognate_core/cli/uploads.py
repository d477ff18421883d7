"""`cognate files`: your own files, uploaded to the studio for inspection and training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cognate_core.cli.connection import changing, looking
from cognate_core.cli.output import JsonOption, moment, print_json, print_line, print_rows, say
from cognate_core.cli.settings import SetOption, parse_changes

app = typer.Typer(name="files", help="Your own files: add, list or remove them.", no_args_is_help=True)


@app.command("list")
def list_files(as_json: JsonOption = False) -> None:
    """List your files, the newest first."""
    with looking() as studio:
        rows = list(studio.files())
    if not as_json:
        rows = [{**row, "kept_at": moment(row["kept_at"])} for row in rows]
    print_rows(("name", "label", "bytes", "rows", "licence", "kept_at"), rows, as_json, "You have added no files yet.")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="A table, JSON, Parquet or plain text, also compressed.")],
    changes: SetOption = None,
    licence: Annotated[str, typer.Option(help="Its origin and licence, if you wish to note them.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Upload a file and print its name, to use with `cognate data` and as dataset_path.

    With --set dataset_columns=..., text_rows=... or text_encoding=... you say how it is read.
    """
    with changing() as studio:
        kept = studio.add_file(file, parse_changes(changes), licence)
    if as_json:
        print_json(kept)
    else:
        print_line(kept["name"])


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Its name; `cognate files list` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a file from the studio for good. Your own copy is kept."""
    if not yes:
        typer.confirm("This removes the file from the studio for good. Remove it?", abort=True, err=True)
    with changing() as studio:
        studio.remove_file(name)
    say("It was removed. Your own copy is kept.")

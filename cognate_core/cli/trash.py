"""`cognate trash`: deleted runs and models, until they are restored or removed for good."""

from __future__ import annotations

from typing import Annotated

import typer

from cognate_core.cli.connection import changing, looking
from cognate_core.cli.output import JsonOption, moment, print_json, print_rows, say

app = typer.Typer(
    name="trash", help="Deleted runs and models: restore them or remove them for good.", no_args_is_help=True
)

EntryArgument = Annotated[str, typer.Argument(help="The id of the run or model; `cognate trash list` shows it.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def list_entries(as_json: JsonOption = False) -> None:
    """List the trash."""
    with looking() as studio:
        rows = list(studio.trash())
    if not as_json:
        rows = [{**row, "deleted_at": moment(row["deleted_at"])} for row in rows]
    print_rows(("id", "kind", "name", "deleted_at"), rows, as_json, "The trash is empty.")


@app.command("restore")
def restore(entry_id: EntryArgument, as_json: JsonOption = False) -> None:
    """Restore a run or model."""
    with changing() as studio:
        entry = studio.restore(entry_id)
    print_json(entry) if as_json else say(f"{entry['name']} is restored.")


@app.command()
def remove(entry_id: EntryArgument, yes: YesOption = False) -> None:
    """Remove a run or model for good."""
    if not yes:
        typer.confirm("You cannot undo this. Remove it?", abort=True, err=True)
    with changing() as studio:
        studio.remove_for_good(entry_id)
    say("It was removed for good.")


@app.command()
def empty(yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Remove everything for good."""
    if not yes:
        typer.confirm("You cannot undo this. Remove everything in the trash?", abort=True, err=True)
    with changing() as studio:
        removed = studio.empty_trash()
    print_json({"removed": removed}) if as_json else say(f"The trash is empty: {removed:,} removed for good.")

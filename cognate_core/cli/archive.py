"""`cognate archive`: save a run as one file, open such a file, repeat a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cognate_core.cli.connection import changing, looking, training
from cognate_core.cli.following import follow_run
from cognate_core.cli.output import JsonOption, figure, print_json, print_line, print_table, say
from cognate_core.cli.train import RunIdArgument
from cognate_core.client import Row

app = typer.Typer(name="archive", help="Save a run as one file, open such a file, repeat a run.", no_args_is_help=True)


@app.command()
def save(
    run_id: RunIdArgument, file: Annotated[Path, typer.Argument(help="Where to write it, such as mine.cognate.zip.")]
) -> None:
    """Save a run with its models and figures as one file, which another studio can open and repeat."""
    with looking() as studio:
        studio.save_run_archive(run_id, file)
    print_line(str(file))


@app.command("open")
def open_file(file: Annotated[Path, typer.Argument(help="A file from `cognate archive save`.")]) -> None:
    """Add the run from an archive, as if it had been trained here. Prints its id."""
    with changing() as studio:
        run = studio.open_run_archive(file)
    say(f"{run['name']} was added.")
    print_line(run["id"])


@app.command()
def verify(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Train a run again and check whether the result is the same. Exits with 0 only if it is."""
    with training() as studio:
        repeated = studio.start_verification(run_id)
        follow_run(studio, repeated["id"])
        found = studio.verification(run_id, repeated["id"])
    print_json(found) if as_json else _print_verification(found)
    if found["verdict"] not in ("identical", "same within rounding"):
        raise typer.Exit(1)


def _print_verification(found: Row) -> None:
    columns = ("model", "steps", "largest loss difference", "first differing step", "held-out difference", "weights")
    rows = [
        (
            model["name"],
            model["steps"],
            figure(model["largest_difference"]),
            "none" if model["first_differing_step"] is None else model["first_differing_step"],
            figure(model["largest_heldout_difference"]),
            {True: "the same", False: "not the same", None: "unknown"}[model["same_weights"]],
        )
        for model in found["models"]
    ]
    print_table(columns, rows)
    print_line(f"{found['verdict'].capitalize()}. {found['reason']}")

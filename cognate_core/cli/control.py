"""Controlling a run: pause, end, move or rename it, or start a derived run."""

from __future__ import annotations

from typing import Annotated

import typer

from cognate_core.cli.connection import changing
from cognate_core.cli.output import JsonOption, fail, print_json, say
from cognate_core.cli.settings import SetOption, parse_changes
from cognate_core.cli.train import RunIdArgument, told
from cognate_core.client import Row
from cognate_core.runs import name_after

app = typer.Typer()

PANEL = "Control a run"


@app.command(rich_help_panel=PANEL)
def pause(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Write a checkpoint and pause the run; `cognate resume` continues it."""
    with changing() as studio:
        _tell(studio.pause(run_id), as_json)


@app.command(rich_help_panel=PANEL)
def stop(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Save the model as it is and end the run."""
    with changing() as studio:
        _tell(studio.stop(run_id), as_json)


@app.command(rich_help_panel=PANEL)
def cancel(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """End the run without saving, or remove it from the queue."""
    with changing() as studio:
        _tell(studio.cancel(run_id), as_json)


@app.command(rich_help_panel=PANEL, context_settings={"ignore_unknown_options": True})
def move(
    run_id: RunIdArgument,
    places: Annotated[int, typer.Argument(help="How many places later; -1 is one place earlier.")],
    as_json: JsonOption = False,
) -> None:
    """Move a waiting run in the queue."""
    with changing() as studio:
        _tell(studio.move(run_id, places), as_json)


@app.command(rich_help_panel=PANEL)
def rename(
    run_id: RunIdArgument,
    name: Annotated[str, typer.Argument(help="The new name.")],
    as_json: JsonOption = False,
) -> None:
    """Rename a run. Its models keep their names."""
    with changing() as studio:
        _tell(studio.rename(run_id, name), as_json)


@app.command(rich_help_panel=PANEL)
def tag(
    run_id: RunIdArgument,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...", help="Without any, it has none.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a run tags to find it by, in place of those it had."""
    with changing() as studio:
        found = studio.tag(run_id, tags or [])
    print_json(found) if as_json else say(f"Its tags: {', '.join(found['tags']) or 'none'}.")


@app.command(rich_help_panel=PANEL)
def delete(run_id: RunIdArgument) -> None:
    """Move a run, its models and its files to the trash (see `cognate trash`)."""
    with changing() as studio:
        studio.delete(run_id)
    say("It is in the trash now. `cognate trash list` shows it.")


@app.command(rich_help_panel=PANEL)
def twin(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Start the same run with GrokFast switched the other way, to compare. Prints its id."""
    with changing() as studio:
        told([studio.twin(run_id)], as_json)


@app.command(rich_help_panel=PANEL)
def branch(
    run_id: RunIdArgument,
    step: Annotated[int, typer.Argument(help="The step of a checkpoint; `cognate checkpoints` lists them.")],
    overrides: SetOption = None,
    model: Annotated[str | None, typer.Option(help="Which of its models, if it has several.")] = None,
    name: Annotated[str | None, typer.Option(help="The name of the new run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a new run from a checkpoint, with changed settings. Prints its id."""
    with changing() as studio:
        run = studio.run(run_id)
        if model is None and len(run["model_names"]) > 1:
            fail(f"This run has several models. Choose one with --model: {', '.join(run['model_names'])}.")
        chosen, title = model or run["model_names"][0], name or name_after(run["name"], f" from step {step}")
        told([studio.branch(run_id, chosen, step, parse_changes(overrides), title)], as_json)


def _tell(run: Row, as_json: bool) -> None:
    print_json(run) if as_json else say(f"{run['name']} is {run['status']}. {run['message']}")

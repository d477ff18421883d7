"""Looking at runs and models: list them, show one, watch one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from cognate_core.cli.connection import chosen_server, looking
from cognate_core.cli.following import progress_bar
from cognate_core.cli.output import JsonOption, moment, print_facts, print_json, print_rows, say
from cognate_core.cli.train import RunIdArgument
from cognate_core.client import Client, Row, rests
from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs import default_home, running_address

app = typer.Typer()

PANEL = "Look"
NOTHING = "There is nothing yet. `cognate run` opens the studio."
RUN_COLUMNS = ("id", "name", "status", "step", "total_steps", "created_at")
MODEL_COLUMNS = ("id", "name", "run_name", "status", "parameter_count", "created_at", "folder")


@app.command(rich_help_panel=PANEL)
def runs(
    status: Annotated[str | None, typer.Option(help="Only those with this status, such as training.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs, the newest first."""
    with looking() as studio:
        print_rows(RUN_COLUMNS, list(studio.runs(status=status, tag=tag)), as_json, NOTHING)


@app.command("models", rich_help_panel=PANEL)
def list_models(
    run_id: Annotated[str | None, typer.Option("--run", help="Only those of this run.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the trained models, the newest first."""
    with looking() as studio:
        print_rows(MODEL_COLUMNS, list(studio.models(run=run_id, tag=tag)), as_json, NOTHING)


@app.command(rich_help_panel=PANEL)
def show(
    run_id: RunIdArgument,
    settings: Annotated[bool, typer.Option("--settings", help="Print its settings as TOML.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a run."""
    with looking() as studio:
        run = studio.run(run_id)
    if as_json:
        print_json(run)
    elif settings:
        print(TrainingConfig.model_validate(run["config"]).to_toml(), end="")  # noqa: T201
    else:
        print_facts({name: value for name, value in run.items() if name not in ("config", "error_details")})


@app.command(rich_help_panel=PANEL)
def watch(
    run_id: Annotated[str | None, typer.Argument(help="Its id. Default: watch every run.")] = None,
    after: Annotated[int | None, typer.Option(help="Start after the event with this id.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a run until it pauses or ends. Ctrl-C ends watching; the run continues."""
    with _hearing() as studio:
        run = studio.run(run_id) if run_id is not None else None
        try:
            if run is None or after is not None or not rests(run):
                _print_events(studio, run_id, after, as_json)
        except KeyboardInterrupt:
            return
        run = studio.run(run_id) if run_id is not None else None
    if run is not None:
        say(f"{run['status'].capitalize()}. {run['error'] or run['message']}")
        if run["status"] not in (RunStatus.COMPLETED, RunStatus.STOPPED, RunStatus.PAUSED):
            raise typer.Exit(1)


def _print_events(studio: Client, run_id: str | None, after: int | None, as_json: bool) -> None:
    with progress_bar() as show_progress:
        for event in studio.events(run_id, after):
            if as_json:
                print_json(event)
            else:
                show_progress(event.get("progress") or 0.0, _words(event))


def _words(event: Row) -> str:
    if event["type"] == "events_lost":
        return "Some events are no longer kept"
    words = f"{moment(event['timestamp'])} {event['message']}"
    if event.get("loss") is not None:
        words += f", step {event['step'] or 0:,} of {event['total_steps'] or 0:,}, loss {event['loss']:.3f}"
    return words


@contextmanager
def _hearing() -> Iterator[Client]:
    """The open studio, because only it has events; without one, the command's own."""
    address = chosen_server() or running_address(default_home())
    if address is None:
        with looking() as studio:
            yield studio
    else:
        with Client(address) as studio:
            yield studio

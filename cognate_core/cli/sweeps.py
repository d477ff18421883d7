"""`cognate sweep`: runs that differ in a few settings."""

from __future__ import annotations

from typing import Annotated

import typer

from cognate_core.cli.connection import changing, looking
from cognate_core.cli.output import JsonOption, figure, print_json, print_line, print_rows, print_table
from cognate_core.cli.settings import FileArgument, PresetOption, SetOption, chosen_config, parse_changes, sent
from cognate_core.client import Row
from cognate_core.config.presets import PRESETS

app = typer.Typer(name="sweep", help="Try several settings as a group of runs.", no_args_is_help=True)

SweepIdArgument = Annotated[str, typer.Argument(help="Its id; `cognate sweep list` lists them.")]
GridOption = Annotated[
    list[str] | None,
    typer.Option("--grid", metavar="KEY=VALUES", help="Values to try: learning_rate=1e-3,3e-4. May be repeated."),
]
RangeOption = Annotated[
    list[str] | None,
    typer.Option("--range", metavar="KEY=RANGE", help="A range to draw from: 'learning_rate=1e-4 to 1e-2'."),
]


@app.command()
def start(
    config_file: FileArgument = None,
    preset: PresetOption = None,
    overrides: SetOption = None,
    grid: GridOption = None,
    ranges: RangeOption = None,
    draws: Annotated[int, typer.Option(min=0, help="How many draws to take from the ranges.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the draws.")] = 0,
    leave_out: Annotated[bool, typer.Option(help="Leave out contradictory combinations, not refuse them.")] = False,
    name: Annotated[str | None, typer.Option(help="The sweep's name. Default: the file's or preset's name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a run for each combination and print the sweep's id. An open studio trains them."""
    config = chosen_config(config_file, preset, overrides)
    title = name or (config_file.stem if config_file else PRESETS[str(preset)].title)
    with changing() as studio:
        found = studio.start_sweep(
            title,
            config=sent(studio, config),
            grid=parse_changes(grid),
            ranges=parse_changes(ranges),
            draws=draws,
            seed=seed,
            leave_out=leave_out,
        )
    print_json(found) if as_json else print_line(found["id"])


@app.command("list")
def list_sweeps(as_json: JsonOption = False) -> None:
    """List the sweeps, the newest first."""
    with looking() as studio:
        found = studio.sweeps()
    rows = [{"id": row["id"], "name": row["name"], "runs": len(row["run_ids"])} for row in found]
    print_json(found) if as_json else print_rows(("id", "name", "runs"), rows, False, "There is no sweep yet.")


@app.command()
def show(sweep_id: SweepIdArgument, as_json: JsonOption = False) -> None:
    """Show the results of a sweep's runs, the best first."""
    with looking() as studio:
        found = studio.sweep(sweep_id)
    print_json(found) if as_json else _print_results(found)


@app.command()
def cancel(sweep_id: SweepIdArgument) -> None:
    """Cancel its waiting and active runs."""
    with changing() as studio:
        print_line(f"{studio.cancel_sweep(sweep_id)['runs']} cancelled")


def _print_results(found: Row) -> None:
    rows = [
        (
            run["id"],
            ", ".join(f"{name}={value}" for name, value in run["values"].items()),
            run["status"],
            figure(run["heldout_loss"]),
            figure(run["heldout_bits_per_byte"]),
        )
        for run in found["runs"]
    ]
    print_table(("run", "settings", "status", "lowest held-out loss", "bits per byte"), rows)
    print_line(found["sentence"])

"""Training: presets, what a run would need, and starting runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cognate_core.cli.connection import changing, chosen_server, looking, training
from cognate_core.cli.following import follow_run
from cognate_core.cli.output import JsonOption, fail, print_facts, print_json, print_line, print_table, say
from cognate_core.cli.settings import (
    FileArgument,
    PresetOption,
    SetOption,
    chosen_config,
    parse_changes,
    read_config,
    sent,
)
from cognate_core.client import Client, Row
from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS, VARIANTS
from cognate_core.contracts import RunStatus
from cognate_core.runs import MAX_MODELS, name_after

app = typer.Typer()

PANEL = "Train"
RunIdArgument = Annotated[str, typer.Argument(help="Its id; `cognate runs` lists them.")]
NameOption = Annotated[str | None, typer.Option(help="The run's name. Default: the file's or preset's name.")]
ModelsOption = Annotated[int, typer.Option(min=1, max=MAX_MODELS, help="How many models, each with a different start.")]


@app.command(rich_help_panel=PANEL)
def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset as TOML.")] = None, as_json: JsonOption = False
) -> None:
    """List the presets, or print one as TOML."""
    with looking() as studio:
        if name is None:
            listed = studio.presets()
            print_json(listed) if as_json else print_table(
                ("name", "title", "what to expect"), [(row["name"], row["title"], row["expectation"]) for row in listed]
            )
            return
        preset = studio.preset(name)
    if as_json:
        print_json(preset)
    else:
        config = TrainingConfig.model_validate(preset["config"])
        print(f"# {preset['title']}: {preset['summary']}\n\n{config.to_toml()}", end="")  # noqa: T201


@app.command(rich_help_panel=PANEL)
def settings() -> None:
    """Print all settings as a JSON schema, with their bounds and meanings."""
    with looking() as studio:
        print(json.dumps(studio.config_schema(), indent=2))  # noqa: T201


@app.command(rich_help_panel=PANEL)
def estimate(
    config_file: FileArgument = None,
    preset: PresetOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would need: parameters, memory, disk."""
    config = chosen_config(config_file, preset, overrides)
    with looking() as studio:
        found = studio.estimate(sent(studio, config))
    print_json(found) if as_json else print_facts(found)


@app.command(rich_help_panel=PANEL)
def time_estimate(
    config_file: FileArgument = None,
    preset: PresetOption = None,
    overrides: SetOption = None,
    models: ModelsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Estimate how long a run would take here, by training its first steps."""
    config = chosen_config(config_file, preset, overrides)
    say("Training the first steps to measure the time; this takes about 20 seconds.")
    with changing() as studio:  # nothing is changed, but no other run may disturb the measurement
        found = studio.time_estimate(sent(studio, config), models=models)
    print_json(found) if as_json else print_facts(found)


@app.command(rich_help_panel=PANEL)
def train(
    config_file: Annotated[Path, typer.Argument(help="A TOML file; `cognate presets first-run` prints one.")],
    overrides: SetOption = None,
    name: NameOption = None,
    models: ModelsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Train and wait until it is done. Ctrl-C stops and saves; a second one cancels."""
    config = read_config(config_file).with_overrides(parse_changes(overrides))
    with training() as studio:
        run = studio.start(name or config_file.stem, config=sent(studio, config), models=models)
        to_its_end(studio, run["id"], as_json)


@app.command(rich_help_panel=PANEL)
def start(
    config_file: FileArgument = None,
    preset: PresetOption = None,
    copy_of: Annotated[str | None, typer.Option("--from", help="Use the settings of this run instead.")] = None,
    overrides: SetOption = None,
    name: NameOption = None,
    models: ModelsOption = 1,
    key: Annotated[str | None, typer.Option(help="A repeated call with the same key starts no second run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a run and print its id, without waiting. An open studio trains it."""
    if copy_of is not None:
        if config_file is not None or preset is not None:
            fail("Give only one source of settings: a file, --preset or --from.")
        with changing() as studio:
            title = name or name_after(studio.run(copy_of)["name"], " (again)")
            changes = parse_changes(overrides)
            told([studio.start(title, copy_of=copy_of, settings=changes, models=models, key=key)], as_json)
        return
    config = chosen_config(config_file, preset, overrides)
    title = name or (config_file.stem if config_file else PRESETS[str(preset)].title)
    with changing() as studio:
        told([studio.start(title, config=sent(studio, config), models=models, key=key)], as_json)


@app.command(rich_help_panel=PANEL)
def race(
    variants: Annotated[list[str] | None, typer.Argument(help=f"The variants to race: {', '.join(VARIANTS)}.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a race of the Grokking lab: a run for each variant. Prints their ids."""
    unknown = [variant for variant in variants or () if variant not in VARIANTS]
    if unknown:
        fail(f"There is no variant {unknown[0]!r}. Choose from {', '.join(VARIANTS)}.")
    changes, racing = parse_changes(overrides), {}
    for variant in (VARIANTS[variant] for variant in variants or ("grokfast", "control")):
        config = PRESETS["grokking"].config.with_overrides({**variant.overrides, **changes})
        problem = f"{config.arithmetic_operation} mod {config.arithmetic_modulus}"
        racing[f"{variant.title}, {problem}, seed {config.seed}"] = config
    with changing() as studio:
        told([studio.start(name, config=sent(studio, config)) for name, config in racing.items()], as_json)


@app.command(rich_help_panel=PANEL)
def resume(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Continue a paused, stopped, interrupted, failed or crashed run from its last checkpoint."""
    with training() as studio:
        studio.resume(run_id)
        to_its_end(studio, run_id, as_json)


def told(started: list[Row], as_json: bool) -> None:
    """Print the ids of queued runs, and say when they start."""
    if as_json:
        print_json(started if len(started) > 1 else started[0])
    else:
        for run in started:
            print_line(run["id"])
    if chosen_server() is None:
        say("No studio is open. Training starts when `cognate run` starts one.")


def to_its_end(studio: Client, run_id: str, as_json: bool) -> None:
    """Follow a run, then say how it ended and where its models are."""
    ended = follow_run(studio, run_id)
    models = [studio.model(model["id"]) for model in list(studio.models(run=run_id))[::-1]]
    say(f"{ended['status'].capitalize()}. {ended['error'] or ended['message']}")
    if as_json:
        print_json(models)
    else:
        for model in models:
            print_line(f"{model['trained_as']}: {model['folder']}")
    if ended["status"] not in (RunStatus.COMPLETED, RunStatus.STOPPED):
        raise typer.Exit(1)

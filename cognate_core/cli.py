"""The command line: `cognate run`, `train`, `runs`, `passport` and more. Words and tables; the work is elsewhere."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.errors import CognateError, ConfigError, RunError
from cognate_core.presets import PRESETS, get_preset
from cognate_core.runs import (
    MAX_MODELS,
    RunManager,
    current_manager,
    database_path,
    default_home,
    numbered_names,
)
from cognate_core.runs.passport import open_passport, write_passport
from cognate_core.runs.verification import Verification, compare_runs
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressReader, Run


class _InSentences(TyperGroup):
    """Commands whose errors are told as the sentences that they are."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CognateError as error:
            _fail(str(error))


app = typer.Typer(
    cls=_InSentences,
    help="Cognate Studio: train small language models on this computer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
passport_app = typer.Typer(help="Hand a run on as one file, open such a file, repeat a run.", no_args_is_help=True)
app.add_typer(passport_app, name="passport")
_output, _messages = Console(), Console(stderr=True)

SERVER_SCRIPT = Path(__file__).parent.parent / "app.py"
POLL_SECONDS = 0.25
RunIdArgument = Annotated[str, typer.Argument(help="Its id; `cognate runs` lists them.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


@app.command()
def run(
    port: Annotated[int, typer.Option(help="Where the page listens on this computer.")] = 8501,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Start the studio and open its page."""
    if not SERVER_SCRIPT.is_file():
        _fail(f"{SERVER_SCRIPT.name} is not beside the library. Run the studio from a clone of its repository.")
    current_manager()  # before the server, so that a refusal is a sentence and no server log
    sys.argv = [str(SERVER_SCRIPT)]  # from here Streamlit takes where the app lies
    server = runpy.run_path(str(SERVER_SCRIPT))["app"]
    server.run(config={"server.port": port, "server.headless": not browser})


@app.command()
def train(
    config_file: Annotated[Path, typer.Argument(help="A TOML file; `cognate presets first-run` prints one.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting. May be repeated."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the run is called. Default: the file's name.")] = None,
    models: Annotated[int, typer.Option(min=1, max=MAX_MODELS, help="How many models, each from another start.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train without a page. Ctrl-C stops and saves; a second one cancels."""
    config = _read_config(config_file).with_overrides(_parse_overrides(overrides or []))
    title = name or config_file.stem
    with closing(RunManager(default_home())) as manager:
        _to_its_end(manager, manager.start(config, title, numbered_names(title, models)), as_json)


@app.command()
def resume(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Go on with a run that was paused, stopped or broken off, from its last checkpoint."""
    with closing(RunManager(default_home())) as manager:
        manager.resume(run_id)
        _to_its_end(manager, run_id, as_json)


def _to_its_end(manager: RunManager, run_id: str, as_json: bool) -> None:
    """Follow a run, then say how it ended and where its models are."""
    ended = _follow(manager, run_id)
    artifacts = [model.details for model in reversed(manager.log.models(run_id))]
    _messages.print(Text(f"{ended.status.capitalize()}. {ended.error or ended.message}"))
    if as_json:
        print(json.dumps(artifacts))  # noqa: T201  (plain, so that no terminal width breaks the line)
    else:
        for model in artifacts:
            _output.print(Text(f"{model['model_name']}: {Path(model['artifacts']['weights']).parent}"))
    if ended.status not in (RunStatus.COMPLETED, RunStatus.STOPPED):
        raise typer.Exit(1)


@app.command()
def presets(name: Annotated[str | None, typer.Argument(help="Print this preset as TOML.")] = None) -> None:
    """List the presets, or print one as TOML."""
    if name is None:
        rows = [(preset.name, preset.title, preset.expectation) for preset in PRESETS.values()]
        _print_table(("name", "title", "what to expect"), rows)
        return
    preset = get_preset(name)
    print(f"# {preset.title}: {preset.summary}\n\n{preset.config.to_toml()}", end="")  # noqa: T201


@app.command()
def runs(as_json: JsonOption = False) -> None:
    """List the runs, the newest first."""
    reader = _reader()
    found = reader.runs() if reader else []
    columns = ("id", "name", "status", "step", "total_steps", "created_at")
    _list(columns, [{column: getattr(run, column) for column in columns} for run in found], as_json)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the trained models, the newest first."""
    reader = _reader()
    found = reader.models() if reader else []
    columns = ("id", "name", "run_name", "status", "parameter_count", "created_at")
    rows = [
        {**{column: getattr(model, column) for column in columns}, "folder": _folder(model.details)} for model in found
    ]
    _list((*columns, "folder"), rows, as_json)


@passport_app.command()
def save(
    run_id: RunIdArgument, file: Annotated[Path, typer.Argument(help="Where to write it, such as mine.cognate.zip.")]
) -> None:
    """Write a run with its models and figures as one file, by which another studio can open and repeat it."""
    reader = _reader()
    if reader is None:
        raise RunError("There is no run yet, so there is nothing to hand on.")
    write_passport(reader, ArtifactStore(default_home()), run_id, file)
    _output.print(Text(str(file)))


@passport_app.command("open")
def open_file(file: Annotated[Path, typer.Argument(help="What `cognate passport save` wrote.")]) -> None:
    """Take up the run of a passport, as if it had been trained here; prints its id."""
    with closing(RunManager(default_home())) as manager:
        run_id = open_passport(manager, file)
        _messages.print(Text(f"{manager.log.run(run_id).name} is here now."))
        _output.print(run_id)


@passport_app.command()
def verify(run_id: RunIdArgument) -> None:
    """Train the same once more and say whether the same came of it. Exits with 0 only if it did."""
    with closing(RunManager(default_home())) as manager:
        repeated_id = manager.start_verification(run_id)
        _follow(manager, repeated_id)
        verification = compare_runs(manager.log, manager.store, run_id, repeated_id)
    _print_verification(verification)
    if verification.verdict not in ("identical", "same within rounding"):
        raise typer.Exit(1)


def _print_verification(verification: Verification) -> None:
    columns = ("model", "steps", "largest difference of the loss", "first differing step", "of unseen text", "weights")
    rows = [
        (
            model.name,
            f"{model.steps:,}",
            _figure(model.largest_difference),
            "none" if model.first_differing_step is None else f"{model.first_differing_step:,}",
            _figure(model.largest_heldout_difference),
            {True: "the same", False: "not the same", None: "unknown"}[model.same_weights],
        )
        for model in verification.models
    ]
    _print_table(columns, rows)
    _output.print(Text(f"{verification.verdict.capitalize()}. {verification.reason}"))


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _folder(details: dict[str, Any]) -> str | None:
    weights = details["artifacts"].get("weights")
    return str(Path(weights).parent) if weights else None


def _read_config(path: Path) -> TrainingConfig:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            {"file": f"There is no file {path}. `cognate presets first-run > {path}` makes one."}
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError({"file": f"{path} cannot be read as text ({error})."}) from error
    return TrainingConfig.from_toml(text)


def _parse_overrides(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError({"set": f"--set needs KEY=VALUE, such as --set max_steps=100; got {pair!r}."})
    return {key.strip(): value.strip() for key, value in (pair.split("=", 1) for pair in pairs)}


def _follow(manager: RunManager, run_id: str) -> Run:
    """Show a progress bar until the run has ended."""
    interrupts = 0
    with Progress(
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=_messages,
    ) as bar:
        task = bar.add_task("Waiting", total=1.0)
        while True:
            try:
                current = manager.log.run(run_id)
                bar.update(task, completed=current.progress, description=_describe(manager, current))
                if current.status.is_terminal or current.status is RunStatus.PAUSED:
                    return current
                manager.wait(run_id, POLL_SECONDS)
            except KeyboardInterrupt:
                interrupts += 1
                manager.stop(run_id) if interrupts == 1 else manager.cancel(run_id)


def _describe(manager: RunManager, run: Run) -> str:
    last = manager.log.last_metrics(run.id, 1)
    if not last or last[0]["loss"] is None:
        return run.message
    return f"{run.message}, step {run.step or 0:,} of {run.total_steps or 0:,}, loss {last[0]['loss']:.3f}"


def _reader() -> ProgressReader | None:
    path = database_path(default_home())
    return ProgressReader(path) if path.is_file() else None


def _list(columns: tuple[str, ...], rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))  # noqa: T201
    elif rows:
        _print_table(columns, [tuple("" if row[c] is None else str(row[c]) for c in columns) for row in rows])
    else:
        _output.print("There is nothing yet. `cognate run` opens the studio.")


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # an id that is cut short is of no use
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a name in [brackets] is no markup
    _output.print(table)


def _fail(sentence: str) -> NoReturn:
    _messages.print(Text(sentence, style="red"))
    raise typer.Exit(2)


if __name__ == "__main__":
    app()

"""Records of a run: metrics, evaluations, samples, its report, and comparisons of runs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import typer

from cognate_core.cli.connection import looking
from cognate_core.cli.output import (
    JsonOption,
    moment,
    print_facts,
    print_json,
    print_line,
    print_rows,
    print_table,
    say,
)
from cognate_core.cli.train import RunIdArgument
from cognate_core.client import Row
from cognate_core.errors import StorageError

app = typer.Typer()

PANEL = "Look"
NOTHING = "There is nothing yet."
METRIC_COLUMNS = ("step", "loss", "learning_rate", "grad_norm", "tokens", "seconds")
POINTS = 20  # that a table shows of a curve
ModelOption = Annotated[str | None, typer.Option(help="Which of the run's models. Default: the first.")]


@app.command(rich_help_panel=PANEL)
def export(
    run_id: RunIdArgument, file: Annotated[Path, typer.Argument(help="Where to write it: a .csv or .parquet file.")]
) -> None:
    """Write every step of every model of a run as a table for other programs."""
    with looking() as studio:
        studio.save_metrics(run_id, file)
    print_line(str(file))


@app.command(rich_help_panel=PANEL)
def metrics(
    run_id: RunIdArgument,
    model: ModelOption = None,
    after_step: Annotated[int | None, typer.Option(help="Only steps after this one.")] = None,
    points: Annotated[
        int | None,
        typer.Option(
            min=10, max=5000, help=f"At most this many, chosen to keep the curve's shape. A printed table has {POINTS}."
        ),
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write them to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was measured at each step: loss, learning rate, gradient, speed."""
    if points is None and csv_file is None and not as_json:
        points = POINTS
    with looking() as studio:
        rows = list(studio.metrics(run_id, model=model, after_step=after_step, points=points))
    if csv_file is None:
        print_rows(METRIC_COLUMNS, rows, as_json, NOTHING)
        return
    _write_csv(csv_file, rows)
    print_line(str(csv_file))


@app.command(rich_help_panel=PANEL)
def evaluations(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Show how wrong the models are on held-out text (loss), in nats per token and bits per byte."""
    with looking() as studio:
        rows = list(studio.evaluations(run_id))
    print_rows(("model_name", "step", "dataset", "loss", "bits_per_byte", "accuracy", "tokens"), rows, as_json, NOTHING)


@app.command(rich_help_panel=PANEL)
def samples(
    run_id: RunIdArgument,
    every: Annotated[bool, typer.Option("--all", help="Show those of all steps, not only the last.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the models wrote after held-out problems."""
    with looking() as studio:
        rows = list(studio.samples(run_id))
    if as_json:
        print_json(rows)
        return
    last = max((row["step"] for row in rows), default=0)
    for row in rows:
        if every or row["step"] == last:
            print_line(f"{row['model_name']}, step {row['step']:,}, {row['dataset']}")
            print_facts({"problem": row["prompt"], "it wrote": row["text"] or "(nothing)", "there": row["expected"]})
    if not rows:
        print_line(NOTHING)


@app.command(rich_help_panel=PANEL)
def events(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Show the log of a run: notes, warnings, errors."""
    with looking() as studio:
        rows = list(studio.logged(run_id))
    if not as_json:
        rows = [{**row, "created_at": moment(row["created_at"])} for row in rows]
    print_rows(("created_at", "level", "model_name", "step", "message"), rows, as_json, NOTHING)


@app.command("data-report", rich_help_panel=PANEL)
def data_report(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Show what each source of text contributed."""
    with looking() as studio:
        found = studio.data_report(run_id)
    if as_json:
        print_json(found)
        return
    columns = ("name", "asked_for", "origin", "train_rows", "heldout_rows", "train_tokens", "skipped", "reason")
    print_rows(columns, found["sources"], as_json=False, nothing=NOTHING)


@app.command(rich_help_panel=PANEL)
def checkpoints(run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """List the kept checkpoints, which `cognate branch` can start from."""
    with looking() as studio:
        found = studio.checkpoints(run_id)
    print_rows(("model_name", "steps"), found, as_json, NOTHING)


@app.command(rich_help_panel=PANEL)
def compare(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="Their ids; `cognate runs` lists them.")],
    as_json: JsonOption = False,
) -> None:
    """Compare runs: where their settings differ, and the results of each."""
    with looking() as studio:
        found = studio.comparison(run_ids)
    if as_json:
        print_json(found)
        return
    names = [run["name"] for run in found["runs"]]
    print_table(("result", *names), _turned(found["runs"]))
    if found["differing_settings"]:
        print_line("")
        print_table(
            ("differing setting", *names), [(name, *values) for name, values in found["differing_settings"].items()]
        )


@app.command(rich_help_panel=PANEL)
def findings(run_id: RunIdArgument, model: ModelOption = None, as_json: JsonOption = False) -> None:
    """Show findings in the curves, such as a plateau or overfitting, and what to do; and the run's warnings."""
    with looking() as studio:
        rows = studio.findings(run_id, model)
        warned = [event["message"] for event in studio.logged(run_id) if event["level"] == "warning"]
    for message in dict.fromkeys(warned):
        say(f"Warning: {message}")
    print_rows(("title", "first_step", "last_step", "cause", "advice"), rows, as_json, "Nothing stands out.")


@app.command(rich_help_panel=PANEL)
def report(
    run_id: RunIdArgument,
    file: Annotated[Path, typer.Argument(help="Where to write it, such as mine.html.")],
    model: ModelOption = None,
) -> None:
    """Save a run's report: one page with curves, settings and data, readable without the studio."""
    with looking() as studio:
        studio.save_report(run_id, file, model)
    print_line(str(file))


def _turned(rows: list[Row]) -> list[list[Any]]:
    """Transpose: a line for each field instead of each row."""
    return [[field.replace("_", " "), *(row[field] for row in rows)] for field in rows[0] if field != "name"]


def _write_csv(path: Path, rows: list[Row]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    try:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error}). Choose another place.") from error

"""`cognate model`: one trained model: what is known of it, its files, and trying it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cognate_core.cli.connection import changing, looking
from cognate_core.cli.output import (
    JsonOption,
    fail,
    print_facts,
    print_json,
    print_line,
    print_rows,
    say,
)

app = typer.Typer(
    name="model", help="One trained model: what is known of it, its files, and trying it out.", no_args_is_help=True
)

ModelIdArgument = Annotated[str, typer.Argument(help="Its id; `cognate models` lists them.")]
StepOption = Annotated[int | None, typer.Option("--step", help="As it was after this step, of those that are kept.")]


@app.command()
def show(model_id: ModelIdArgument, as_json: JsonOption = False) -> None:
    """Say what is known of a model."""
    with looking() as studio:
        found = studio.model(model_id)
    print_json(found) if as_json else print_facts(found)


@app.command()
def describe(
    model_id: ModelIdArgument,
    title: Annotated[str | None, typer.Option("--name", help="Another name. Its run and files keep theirs.")] = None,
    note: Annotated[str | None, typer.Option(help="What you want to remember of it.")] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", help="A word to find it by. May be repeated; it replaces those before.")
    ] = None,
    clear_tags: Annotated[bool, typer.Option("--no-tags", help="Take all tags away.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Keep another name, a note and tags of a model. What is not said stays."""
    with changing() as studio:
        found = studio.describe(model_id, title=title, note=note, tags=[] if clear_tags else tags or None)
    print_json(found) if as_json else print_facts({name: found[name] for name in ("name", "note", "tags")})


@app.command()
def delete(model_id: ModelIdArgument) -> None:
    """Move a model and its files to the trash; `cognate trash` has it."""
    with changing() as studio:
        studio.delete_model(model_id)
    say("It lies in the trash now. `cognate trash list` shows it.")


@app.command("files")
def list_files(model_id: ModelIdArgument, as_json: JsonOption = False) -> None:
    """List the files of a model with their checksums."""
    with looking() as studio:
        rows = studio.artifacts(model_id)
    print_rows(("kind", "name", "bytes", "sha256"), rows, as_json, "It has no files.")


@app.command()
def download(
    model_id: ModelIdArgument,
    kind: Annotated[str | None, typer.Argument(help="Only this one, such as weights. Default: all.")] = None,
    folder: Annotated[Path, typer.Option("--to", help="The folder to save into.")] = Path(),
) -> None:
    """Save the files of a model and check them. One that was broken off goes on where it was."""
    if not folder.is_dir():
        fail(f"There is no folder {folder}. Make it first, or choose another with --to.")
    with looking() as studio:
        rows = [row for row in studio.artifacts(model_id) if kind in (None, row["kind"])]
        if not rows:
            fail("This model has no such file. `cognate model files` lists those that it has.")
        for row in rows:
            file = folder / Path(row["name"]).name  # whatever a studio says, it lands in this folder
            studio.download_artifact(model_id, row["kind"], file)
            print_line(str(file))


@app.command()
def archive(
    model_id: ModelIdArgument, file: Annotated[Path, typer.Argument(help="Where to write it, such as mine.zip.")]
) -> None:
    """Save all files of a model as one zip archive."""
    with looking() as studio:
        studio.save_archive(model_id, file)
    print_line(str(file))

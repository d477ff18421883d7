"""`cognate model`: one trained model: show it, save its files, try it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cognate_core.cli.connection import changing, looking
from cognate_core.cli.following import follow_job
from cognate_core.cli.output import (
    JsonOption,
    fail,
    print_facts,
    print_json,
    print_line,
    print_rows,
    print_table,
    say,
    write_piece,
)
from cognate_core.client import Client, Row

app = typer.Typer(name="model", help="One trained model: show it, save its files, try it.", no_args_is_help=True)

ModelIdArgument = Annotated[str, typer.Argument(help="Its id; `cognate models` lists them.")]
StepOption = Annotated[int | None, typer.Option("--step", help="Use the kept checkpoint of this step.")]


@app.command()
def show(model_id: ModelIdArgument, as_json: JsonOption = False) -> None:
    """Show a model."""
    with looking() as studio:
        found = studio.model(model_id)
    print_json(found) if as_json else print_facts(found)


@app.command()
def publish(
    model_id: ModelIdArgument,
    repo_id: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
    license_name: Annotated[str | None, typer.Option("--license", help="The license named in its description.")] = None,
) -> None:
    """Upload a model to the Hugging Face hub, with the token in HF_TOKEN."""
    with looking() as studio:
        found = studio.publish(model_id, repo_id, private=not public, license_name=license_name)
    print_line(found["address"])


@app.command()
def describe(
    model_id: ModelIdArgument,
    title: Annotated[str | None, typer.Option("--name", help="A new name. Its run and files keep theirs.")] = None,
    note: Annotated[str | None, typer.Option(help="What you want to remember about it.")] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", help="A word to find it by. May be repeated; replaces earlier tags.")
    ] = None,
    clear_tags: Annotated[bool, typer.Option("--no-tags", help="Remove all tags.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Change the name, note or tags of a model. Options left out change nothing."""
    with changing() as studio:
        found = studio.describe(model_id, title=title, note=note, tags=[] if clear_tags else tags or None)
    print_json(found) if as_json else print_facts({name: found[name] for name in ("name", "note", "tags")})


@app.command()
def delete(model_id: ModelIdArgument) -> None:
    """Move a model and its files to the trash (see `cognate trash`)."""
    with changing() as studio:
        studio.delete_model(model_id)
    say("It is in the trash now. `cognate trash list` shows it.")


@app.command("files")
def list_files(model_id: ModelIdArgument, as_json: JsonOption = False) -> None:
    """List the files of a model with their checksums."""
    with looking() as studio:
        rows = studio.artifacts(model_id)
    print_rows(("kind", "name", "bytes", "sha256"), rows, as_json, "It has no files.")


@app.command()
def download(
    model_id: ModelIdArgument,
    kind: Annotated[str | None, typer.Argument(help="Only this file, such as weights. Default: all.")] = None,
    folder: Annotated[Path, typer.Option("--to", help="The folder to save into.")] = Path(),
) -> None:
    """Save the files of a model and check them. An interrupted download continues where it stopped."""
    if not folder.is_dir():
        fail(f"There is no folder {folder}. Create it first, or choose another with --to.")
    with looking() as studio:
        rows = [row for row in studio.artifacts(model_id) if kind in (None, row["kind"])]
        if not rows:
            fail("This model has no such file. `cognate model files` lists its files.")
        for row in rows:
            file = folder / Path(row["name"]).name  # whatever path a studio sends, the file stays in this folder
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


@app.command()
def write(
    model_id: ModelIdArgument,
    prompt: Annotated[
        str, typer.Argument(help="A problem, or the beginning of a text; - reads it from standard input.")
    ],
    plain_text: Annotated[
        bool, typer.Option("--continue", help="Continue the text as it is, instead of asking it as a word problem.")
    ] = False,
    tokens: Annotated[int, typer.Option(min=1, max=2000, help="Write at most this many.")] = 120,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0: always the likeliest token.")] = 0.7,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Only the likeliest tokens that together have this probability.")
    ] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same text.")] = 0,
    step: StepOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show why the model expects each word.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let a model write, word by word. Ctrl-C ends it."""
    text, as_problem, ids = sys.stdin.read() if prompt == "-" else prompt, not plain_text, list[int]()
    piece: Row = {}
    with looking() as studio:
        pieces = studio.generate(
            model_id,
            text,
            as_problem=as_problem,
            max_tokens=tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            checkpoint_step=step,
        )
        for piece in pieces:
            ids += piece.get("ids", [])
            if as_json:
                print_json(piece)
            elif "text" in piece:
                write_piece(piece["text"])
        if not as_json:
            write_piece("\n")
        if piece.get("unread_tokens"):  # the last piece
            say("Only the end of the prompt was read: it is longer than the model reads at once.")
        if explain:
            found = studio.explain(model_id, text, ids, as_problem=as_problem, checkpoint_step=step)
            print_json(found) if as_json else _print_explanation(found)


def _print_explanation(found: Row) -> None:
    if found["shortened"]:
        say("The beginning is left out: the text is longer than the model reads at once.")
    columns = ("word", "written", "probability", "ponder steps", "recall", "notes")
    rows = [
        (
            repr(word["text"]),
            word["written"],
            word["probability"],
            word["ponder_steps"],
            word["recall"],
            [f"{note['word']} ({note['share']:.0%})" for note in word["notes"]],
        )
        for word in found["words"]
    ]
    print_table(columns, rows)


@app.command()
def accuracy(
    model_id: ModelIdArgument,
    measure: Annotated[bool, typer.Option("--measure", help="Measure it now; Ctrl-C cancels.")] = False,
    questions: Annotated[int, typer.Option(min=1, max=1000, help="At most this many from each dataset.")] = 50,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Measure its kept checkpoints, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how often a model answers held-out questions correctly."""
    with changing() if measure else looking() as studio:
        found = _measured(studio, model_id, questions, checkpoints) if measure else studio.accuracy(model_id)
    if as_json:
        print_json(found)
    elif found["result"] is None:
        say("Its accuracy has not been measured yet. Add --measure to do so.")
    else:
        columns = ("step", "dataset", "asked", "right", "share", "interval", "commonest", "commonest_right")
        rows = [{"step": at["step"], **score} for at in found["result"]["steps"] for score in at["scores"]]
        print_rows(columns, rows, as_json=False, nothing="")
        for what, why in found["result"]["left_out"].items():
            say(f"Not measured: {what}. {why}")


def _measured(studio: Client, model_id: str, questions: int, checkpoints: bool) -> Row:
    """Measure, and wait until it is done."""

    def progress(found: Row) -> Row:
        return found["progress"] or {"ended": True, "problem": None}  # another model's measurement replaced it

    follow_job(
        progress(studio.measure_accuracy(model_id, questions, checkpoints=checkpoints)),
        lambda: progress(studio.accuracy(model_id)),
        lambda state: state["done"] / max(1, state["total"]),
        lambda: studio.cancel_accuracy(model_id),
    )
    return studio.accuracy(model_id)


@app.command()
def calculate(
    model_id: ModelIdArgument,
    a: Annotated[int, typer.Argument(help="The first number.")],
    b: Annotated[int, typer.Argument(help="The second number.")],
    step: StepOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a Grokking lab model one problem."""
    with looking() as studio:
        found = studio.calculate(model_id, a, b, checkpoint_step=step)
    print_json(found) if as_json else print_facts(found)


@app.command()
def table(model_id: ModelIdArgument, step: StepOption = None, as_json: JsonOption = False) -> None:
    """Show all problems of a Grokking lab model: # right, . wrong; a line for each first number."""
    with looking() as studio:
        found = studio.table(model_id, checkpoint_step=step)
    if as_json:
        print_json(found)
        return
    for row in found["right"]:
        print_line(row.replace("1", "#").replace("0", "."))
    share = found["heldout_accuracy"]
    say(f"Of the problems that it never saw, {'an unknown share is' if share is None else f'{share:.1%} are'} right.")

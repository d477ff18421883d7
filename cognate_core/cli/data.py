"""`cognate data`: inspect datasets and your own files before training."""

from __future__ import annotations

import itertools
from typing import Annotated

import typer

from cognate_core.cli.connection import changing, looking
from cognate_core.cli.output import JsonOption, print_facts, print_json, print_line, print_rows, say
from cognate_core.cli.settings import SetOption, parse_changes

app = typer.Typer(name="data", help="Datasets: inspect the text that a model would read.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(help="`cognate data list` lists the datasets, `cognate files list` your own files.")
]
MATCH_COLUMNS = ("heldout", "train", "kind", "share")
PAIR_COLUMNS = ("row", "repeats", "of_heldout", "similarity")
SHARE_COLUMNS = ("name", "sequences", "of_sequences", "of_tokens", "passes", "left_out")


@app.command("list")
def list_datasets(as_json: JsonOption = False) -> None:
    """List all datasets, on this computer or not."""
    with looking() as studio:
        rows = studio.datasets()
    print_rows(("name", "here", "hub_id", "description"), rows, as_json, "There is none.")


@app.command()
def fetch(name: NameArgument, as_json: JsonOption = False) -> None:
    """Fetch a dataset from the Hugging Face hub. This needs a network and may take minutes."""
    with changing() as studio:
        found = studio.fetch_dataset(name)
    print_json(found) if as_json else say(f"{found['name']} is on the studio's computer now.")


@app.command()
def rows(
    name: NameArgument,
    heldout: Annotated[bool, typer.Option("--heldout", help="Show held-out rows instead of training rows.")] = False,
    count: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show rows of a dataset or file."""
    with looking() as studio:
        found = list(itertools.islice(studio.rows(name, "heldout" if heldout else "training"), count))
    if as_json:
        print_json(found)
        return
    for row in found:
        print_line(f"Row {row['number']:,}")
        print_facts({"it reads": row["prompt"], "it learns": row["answer"]})


@app.command()
def lengths(
    name: NameArgument,
    training_length: Annotated[int | None, typer.Option(help="Tokens in a sequence.")] = None,
    vocabulary: Annotated[int | None, typer.Option(help="The most word pieces for a new tokenizer.")] = None,
    cut: Annotated[bool, typer.Option("--cut", help="Cut rows that are too long instead of leaving them out.")] = False,
    prepared: Annotated[
        str | None, typer.Option(help="The content hash of a run's data, to use its tokenizer.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how long rows are in tokens, and what does not fit."""
    with looking() as studio:
        found = studio.lengths(
            name,
            train_seq_len=training_length,
            vocab_size=vocabulary,
            long_rows="cut" if cut else None,
            prepared=prepared,
        )
    if as_json:
        print_json(found)
        return
    columns = (
        "rows",
        "tokens",
        "mean",
        "median",
        "percentile_95",
        "longest",
        "left_out",
        "cut",
        "sequences",
        "padding",
    )
    splits = [{"split": split, **found[split]} for split in ("training", "heldout")]
    print_rows(("split", *columns), splits, as_json=False, nothing="")
    say(f"The tokenizer has {found['vocabulary']:,} word pieces.")


@app.command()
def overlap(
    name: NameArgument,
    train: Annotated[str | None, typer.Option(help="Search the training rows of this one. Default: its own.")] = None,
    count: Annotated[int, typer.Option(min=1, max=500, help="Show at most this many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Find held-out rows among training rows: a model that has read the test looks better than it is."""
    with looking() as studio:
        found = studio.overlap(name, train, count)
    if as_json:
        print_json(found)
        return
    print_rows(MATCH_COLUMNS, found["matches"], as_json=False, nothing="None of the held-out questions was found.")
    say(
        f"Of {found['heldout_rows']:,} held-out rows, training rows contain {found['same']:,} unchanged, "
        f"{found['numbers']:,} with other numbers, and a passage of {found['passage']:,}."
    )


@app.command("near-duplicates")
def near_duplicates(
    name: NameArgument,
    count: Annotated[int, typer.Option(min=1, max=500, help="Show at most this many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Find training rows that nearly repeat another row. `--set near_duplicates=remove` leaves them out of a run."""
    with looking() as studio:
        found = studio.near_duplicates(name, count)
    if as_json:
        print_json(found)
        return
    print_rows(PAIR_COLUMNS, found["pairs"], as_json=False, nothing="No training row nearly repeats another row.")
    say(
        f"Of {found['training_rows']:,} training rows, {found['near_duplicates']:,} nearly repeat another row, "
        f"{found['of_heldout']:,} of these a held-out row."
    )


@app.command()
def mixture(
    overrides: SetOption = None,
    batch: Annotated[bool, typer.Option("--batch", help="Show the first batch, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would draw from each dataset, for example with --set dataset_sources=GSM8K,SVAMP."""
    with looking() as studio:
        found = studio.mixture(parse_changes(overrides))
    if as_json:
        print_json(found)
        return
    print_rows(SHARE_COLUMNS, found["shares"], as_json=False, nothing="Nothing is drawn.")
    say(f"{found['drawn_sequences']:,} sequences are drawn in the whole run.")
    for sequence in found["batch"] if batch else ():
        print_line(f"From {sequence['dataset']}")
        print_facts({f"{number}, {piece['kind']}": piece["text"] for number, piece in enumerate(sequence["pieces"], 1)})

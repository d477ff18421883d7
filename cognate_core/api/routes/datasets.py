"""Datasets and uploaded files: inspect them before training. Only a fetch uses the network."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from cognate_core.api.requests import GetManager, GetOwner, Input, Items, Page, part
from cognate_core.api.streams import Slots, working
from cognate_core.config import DATASETS, TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.errors import ConfigError, NotFound
from cognate_core.runs import RunManager

if TYPE_CHECKING:
    from cognate_core.data.inspection import Lengths
    from cognate_core.data.inspection_cache import Choice

router = APIRouter(tags=["data"])

OWN = "Own file"
LONGEST_SHOWN = 2000  # characters of one side of a row
USUAL = PRESETS["first-run"].config  # the default settings, as on the page
Name = Annotated[str, Path(max_length=64, description="A dataset's name, or a file's name from /v1/files.")]
_fetching = Slots(1, "A dataset is already being fetched. Try again when that is done.")


class Dataset(BaseModel):
    """A dataset that runs can use."""

    name: str
    hub_id: str = Field(description="Its id on the Hugging Face hub.")
    description: str
    here: bool = Field(description="Whether it is on this computer.")


class RowsQuery(Page):
    """Which rows."""

    split: Literal["training", "heldout"] = "training"


class DatasetRow(BaseModel):
    """A row as training reads it. Long sides are cut."""

    number: int
    prompt: str
    answer: str
    characters: int = Field(description="Length of the whole row.")


class Rows(Items[DatasetRow]):
    """Rows, and facts about all rows: at most as many as a run reads by default."""

    origin: str
    training_rows: int
    heldout_rows: int
    skipped: dict[str, int] = Field(description="Rows that are left out, by reason.")
    unused_columns: list[str] = Field(description="Columns of your own file that are not read.")
    notes: list[str] = Field(description="How your own file was understood, such as its encoding.")


class LengthsQuery(Input):
    """How rows are turned into tokens."""

    train_seq_len: int = USUAL.train_seq_len
    vocab_size: int = USUAL.vocab_size
    long_rows: Literal["leave-out", "cut"] = USUAL.long_rows
    prepared: str | None = Field(
        None,
        max_length=128,
        description="The content_hash of an earlier run's data, to use its tokenizer. Default: a new one is trained.",
    )


class SplitLengths(BaseModel):
    """How long rows are in tokens, and how they fit the training length."""

    rows: int
    tokens: int
    mean: float
    median: float
    percentile_95: float
    longest: int
    left_out: int = Field(description="Rows that do not fit and are left out.")
    cut: int = Field(description="Rows that do not fit and are split over several sequences.")
    sequences: int
    padding: float = Field(description="Share of padding in packed sequences, 0 to 1.")


class LengthsResponse(BaseModel):
    """Lengths by split."""

    training: SplitLengths
    heldout: SplitLengths
    vocabulary: int = Field(description="Word pieces in the tokenizer.")


class OverlapQuery(Input):
    """Where to search for held-out rows."""

    train: str | None = Field(
        None, max_length=64, description="The dataset whose training rows are searched. Default: its own."
    )
    limit: int = Field(50, ge=1, le=500, description="List at most this many matches; all are counted.")


class MatchResponse(BaseModel):
    """The number of a held-out row, and of the training row that shares most with it."""

    heldout: int
    train: int
    kind: Literal["same", "numbers", "passage"]
    share: float = Field(description="Share of the question's passages that occur in training rows.")


class OverlapResponse(BaseModel):
    """How many held-out rows occur in training rows. Each counts once, as its closest kind."""

    heldout_rows: int
    passage_words: int
    same: int = Field(description="The same question occurs.")
    numbers: int = Field(description="The question occurs with other numbers.")
    passage: int = Field(description="A passage of the question occurs.")
    matches: list[MatchResponse]


class NearDuplicatesQuery(Input):
    """How many to list."""

    limit: int = Field(50, ge=1, le=500, description="List at most this many pairs; all are counted.")


class NearDuplicateResponse(BaseModel):
    """The number of a training row, and of the row that it nearly repeats."""

    row: int
    repeats: int
    of_heldout: bool = Field(description="Whether it repeats a held-out row, not a training row.")
    similarity: float = Field(description="0.8 to 1.")


class NearDuplicatesResponse(BaseModel):
    """How many training rows nearly repeat an earlier one or a held-out one."""

    training_rows: int
    near_duplicates: int
    of_heldout: int
    pairs: list[NearDuplicateResponse]


class MixtureRequest(Input):
    """Settings of a run that replace those of the first preset: datasets, weights, lengths, batch."""

    settings: dict[str, Any] = Field(default_factory=dict)


class ShareResponse(BaseModel):
    """What one dataset contributes to a run. Shares are 0 to 1."""

    name: str
    sequences: int
    of_sequences: float
    of_tokens: float
    passes: float = Field(description="How often the run reads it (epochs).")
    left_out: int = Field(description="Rows that do not fit the training length and are not cut.")


class PieceResponse(BaseModel):
    """Adjacent tokens of one kind: given (only read), target (learned), the end of a row, or padding."""

    kind: Literal["given", "target", "end", "padding"]
    tokens: int
    text: str


class SequenceResponse(BaseModel):
    """One sequence of the first batch."""

    dataset: str
    pieces: list[PieceResponse]


class MixtureResponse(BaseModel):
    """What a run would draw, and its first batch."""

    shares: list[ShareResponse]
    drawn_sequences: int
    batch: list[SequenceResponse]


@router.get("/datasets")
def datasets(manager: GetManager) -> list[Dataset]:
    """All datasets, on this computer or not."""
    return [_dataset(manager, name) for name in DATASETS]


@router.post("/datasets/{name}/fetch")
def fetch(name: Name, manager: GetOwner) -> Dataset:
    """Fetch a dataset from the Hugging Face hub, as a run would. The answer can take minutes."""
    if name not in DATASETS:
        raise NotFound(_UNKNOWN)
    with _fetching.taken():
        from cognate_core.data.inspection import fetch
        from cognate_core.data.inspection_cache import ROWS

        fetch(name, ROWS, manager.home / "cache", lambda _: None)
    return _dataset(manager, name)


@router.get("/datasets/{name}/rows")
def rows(name: Name, query: Annotated[RowsQuery, Query()], manager: GetManager) -> Rows:
    """The rows of a dataset."""
    choice = _choice(manager, name)
    with working.taken():
        from cognate_core.data.inspection_cache import rows_of

        source = rows_of(choice)
    documents = source.train if query.split == "training" else source.heldout
    first = query.place or 0
    found = part(
        enumerate(documents[first : first + query.limit + 1], start=first + 1),
        query.limit,
        lambda row: DatasetRow(
            number=row[0],
            prompt=row[1].prompt[:LONGEST_SHOWN],
            answer=row[1].answer[:LONGEST_SHOWN],
            characters=len(row[1].text),
        ),
        lambda row: row[0],
    )
    return Rows(
        items=found.items,
        next=found.next,
        origin="own file" if choice.path else source.origin,
        training_rows=len(source.train),
        heldout_rows=len(source.heldout),
        skipped=dict(source.skipped),
        unused_columns=source.unused,
        notes=source.notes,
    )


@router.get("/datasets/{name}/lengths")
def lengths(name: Name, query: Annotated[LengthsQuery, Query()], manager: GetManager) -> LengthsResponse:
    """How long rows are in tokens, how many do not fit a training length, and how much would be padding."""
    choice = _choice(manager, name)
    config = _config({"train_seq_len": query.train_seq_len, "vocab_size": query.vocab_size})
    with working.taken():
        from cognate_core.data.inspection import prepared_folders
        from cognate_core.data.inspection_cache import lengths_of

        known = {folder.path.name: folder.path for folder in prepared_folders(manager.home / "cache")}
        if query.prepared is not None and query.prepared not in known:
            raise NotFound("That run's data is gone. Leave out `prepared`, or name other data.")
        folder = None if query.prepared is None else known[query.prepared]
        train, heldout, vocabulary = lengths_of(
            choice, folder, config.vocab_size, config.train_seq_len, cut_rows=query.long_rows == "cut"
        )
    return LengthsResponse(training=_lengths(train), heldout=_lengths(heldout), vocabulary=vocabulary)


@router.get("/datasets/{name}/overlap")
def overlap(name: Name, query: Annotated[OverlapQuery, Query()], manager: GetManager) -> OverlapResponse:
    """Find held-out rows among training rows: a model that has read the test looks better than it is."""
    heldout = _choice(manager, name)
    train = heldout if query.train is None else _choice(manager, query.train)
    with working.taken():
        from cognate_core.data.inspection_cache import overlap_of

        found = overlap_of(train, heldout)
    counts = Counter(match.kind for match in found.matches)
    return OverlapResponse(
        heldout_rows=found.heldout_rows,
        passage_words=found.passage_words,
        same=counts["same"],
        numbers=counts["numbers"],
        passage=counts["passage"],
        matches=[
            MatchResponse(heldout=match.heldout + 1, train=match.train + 1, kind=match.kind, share=match.share)
            for match in found.matches[: query.limit]
        ],
    )


@router.get("/datasets/{name}/near-duplicates")
def near_duplicates(
    name: Name, query: Annotated[NearDuplicatesQuery, Query()], manager: GetManager
) -> NearDuplicatesResponse:
    """Find training rows that nearly repeat another row. A run with near_duplicates = "remove" leaves them out."""
    choice = _choice(manager, name)
    with working.taken():
        from cognate_core.data.inspection_cache import near_duplicates_of, rows_of

        found, rows = near_duplicates_of(choice), len(rows_of(choice).train)
    return NearDuplicatesResponse(
        training_rows=rows,
        near_duplicates=len(found),
        of_heldout=sum(each.of_heldout for each in found),
        pairs=[
            NearDuplicateResponse(
                row=each.row + 1, repeats=each.repeats + 1, of_heldout=each.of_heldout, similarity=each.similarity
            )
            for each in found[: query.limit]
        ],
    )


@router.post("/mixture")
def mixture(body: MixtureRequest, manager: GetManager) -> MixtureResponse:
    """What a run with these settings would draw from its datasets, and the text of its first batch.

    Each dataset contributes the rows that /v1/datasets/{name}/rows lists.
    """
    own = body.settings.get("dataset_path")
    config = _config({**body.settings, "dataset_path": None})
    if config.task != "text":
        raise ConfigError({"task": "Only text tasks mix datasets."})
    choices = (
        [_choice(manager, name) for name in config.dataset_sources] if own is None else [_own(manager, own, config)]
    )
    with working.taken():
        from cognate_core.data.inspection_cache import MOST_SEQUENCES, mixture_of
        from cognate_core.data.mixture import sample_batch, shares

        mixed = mixture_of(choices, config)
        given = shares(mixed, config)
        batch = sample_batch(mixed, config, min(config.batch_size, MOST_SEQUENCES))
    return MixtureResponse(
        shares=[ShareResponse(**asdict(share)) for share in given],
        drawn_sequences=config.max_steps * config.gradient_accumulation_steps * config.batch_size,
        batch=[SequenceResponse(**asdict(sequence)) for sequence in batch],
    )


_UNKNOWN = f"There is no such dataset. Choose one of {', '.join(DATASETS)}, or a file from /v1/files."


def _dataset(manager: RunManager, name: str) -> Dataset:
    from cognate_core.data.inspection_cache import choice_of

    return Dataset(
        name=name,
        hub_id=DATASETS[name].id,
        description=DATASETS[name].description,
        here=choice_of(name, manager.home / "cache") is not None,
    )


def _choice(manager: RunManager, name: str) -> Choice:
    """The dataset or uploaded file of this name.

    Raises:
        NotFound: it does not exist, or is not on this computer.
    """
    from cognate_core.data.inspection_cache import choice_of, choice_of_file
    from cognate_core.data.uploads import find_upload

    cache = manager.home / "cache"
    if name in DATASETS:
        choice = choice_of(name, cache)
        if choice is None:
            raise NotFound(f"{name} is not on this computer. Fetch it, or choose another.")
        return choice
    try:
        return choice_of_file(find_upload(manager.home, name).settings, cache)
    except NotFound as error:
        raise NotFound(_UNKNOWN) from error


def _own(manager: RunManager, name: object, config: TrainingConfig) -> Choice:
    """An uploaded file, read as `config` says. Raises NotFound."""
    from cognate_core.data.inspection_cache import choice_of_file
    from cognate_core.data.uploads import find_upload

    try:
        file = find_upload(manager.home, str(name))
    except NotFound as error:
        message = "dataset_path must be a file's name from /v1/files." if name in DATASETS else _UNKNOWN
        raise NotFound(message) from error
    return choice_of_file(dict(file.read_by_run(config)), manager.home / "cache")


def _config(settings: dict[str, Any]) -> TrainingConfig:
    """Raises ConfigError: a setting cannot be used."""
    from cognate_core.data.inspection import LONGEST_LENGTH

    return USUAL.with_overrides({"max_seq_len": LONGEST_LENGTH, **settings})


def _lengths(found: Lengths) -> SplitLengths:
    given = {name: getattr(found, name) for name in SplitLengths.model_fields if name not in ("rows", "tokens")}
    return SplitLengths(rows=len(found.tokens), tokens=int(found.tokens.sum()), **given)

"""Where training rows come from: a local folder, the Hugging Face hub, a person's own file, or a generator.

Each source returns training and held-out documents, or raises an error that says why it cannot. Bad rows are counted;
if they are more than one in a hundred, an error names the first.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from cognate_core.config import DATASETS, Dataset, TrainingConfig
from cognate_core.data import hub
from cognate_core.data.documents import (
    ROW_FORMATS,
    Document,
    RowFormat,
    UnusableRow,
    word_problem_document,
)
from cognate_core.data.row_files import read_rows
from cognate_core.data.row_files.rows import MAX_ROW_BYTES, TOO_LONG, NumberedRow, Reading
from cognate_core.data.word_problems import word_problems
from cognate_core.errors import DataError, DatasetUnavailable, HubUnreachable, Interruption
from cognate_core.files import is_disk_full, sync_folder

Tell = Callable[[str], object]
"""Shows a message to the person. It may raise an Interruption if they asked to stop."""

HubProblem = Callable[[], str | None]
"""Why the hub cannot be reached, as half a sentence; None if it can."""

HUB_TRIES = 3
HUB_TIMEOUT_SECONDS = 10.0
WAIT_SECONDS = 1.0  # for a row, before the person sees how long it takes
HUB_SILENCE_SECONDS = 60.0  # without a row, a try is given up: the hub's client would continue for half an hour
MAX_BAD_SHARE = 0.01
TRAIN_SPLIT = "train"
MOST_MADE = 50_000  # built-in problems
MOST_NEW_WORDING = 1000
NEW_WORDING = "New wording"
"""Easy built-in problems whose names, pairs of numbers and wordings are never trained on."""


@dataclass(slots=True)
class SourceDocuments:
    """What one source gave."""

    name: str
    asked_for: str
    origin: str
    train: list[Document]
    heldout: list[Document]
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> rows
    unused: list[str] = field(default_factory=list)  # some columns of a person's own file that are not read
    notes: list[str] = field(default_factory=list)  # sentences on how its files were read


def load_source(
    name: str, config: TrainingConfig, cache: Path, tell: Tell, hub_problem: HubProblem | None = None
) -> SourceDocuments:
    """The documents of one of the datasets in `config.DATASETS`.

    Args:
        hub_problem: called before anything is fetched; by default `hub.hub_problem`, which tries a connection.

    Raises:
        DatasetUnavailable: it cannot be reached; the message says what was tried.
        DataError: it was reached but cannot be used.
    """
    if name == "Synthetic":
        return synthetic_source(config)
    dataset = DATASETS[name]
    local = _local_splits(dataset)
    if local:
        tell(f"Reading {name} from the local folder")
        return _read_splits(name, config, dataset, *local)
    try:
        train, heldout, origin = _hub_splits(name, config, dataset, cache, tell, hub_problem or hub.hub_problem)
    except DatasetUnavailable as error:
        tried = f"The local folder has no {dataset.folder}. " if os.environ.get("COGNATE_DATASETS_DIR") else ""
        if isinstance(error, HubUnreachable):
            raise HubUnreachable(f"{tried}{error}", error.why) from error
        raise DatasetUnavailable(f"{tried}{error}") from error
    return _read_splits(name, config, dataset, train, heldout, origin)


def splits_here(name: str, cache: Path) -> tuple[Path, Path, str] | None:
    """A hub dataset's files on this computer: training, held-out, and where they come from.

    None if it would have to be fetched. The network is not used.
    """
    dataset = DATASETS[name]
    local = _local_splits(dataset)
    if local:
        return local
    folder = cache / "hub" / name.lower()
    train, heldout = (_fetched(folder, split)[-1:] for split in (TRAIN_SPLIT, dataset.heldout_split))
    return (train[0][1], heldout[0][1], _fetched_earlier(name)) if train and heldout else None


def source_here(name: str, config: TrainingConfig, cache: Path) -> SourceDocuments | None:
    """The documents of one of the datasets in `config.DATASETS`; None if it is not on this computer.

    Raises:
        DataError: it is here but cannot be used.
    """
    if name == "Synthetic":
        return synthetic_source(config)
    splits = splits_here(name, cache)
    return _read_splits(name, config, DATASETS[name], *splits) if splits else None


def synthetic_source(config: TrainingConfig) -> SourceDocuments:
    """Word problems made here: the same settings always give the same problems."""
    wanted = min(config.max_eval_samples + config.max_train_samples, MOST_MADE)
    documents = [word_problem_document(problem) for problem in word_problems(wanted, 0, config.word_problems)]
    kept_apart = min(config.max_eval_samples, max(1, len(documents) // 2))
    return SourceDocuments(
        name="Synthetic",
        asked_for=DATASETS["Synthetic"].id,
        origin="made on this computer",
        train=documents[kept_apart:],
        heldout=documents[:kept_apart],
    )


def new_wording_source(config: TrainingConfig) -> SourceDocuments:
    """Easy word problems made of what the training problems never contain. No model trains on them."""
    problems = word_problems(min(config.max_eval_samples, MOST_NEW_WORDING), 0, config.word_problems, heldout=True)
    return SourceDocuments(
        name=NEW_WORDING,
        asked_for=DATASETS["Synthetic"].id,
        origin="made on this computer",
        train=[],
        heldout=[word_problem_document(problem) for problem in problems],
    )


def _local_splits(dataset: Dataset) -> tuple[Path, Path, str] | None:
    """Both splits from the folder in COGNATE_DATASETS_DIR, and where they come from."""
    local = os.environ.get("COGNATE_DATASETS_DIR")
    if not local:
        return None
    folder = Path(local) / dataset.folder
    train, heldout = (_split_file(folder, split) for split in (TRAIN_SPLIT, dataset.heldout_split))
    return (train, heldout, f"local folder, {dataset.folder}") if train and heldout else None


def _split_file(folder: Path, split: str) -> Path | None:
    return next(
        (
            folder / (split + suffix)
            for suffix in (".jsonl", ".parquet", ".csv")
            if (folder / (split + suffix)).is_file()
        ),
        None,
    )


def _read_splits(
    name: str, config: TrainingConfig, dataset: Dataset, train: Path, heldout: Path, origin: str
) -> SourceDocuments:
    """The documents of both splits: only as many of the first rows as the config asks for."""
    skipped: Counter[str] = Counter()
    row_format, reading = ROW_FORMATS[dataset.row_format], Reading()
    heldout_documents, train_documents = (
        list(usable_documents(itertools.islice(read_rows(path, reading), limit), row_format, config, skipped))
        for path, limit in ((heldout, config.max_eval_samples), (train, config.max_train_samples))
    )
    for path, documents in ((train, train_documents), (heldout, heldout_documents)):
        if not documents:
            raise DataError(f"{path.name} of {name} has no rows. Put its rows there, or train without {name}.")
    return SourceDocuments(
        name, DATASETS[name].id, origin, train_documents, heldout_documents, skipped, notes=reading.notes
    )


def usable_documents(
    rows: Iterable[NumberedRow],
    row_format: RowFormat,
    config: TrainingConfig,
    skipped: Counter[str],
) -> Iterator[Document]:
    """The documents of the rows that can be used; the others are counted in `skipped`, by what is wrong with them.

    Raises:
        DataError: more than one in a hundred cannot be used. The sentence names the first.
    """
    good = bad = 0
    first_bad = ""
    for place, row in rows:
        try:
            if isinstance(row, UnusableRow):
                raise row
            document = row_format(row, config)
            if len(document.prompt) + len(document.answer) > MAX_ROW_BYTES:
                raise UnusableRow(TOO_LONG)
        except UnusableRow as error:
            bad += 1
            skipped[str(error)] += 1
            first_bad = first_bad or f"{place}: {error}"
            continue
        good += 1
        yield document
    if bad > MAX_BAD_SHARE * (good + bad):
        raise DataError(
            f"{bad} of {good + bad} rows cannot be used; at most 1 in 100 may be bad. The first: {first_bad}."
        )


def _hub_splits(
    name: str, config: TrainingConfig, dataset: Dataset, cache: Path, tell: Tell, hub_problem: HubProblem
) -> tuple[Path, Path, str]:
    """Both splits as JSONL files with enough rows in the cache; fetched from the hub unless an earlier run did so."""
    limits = {TRAIN_SPLIT: config.max_train_samples, dataset.heldout_split: config.max_eval_samples}
    folder = cache / "hub" / name.lower()
    files = {split: file for split, limit in limits.items() if (file := _with_enough_rows(folder, split, limit))}
    if len(files) == len(limits):
        return files[TRAIN_SPLIT], files[dataset.heldout_split], _fetched_earlier(name)
    why_not = hub_problem()
    if why_not is not None:
        raise HubUnreachable(f"{name} could not be fetched from the hub: {why_not}.", why_not)
    for attempt in range(1, HUB_TRIES + 1):
        tell(f"Fetching {name} from the hub" + (f", try {attempt} of {HUB_TRIES}" if attempt > 1 else ""))
        try:
            for split, limit in limits.items():
                if split not in files:
                    target = folder / f"{split}-{limit}.jsonl"
                    _fetch_split(name, dataset.subset, split, limit, target, tell)
                    files[split] = target
        except Interruption:
            raise
        except Exception as error:  # the hub's client and its transport raise many unrelated kinds
            if is_disk_full(error):
                raise  # a full disk is no reason to continue without the dataset
            if attempt == HUB_TRIES:
                cause = error.__cause__ if isinstance(error, ConnectionError) and error.__cause__ else error
                words = re.sub(r"\[(Errno|WinError) -?\d+\] ?", "", str(cause))
                why = f"{type(cause).__name__}: {words}".splitlines()[0][:200]
                raise DatasetUnavailable(
                    f"{name} could not be fetched from the hub in {HUB_TRIES} tries ({why})."
                ) from error
            sleep(0.3 * attempt)
        else:
            break
    return files[TRAIN_SPLIT], files[dataset.heldout_split], _hub_origin(name)


def _fetched(folder: Path, split: str) -> list[tuple[int, Path]]:
    """The fetched files of a split as (rows asked for, file), smallest first."""
    limits = [(file.stem.removeprefix(f"{split}-"), file) for file in folder.glob(f"{split}-*.jsonl")]
    return sorted((int(limit), file) for limit, file in limits if limit.isdecimal())


def _with_enough_rows(folder: Path, split: str, wanted: int) -> Path | None:
    """A fetched file with the first `wanted` rows of the split, or with all rows if there are fewer."""
    return next(
        (file for limit, file in _fetched(folder, split) if limit >= wanted or _is_whole(file, limit)),
        None,
    )


def _is_whole(file: Path, limit: int) -> bool:
    """Whether a split has fewer than the `limit` rows asked for."""
    with file.open("rb") as lines:
        return sum(1 for _ in lines) < limit


def _hub_origin(name: str) -> str:
    return f"Hugging Face hub, {DATASETS[name].id}"


def _fetched_earlier(name: str) -> str:
    return f"{_hub_origin(name)} (fetched earlier)"


def _fetch_split(name: str, hub_config: str | None, split: str, limit: int, target: Path, tell: Tell) -> None:
    """Write the first `limit` rows of a split, or all if there are fewer; the file is written whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".partial-{uuid.uuid4().hex}")  # two runs may fetch the same at once
    try:
        with partial.open("w", encoding="utf-8") as file:
            for number, row in enumerate(_watched(_hub_rows(name, hub_config, split, limit), tell), start=1):
                file.write(json.dumps(row) + "\n")
                if number % 200 == 0:
                    tell(f"Fetching {name} from the hub: {number:,} rows of {split}")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)  # only a whole file gets the final name
        sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _hub_rows(name: str, hub_config: str | None, split: str, limit: int) -> Iterator[dict[str, Any]]:
    """The first `limit` rows of a split, streamed: a large dataset is not downloaded whole."""
    from huggingface_hub import HfApi

    # Called first because it fails at once without a network; load_dataset would retry for 23 s.
    HfApi().dataset_info(DATASETS[name].id, timeout=HUB_TIMEOUT_SECONDS)
    import datasets

    # The hub's client itself asks six times. A second loop, of 20 tries a minute apart, would hide a fault.
    datasets.config.STREAMING_READ_MAX_RETRIES = 1
    for wait in ("READ", "READ_SERVER_UNAVAILABLE", "READ_RATE_LIMIT"):
        setattr(datasets.config, f"STREAMING_{wait}_RETRY_INTERVAL", 0)
    rows = datasets.load_dataset(DATASETS[name].id, hub_config, split=split, streaming=True)
    given = 0
    for row in rows.take(limit):
        given += 1
        yield {key: value for key, value in row.items() if value is not None}
    said = rows.info.splits  # what the dataset's page says, if anything
    expected = max(1, min(limit, said[split].num_examples) if said and split in said else 1)
    if given < expected:
        raise DataError(f"the hub sent only {given:,} of {expected:,} rows of {split}")


def _watched(rows: Iterator[dict[str, Any]], tell: Tell) -> Iterator[dict[str, Any]]:
    """`rows`, read in a separate thread: a hub that hangs blocks neither the run nor a request to stop it.

    Raises:
        TimeoutError: no row came for HUB_SILENCE_SECONDS.
    """
    drawn: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()
    given_up = threading.Event()

    def draw() -> None:
        try:
            for row in rows:
                if given_up.is_set():
                    return
                drawn.put(row)
            drawn.put(None)
        except BaseException as error:  # noqa: BLE001  (raised again on the other side)
            drawn.put(error)

    threading.Thread(target=draw, name="hub", daemon=True).start()
    last = monotonic()
    try:
        while True:
            try:
                item = drawn.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                silent = monotonic() - last
                if silent > HUB_SILENCE_SECONDS:
                    raise TimeoutError(f"the hub sent nothing for {HUB_SILENCE_SECONDS:.0f} seconds") from None
                tell(f"Waiting for the hub: {silent:.0f} s")
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            last = monotonic()
            yield item
    finally:
        given_up.set()

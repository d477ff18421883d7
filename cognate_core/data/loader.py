"""MixtureLoader: the DatasetLoader that fetches real datasets and prepares the same content only once."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import json
import shutil
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers

from cognate_core.config import SMALLEST_VOCABULARY, TrainingConfig, field_extra, form_fields
from cognate_core.contracts import RARE, DataReport, DatasetLoader, Event, RecordSink, SourceReport
from cognate_core.data import hub
from cognate_core.data.documents import Document
from cognate_core.data.near_duplicates import near_duplicates
from cognate_core.data.own_file import own_file_source
from cognate_core.data.packing import EncodedDocument, Packed, pack
from cognate_core.data.prepared import (
    DATA_CHANGED,
    HeldoutPrompt,
    prepared_before,
    put_in_place,
    write_prepared,
    write_report,
)
from cognate_core.data.sources import (
    SourceDocuments,
    Tell,
    load_source,
    new_wording_source,
    synthetic_source,
)
from cognate_core.data.tokenizer import train_tokenizer
from cognate_core.errors import DataError, DatasetUnavailable, HubUnreachable

LAYOUT_VERSION = 4  # of the prepared folder: raise it when the same text must be prepared again
PROMPTS_PER_SOURCE = 4
LEFTOVER_SECONDS = 24 * 3600.0  # an incomplete folder older than this was left by a studio that was killed
ENCODED_AT_ONCE = 10_000  # documents; the rest of their tokenizer's answer needs far more memory than the tokens
CACHED_PREPARATIONS = 8  # the newest stay
ALWAYS_HASHED = ("vocab_size", "train_seq_len", "loss_on_answer_only")  # others only once they are changed


class MixtureLoader(DatasetLoader):
    """Fetches what the config asks for, packs it and caches it by content hash. Warns before using synthetic text.

    `earlier_hash`: the hash of the data that the run, or the parent of a twin or branch, trained on before. If that
    data is still there, it is used again and nothing is fetched. `goes_on`: whether it continues from a checkpoint, so
    that other data are refused.
    """

    def __init__(
        self,
        config: TrainingConfig,
        cache: Path,
        record: RecordSink,
        tell: Tell,
        earlier_hash: str | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        self._config, self._cache = config, cache
        self._record, self._tell = record, tell
        self._needed = earlier_hash if goes_on else None
        self._earlier = prepared_before(cache / "prepared" / earlier_hash) if earlier_hash else None
        self._loaded: dict[str, SourceDocuments] = {}
        self._unavailable: dict[str, SourceReport] = {}
        self._hub_problem = functools.cache(hub.hub_problem)  # checked once, for all datasets
        self._warnings: list[str] = []  # recorded once it is certain that the run continues
        self._cut_off: list[str] = []  # datasets that need the hub, which cannot be reached

    async def download_dataset(self, dataset_name: str, dataset_id: str) -> bool:
        if self._earlier is not None:
            return self.get_dataset_results().get(dataset_name, False)
        try:
            source = await asyncio.to_thread(self._load, dataset_name)
        except DatasetUnavailable as error:
            self._unavailable[dataset_name] = SourceReport(
                dataset_name, dataset_id, origin="nowhere", loaded=False, reason=str(error)
            )
            if isinstance(error, HubUnreachable):
                self._cut_off.append(dataset_name)
            else:
                self._warnings.append(f"{error} The run continues without {dataset_name}.")
            return False
        self._loaded[dataset_name] = source
        return True

    async def create_mixed_training_data(self) -> str:
        return str(await asyncio.to_thread(self._prepare))

    def get_dataset_results(self) -> dict[str, bool]:
        if self._earlier is not None:
            return {source.name: source.loaded for source in self._earlier.report.sources}
        return {**dict.fromkeys(self._loaded, True), **dict.fromkeys(self._unavailable, False)}

    def _load(self, name: str) -> SourceDocuments:
        if self._config.dataset_path:
            return own_file_source(self._config, self._tell)
        return load_source(name, self._config, self._cache, self._tell, self._hub_problem)

    def _prepare(self) -> Path:
        if self._earlier is not None:
            self._tell("Using the same data as before")
            self._earlier.folder.touch()
            return self._earlier.folder
        if self._cut_off:
            names = " and ".join(filter(None, [", ".join(self._cut_off[:-1]), self._cut_off[-1]]))
            why, them = self._hub_problem(), "them" if len(self._cut_off) > 1 else "it"
            sentence = f"{names} could not be fetched from the hub: {why}. The run continues without {them}."
            self._warnings.append(sentence)
        sources = list(self._loaded.values())
        fallback = not sources
        if fallback:
            self._warnings.append("No dataset is available: the run uses built-in synthetic word problems instead.")
            sources = [synthetic_source(self._config)]
        for source in sources:
            remove_overlap(source)
            if self._config.near_duplicates == "remove":
                remove_near_duplicates(source, self._tell)
        if self._config.word_problems != "all" and any(source.name == "Synthetic" for source in sources):
            sources.append(new_wording_source(self._config))
        key = self._content_hash(sources)
        if self._needed is not None and key != self._needed:
            raise DataError(DATA_CHANGED)  # before it is recorded: once the data are as before, the run can go on
        for warning in self._warnings:
            self._record(Event("warning", warning))
        folder = self._cache / "prepared" / key
        cached = prepared_before(folder)
        if cached is None:
            if folder.exists():
                self._record(Event("warning", "The data prepared earlier is damaged and is prepared again."))
            report = self._build(sources, folder, key, fallback)
        else:
            self._tell("Reusing the same data, prepared earlier")
            folder.touch()  # makes it new: old preparations are removed
            named = [
                dataclasses.replace(report, origin=source.origin, asked_for=source.asked_for)
                for report, source in zip(cached.report.sources, sources, strict=False)  # unavailable ones come last
            ]
            report = dataclasses.replace(cached.report, sources=named, fallback=fallback, from_cache=True)
        report = dataclasses.replace(report, sources=[*report.sources, *self._unavailable.values()])
        write_report(folder, report)  # the model card is made from it
        self._record(report)
        for source in sources:
            for sentence in source.notes:
                self._record(Event("info", sentence))
            if source.unused:
                self._record(Event("info", f"{source.name}: these columns are not read: {', '.join(source.unused)}."))
        for prepared in report.sources:
            if prepared.cut_rows:
                rows = f"{prepared.cut_rows:,} rows are" if prepared.cut_rows > 1 else "1 row is"
                sentence = f"{rows} longer than {self._config.train_seq_len:,} tokens and cut over several sequences."
                self._record(Event("info", f"{prepared.name}: {sentence}"))
        for warning in report.warnings():
            self._record(Event("warning", warning))
        _keep_newest(folder.parent, CACHED_PREPARATIONS)
        return folder

    def _content_hash(self, sources: list[SourceDocuments]) -> str:
        config = self._config
        settings = [getattr(config, name) for name in ALWAYS_HASHED]
        changed = {
            name: getattr(config, name)
            for name, info in form_fields().items()
            if field_extra(info)["prepares_data"] == "tokens"
            and name not in ALWAYS_HASHED
            and getattr(config, name) != info.get_default(call_default_factory=True)
        }  # a new setting leaves the hashes of existing data as they are
        more = [changed] if changed else []
        digest = hashlib.sha256(json.dumps([LAYOUT_VERSION, tokenizers.__version__, *settings, *more]).encode())
        for source in sources:
            digest.update(json.dumps([source.name, source.skipped]).encode())  # both are in the cached report
            for documents in (source.train, source.heldout):
                for number, document in enumerate(documents):  # as JSON of the whole list, which takes too much memory
                    begin = ", " if number else "["
                    digest.update((begin + json.dumps([document.prompt, document.answer])).encode())
                digest.update(b"]" if documents else b"[]")
        return digest.hexdigest()[:32]

    def _build(self, sources: list[SourceDocuments], folder: Path, key: str, fallback: bool) -> DataReport:
        config = self._config
        self._tell("Training the tokenizer on the training text")
        tokenizer = train_tokenizer(
            (document.text for source in sources for document in source.train), config.vocab_size
        )
        packed: dict[str, dict[str, Packed]] = {}
        reports: list[SourceReport] = []
        prompts: list[HeldoutPrompt] = []
        for source in sources:
            self._tell(f"Turning {source.name} into tokens")
            train, heldout = (
                pack(
                    encode(documents, tokenizer),
                    config.train_seq_len,
                    answers_only=config.loss_on_answer_only,
                    cut_rows=config.long_rows == "cut",
                )
                for documents in (source.train, source.heldout)
            )
            packed[source.name] = {"train": train, "heldout": heldout}
            reports.append(_report(source, train, heldout, config.train_seq_len))
            prompts += _prompts(source)
        if not any(source.train for source in sources):
            raise DataError("Nothing is left to train on: every row is also held out. Lower the held-out rows.")
        if not any(len(splits["train"].tokens) for splits in packed.values()):
            raise DataError(
                f"Every row is longer than the training length of {config.train_seq_len} tokens. "
                "Raise the training length, or have long rows cut."
            )
        report = DataReport(
            reports,
            fallback,
            key,
            tokenizer.get_vocab_size(),
            from_cache=False,
            fitted=True,
            rare_tokens=_rare_tokens([splits["train"] for splits in packed.values()], tokenizer),
        )
        put_in_place(folder, lambda unfinished: write_prepared(unfinished, tokenizer, packed, prompts, report))
        return report


def remove_overlap(source: SourceDocuments) -> None:
    """Remove from the training text what is also held out."""
    held_out = {document.text.strip() for document in source.heldout}
    kept = [document for document in source.train if document.text.strip() not in held_out]
    if len(kept) < len(source.train):
        source.skipped["also in the held-out text"] += len(source.train) - len(kept)
        source.train = kept


def remove_near_duplicates(source: SourceDocuments, tell: Tell = lambda _: None) -> None:
    """Remove training rows that nearly repeat an earlier one or a held-out one."""
    found = near_duplicates(source.train, source.heldout, lambda: tell(f"Looking for near-duplicates in {source.name}"))
    for reason, count in (
        ("nearly repeats a held-out row", sum(each.of_heldout for each in found)),
        ("nearly repeats another row", sum(not each.of_heldout for each in found)),
    ):
        if count:
            source.skipped[reason] += count
    rows = {each.row for each in found}
    source.train = [document for row, document in enumerate(source.train) if row not in rows]


def encode(documents: Sequence[Document], tokenizer: tokenizers.Tokenizer) -> list[EncodedDocument]:
    """Encode prompt and answer separately, as when a person asks and the model answers, on all cores."""
    encoded = []
    for start in range(0, len(documents), ENCODED_AT_ONCE):
        some = documents[start : start + ENCODED_AT_ONCE]
        # Fast: leaves out the position of each token in the text, which nobody needs.
        prompts = tokenizer.encode_batch_fast([document.prompt for document in some])
        answers = tokenizer.encode_batch_fast([document.answer for document in some])
        for prompt, answer in zip(prompts, answers, strict=True):
            encoded.append(EncodedDocument(array("H", prompt.ids + answer.ids), len(prompt.ids)))
    return encoded


def _rare_tokens(packed: list[Packed], tokenizer: tokenizers.Tokenizer) -> int:
    """How many tokens longer than a single byte are rare in the training text."""
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for sequences in packed:
        counts += np.bincount(sequences.tokens.ravel(), minlength=len(counts))
    return int((counts[SMALLEST_VOCABULARY:] < RARE).sum())


def _report(source: SourceDocuments, train: Packed, heldout: Packed, length: int) -> SourceReport:
    skipped = dict(source.skipped)
    too_long = train.skipped + heldout.skipped
    if too_long:
        skipped[f"longer than {length} tokens"] = too_long
    return SourceReport(
        name=source.name,
        asked_for=source.asked_for,
        origin=source.origin,
        loaded=True,
        reason="",
        train_rows=len(source.train) - train.skipped,
        heldout_rows=len(source.heldout) - heldout.skipped,
        skipped=skipped,
        train_tokens=int(train.counted.sum()),
        train_sequences=len(train.tokens),
        cut_rows=train.cut + heldout.cut,
    )


def _prompts(source: SourceDocuments) -> list[HeldoutPrompt]:
    """The few shortest of the first held-out problems: people read them in a narrow column."""
    some = sorted(source.heldout[:50], key=lambda document: len(document.text))[:PROMPTS_PER_SOURCE]
    return [
        HeldoutPrompt(source.name, document.prompt, document.answer)
        if document.prompt
        else HeldoutPrompt(source.name, document.answer[:80], document.answer[80:400])
        for document in some
    ]


def _keep_newest(folder: Path, count: int) -> None:
    complete = [path for path in folder.iterdir() if ".tmp-" not in path.name]
    for leftover in set(folder.iterdir()) - set(complete):
        if leftover.stat().st_mtime < time.time() - LEFTOVER_SECONDS:  # else another run may be writing it
            shutil.rmtree(leftover, ignore_errors=True)
    newest_first = sorted(complete, key=lambda path: path.stat().st_mtime, reverse=True)
    for old in newest_first[count:]:
        shutil.rmtree(old, ignore_errors=True)

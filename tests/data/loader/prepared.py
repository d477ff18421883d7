"""Small data, prepared."""

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cognate_core.config import DATASETS, TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID, DataReport, Event, Record
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import CancelRequested

SMALL = TrainingConfig(
    dataset_sources=["Synthetic"],
    max_train_samples=40,
    max_eval_samples=8,
    train_seq_len=256,
    max_seq_len=256,
    d_model=16,
    n_layers=1,
    n_heads=2,
    vocab_size=400,
)


@dataclasses.dataclass
class Outcome:
    folder: Path
    records: list[Record]
    told: list[str]
    results: dict[str, bool]

    @property
    def report(self) -> DataReport:
        (report,) = [record for record in self.records if isinstance(record, DataReport)]
        return report

    @property
    def warnings(self) -> list[str]:
        return [record.message for record in self.records if isinstance(record, Event) and record.level == "warning"]


def prepare(config: TrainingConfig, cache: Path, stop_at: int | None = None) -> Outcome:
    """What a service does with a loader. `stop_at`: the message at which the person cancels."""
    records: list[Record] = []
    told: list[str] = []

    def tell(message: str) -> None:
        told.append(message)
        if stop_at is not None and len(told) == stop_at:
            raise CancelRequested

    async def run() -> Outcome:
        loader = MixtureLoader(config, cache, records.append, tell)
        wanted = (
            {"Own file": config.dataset_path or ""}
            if config.dataset_path
            else {name: each.id for name, each in DATASETS.items()}
        )
        for name in wanted if config.dataset_path else config.dataset_sources:
            await loader.download_dataset(name, wanted[name])
        folder = await loader.create_mixed_training_data()
        return Outcome(Path(folder), records, told, loader.get_dataset_results())

    return asyncio.run(run())


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def gsm8k_row(number: int) -> dict[str, Any]:
    return {"question": f"What is {number} plus one?", "answer": f"It is {number + 1}.\n#### {number + 1}"}


def texts_in(data: PreparedData, name: str, split: str) -> Counter[str]:
    """The documents of a split, read back from its tokens."""
    tokenizer = data.tokenizer()
    found: Counter[str] = Counter()
    for row in data.packed(name, split).tokens.tolist():
        ids: list[int] = []
        for token in row:
            if token != END_OF_TEXT_ID:
                ids.append(token)
            elif ids:
                found[tokenizer.decode(ids)] += 1
                ids = []
    return found


def gsm8k_text(number: int) -> str:
    return f"Problem: What is {number} plus one?\nSolution: It is {number + 1}.\n#### {number + 1}"


def no_tokenizer_training(*arguments: object) -> Tokenizer:
    raise AssertionError("the tokenizer is trained a second time")

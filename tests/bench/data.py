"""The way of the data, stage by stage: tokens a second beside what training of the same preset takes up."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import DataReport
from cognate_core.data.documents import Document
from cognate_core.data.loader import encode, remove_overlap
from cognate_core.data.packing import pack
from cognate_core.data.prepared import Batches, PreparedData, write_prepared
from cognate_core.data.sources import load_source
from cognate_core.data.tokenizer import train_tokenizer
from cognate_core.training.hardware import keep_freed_memory
from tests.bench.model import step_seconds
from tests.bench.timing import heading, line

BATCHES = 500
T = TypeVar("T")


def timed(function: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def stages(config: TrainingConfig, training_rate: float) -> None:
    """From the rows of the config's datasets to batches; `training_rate`: tokens a second of training."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def documents_of_all() -> list[tuple[str, list[Document]]]:
            loaded = [load_source(each, config, folder, lambda _: None) for each in config.dataset_sources]
            for source in loaded:
                remove_overlap(source)
            return [(source.name, source.train) for source in loaded]

        took: dict[str, float] = {}
        took["rows to documents"], sources = timed(documents_of_all)
        took["training the tokenizer"], tokenizer = timed(
            lambda: train_tokenizer((each.text for _, documents in sources for each in documents), config.vocab_size)
        )
        took["documents to tokens"], encoded = timed(
            lambda: {source: encode(documents, tokenizer) for source, documents in sources}
        )
        took["tokens to sequences"], packed = timed(
            lambda: {source: pack(each, config.train_seq_len, answers_only=False) for source, each in encoded.items()}
        )
        report = DataReport([], fallback=False, content_hash="", vocabulary=config.vocab_size, from_cache=False)
        splits = {source: {"train": each, "heldout": each} for source, each in packed.items()}

        def written() -> PreparedData:
            write_prepared(folder, tokenizer, splits, [], report)
            return PreparedData(folder)

        took["written to disk, checked"], data = timed(written)
        batches = Batches({each: data.packed(each, "train") for each in data.sources}, {}, config.batch_size, 0)
        batch_seconds, _ = timed(lambda: [batches.next() for _ in range(BATCHES)])
    tokens = sum(len(each.ids) for documents in encoded.values() for each in documents)
    rows = sum(len(documents) for _, documents in sources)
    line("rows, tokens", f"{rows:,}", f"{tokens:,}")
    for stage, spent in took.items():
        line(stage, f"{tokens / spent:,.0f} tokens/s", f"{tokens / spent / training_rate:,.0f} x training")
    whole = sum(took.values())
    line(
        "all of it, once a run",
        f"{whole:.1f} s",
        f"as training on {whole * training_rate / tokens:.1%} of these tokens",
    )
    drawn = BATCHES * config.batch_size * config.train_seq_len / batch_seconds
    line("batches, with each step", f"{drawn:,.0f} tokens/s", f"{drawn / training_rate:,.0f} x training")
    for source, each in packed.items():
        length = each.counted.shape[1] - 1  # the first end-of-text is never a target
        waste = 1 - each.counted[:, 1:].mean()
        beside = f"of {len(each.tokens):,} sequences of {length}; {each.skipped} rows too long"
        line(f"{source}: padding", f"{waste:.1%}", beside)


def main() -> None:
    keep_freed_memory()
    for preset in ("first-run", "cognate-25m"):
        config = PRESETS[preset].config
        rate = config.batch_size * config.train_seq_len / step_seconds(config, "fp32")
        heading(f"Data of the preset {preset}; training (forward and backward pass alone) takes {rate:,.0f} tokens/s")
        stages(config.with_overrides({"dataset_sources": ["Synthetic"]}), rate)
        if os.environ.get("COGNATE_DATASETS_DIR"):
            line("", "", "from COGNATE_DATASETS_DIR: " + ", ".join(config.dataset_sources))
            stages(config, rate)
        else:
            line("real rows", "not measured", "COGNATE_DATASETS_DIR names no folder")

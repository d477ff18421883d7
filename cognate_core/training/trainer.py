"""TorchTrainer: the ModelTrainer that really trains, and writes a model's folder of artifacts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any, TextIO

import torch

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Event, ModelTrainer, ProgressCallback, Record, RecordSink
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import CancelRequested, DataError, StopRequested
from cognate_core.training.hardware import choose_precision, keep_freed_memory, return_freed_memory
from cognate_core.training.loop import TrainingLoop, record_to_json
from cognate_core.training.model_card import model_card

ARTIFACT_FILES = {
    "weights": "model.safetensors",
    "config": "config.json",
    "tokenizer": "tokenizer.json",
    "training_config": "training_config.toml",
    "training_log": "training_log.jsonl",
    "model_card": "README.md",
}
"""What each artifact is, and its file's name."""


class TorchTrainer(ModelTrainer):
    """Trains a Cognate with PyTorch in a thread of its own. `record` gets every figure that is measured."""

    def __init__(self, record: RecordSink) -> None:
        self._record = record

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self._train, model_name, config, progress_callback)

    def _train(self, name: str, config: TrainingConfig, progress_callback: ProgressCallback) -> dict[str, Any]:
        if config.prepared_data is None:
            raise DataError("No training data was prepared. Run the data loader first.")
        data = PreparedData(Path(config.prepared_data))
        folder = _new_folder(Path(config.output_dir), name)
        keep_freed_memory()
        try:
            with (folder / ARTIFACT_FILES["training_log"]).open("w", encoding="utf-8") as log:
                record = _tee(self._record, log)
                precision = choose_precision(config.precision)
                record(Event("info", f"Number format {precision.reason}", name, 0))
                loop = TrainingLoop(name, config, data, folder, precision, record, progress_callback)
                try:
                    loop.run()
                    status = "completed"
                    heldout = loop.full_heldout_loss()
                except StopRequested:
                    if loop.step == 0:
                        raise  # nothing was learned: there is nothing to save
                    status, heldout = "stopped", {}
                loop.save()
                return _finish(name, config, data, folder, loop, status, heldout, precision.name)
        except CancelRequested:
            shutil.rmtree(folder, ignore_errors=True)  # the person wants nothing of it
            raise
        except BaseException:
            if not (folder / ARTIFACT_FILES["weights"]).is_file():
                _discard_partial(folder)
            raise
        finally:
            return_freed_memory()


def _finish(
    name: str,
    config: TrainingConfig,
    data: PreparedData,
    folder: Path,
    loop: TrainingLoop,
    status: str,
    heldout: dict[str, float],
    precision: str,
) -> dict[str, Any]:
    """Write the artifacts; what `train_model` returns."""
    shutil.copyfile(data.folder / "tokenizer.json", folder / ARTIFACT_FILES["tokenizer"])
    (folder / ARTIFACT_FILES["training_config"]).write_text(config.to_toml(), encoding="utf-8")
    parameter_count = sum(p.numel() for p in loop.model.parameters())
    seconds = loop.elapsed_seconds
    stats = {
        "steps": loop.step,
        "planned_steps": config.max_steps,
        "tokens": loop.tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(loop.tokens / seconds, 1),
        "epochs": {source: round(passes, 3) for source, passes in loop.epochs().items()},
        "heldout_loss": {source: round(loss, 4) for source, loss in heldout.items()},
        "precision": precision,
        "threads": torch.get_num_threads(),
        "seed": config.seed,
    }
    card = model_card(name, parameter_count, status, config, data.report, stats)
    (folder / ARTIFACT_FILES["model_card"]).write_text(card, encoding="utf-8")
    loop.model.save_pretrained(folder)  # last: a folder with weights has all the rest
    return {
        "parameter_count": parameter_count,
        "training_status": status,
        "artifacts": {kind: str(folder / file) for kind, file in ARTIFACT_FILES.items()},
        "training_stats": stats,
        "datasets_used": [source.name for source in data.report.sources if source.train_sequences],
        "grokfast_enabled": config.grokfast_enabled,
        "act_enabled": loop.model.pondering is not None,
        "ltm_enabled": loop.model.writer is not None,
    }


def _tee(record: RecordSink, log: TextIO) -> RecordSink:
    """Write each record to the model's own log, then hand it on."""

    def write(item: Record) -> None:
        log.write(json.dumps(record_to_json(item)) + "\n")
        record(item)

    return write


def _new_folder(parent: Path, label: str) -> Path:
    """A new folder below `parent` for a model of this name. The name is a label: only its harmless letters are used."""
    slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40]
    if slug != label:
        slug = f"{slug or 'model'}-{hashlib.sha256(label.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 10_000):
        folder = parent / (slug if number == 1 else f"{slug}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise DataError(f"{parent} holds 10,000 models called {label!r} already. Choose another name.")


def _discard_partial(folder: Path) -> None:
    """Leave the log and checkpoints of a failed model for inspection; remove the folder when it holds neither."""
    log = folder / ARTIFACT_FILES["training_log"]
    if not (folder / "checkpoints").exists() and (not log.exists() or log.stat().st_size == 0):
        shutil.rmtree(folder, ignore_errors=True)

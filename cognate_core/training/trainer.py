"""TorchTrainer: the ModelTrainer that trains with PyTorch and writes a model's folder of artifacts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import uuid
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    ARTIFACT_FILES,
    Evaluation,
    Event,
    ModelTrainer,
    ProgressCallback,
    Record,
    RecordSink,
    Rewind,
    bits_per_byte,
)
from cognate_core.contracts.json_lines import is_before, read_records, record_to_json
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import (
    OUT_OF_MEMORY,
    CancelRequested,
    DataError,
    OutOfMemory,
    PauseRequested,
    StopRequested,
    StorageError,
    is_out_of_memory,
)
from cognate_core.files import replace_durably, require_space, sync_file, sync_folder
from cognate_core.labels import folder_name
from cognate_core.model import CognateModel
from cognate_core.training.checkpoint import (
    ROOM_FOR_THE_REST,
    Checkpoint,
    checkpoint_path,
    load_checkpoint,
    newest_checkpoint,
)
from cognate_core.training.hardware import (
    Precision,
    compute_environment,
    keep_freed_memory,
    precision_for,
    return_freed_memory,
)
from cognate_core.training.loop import TrainingLoop
from cognate_core.training.model_card import model_card
from cognate_core.training.process_group import ALONE, ProcessGroup
from cognate_core.training.tasks import loop_for
from cognate_core.training.threads import ThreadChoice


class ThreadTrainer(ModelTrainer):
    """Trains a model in a separate thread, with `_train`.

    Args:
        record: gets every measured figure.
        resume: continue from the newest sound checkpoint in the model's folder, if any.
        begin: a folder with a checkpoint of another run, to continue from if the model has none.
        chooses_threads: whether to choose the number of threads by trials, at most as many as torch has now.
    """

    def __init__(
        self, record: RecordSink, resume: bool = False, begin: Path | None = None, chooses_threads: bool = False
    ) -> None:
        self._record, self._resume, self._begin = record, resume, begin
        self._chooses_threads = chooses_threads

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self._train, model_name, config, progress_callback)

    @abstractmethod
    def _train(self, name: str, config: TrainingConfig, progress_callback: ProgressCallback) -> dict[str, Any]:
        """Returns and raises what `train_model` does."""


class TorchTrainer(ThreadTrainer):
    """Trains with PyTorch in this process."""

    def _train(self, name: str, config: TrainingConfig, progress_callback: ProgressCallback) -> dict[str, Any]:
        prepared(config)
        folder = model_folder(config, name, use_again=self._resume)
        training = Training(
            name, config, folder, self._record, progress_callback, chooses_threads=self._chooses_threads
        )
        return training.carry_out(self._resume, self._begin)


@dataclass(frozen=True, slots=True)
class Training:
    """The training of one model in its folder.

    Attributes:
        folder: holds what was saved before a resume, and gets the artifacts.
        before_save: called before each checkpoint: it should store all records so far.
        group: the workers that train the model together. Rank 0 also does everything that is not learning.
        chooses_threads: as for TorchTrainer.
    """

    name: str
    config: TrainingConfig
    folder: Path
    record: RecordSink
    progress_callback: ProgressCallback
    before_save: Callable[[], None] = lambda: None
    group: ProcessGroup = ALONE
    chooses_threads: bool = False

    def carry_out(self, resume: bool, begin: Path | None, worker_lost: bool = False) -> dict[str, Any]:
        """Returns and raises what `train_model` does. The arguments are those of TorchTrainer.

        worker_lost: whether it continues because a worker was lost.
        """
        name, config, folder, group = self.name, self.config, self.folder, self.group
        data = prepared(config)
        warnings: list[str] = []
        checkpoints = folder / "checkpoints"
        checkpoint = newest_checkpoint(checkpoints, warnings.append) if resume else None
        begins = checkpoint is None and begin is not None
        if begin is not None and begins:
            checkpoints = begin
            checkpoint = newest_checkpoint(begin, warnings.append)
            if checkpoint is None:
                raise StorageError("The checkpoint that this run should continue from is damaged. Branch from another.")
        log_path = folder / ARTIFACT_FILES["training_log"]
        rewind = _rewind(name, checkpoint)
        most_threads = torch.get_num_threads()
        choice = None
        if self.chooses_threads and config.task == "text":  # the earlier choice, to continue bit for bit
            before = checkpoint.state if checkpoint else {}
            chosen = before.get("threads_chosen", before.get("compute_environment", {}).get("threads"))
            choice = ThreadChoice(most_threads, chosen)
        keep_freed_memory()
        try:
            if resume:
                _shorten_log(log_path, rewind)
                self.record(rewind)
            with log_path.open("a", encoding="utf-8", buffering=1) as log:  # line-buffered: a crash loses no line
                record = _tee(self.record, log)
                taken = "An earlier one is used." if checkpoint else "There is no earlier one: it starts from step 0."
                for warning in warnings:
                    record(Event("warning", f"{warning} {taken}", name, max(0, rewind.step)))
                precision = (
                    Precision(checkpoint.state["precision"], f"{checkpoint.state['precision']}, as before")
                    if checkpoint
                    else precision_for(config)
                )
                begun = max(0, rewind.step)
                record(Event("info", f"Number format {precision.reason}", name, begun))
                threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
                means = threads if group.size == 1 else f"{group.size} workers, each of {threads}"
                record(Event("info", f"Using {means}", name, begun))
                from_where = str(checkpoint_path(checkpoints, checkpoint.state["step"])) if checkpoint else None
                group.tell(json.dumps({"precision": precision.name, "checkpoint": from_where, "branched": begins}))

                def before_save() -> None:
                    os.fsync(log.fileno())
                    self.before_save()

                loop = loop_for(config)(
                    name, config, data, folder, precision, record, self.progress_callback, before_save, group, choice
                )
                parameters = sum(weights.numel() for weights in loop.model.parameters())
                record(Event("info", f"The model has {parameters:,} parameters", name, begun))
                goes_on = checkpoint is not None
                if checkpoint:
                    loop.load(checkpoint, branched=begins)
                    checkpoint = None  # else its weights would stay in memory until the end of training
                if worker_lost:
                    lost = f"A worker was lost. Training continues from step {loop.step:,}"
                    record(Event("warning", lost, name, loop.step))
                elif goes_on:
                    how = "Continues from another run's checkpoint, of" if begins else "Resumed after"
                    record(Event("info", f"{how} step {loop.step:,}", name, loop.step))
                closing: list[Evaluation] = []
                try:
                    loop.run()
                    status = "completed"
                    loop.return_to_best()
                    closing = loop.full_heldout()
                except StopRequested:
                    if loop.step == 0:
                        raise  # nothing was learned: there is nothing to save
                    status = "stopped"
                except PauseRequested:
                    if loop.step > 0:
                        loop.save()
                    raise
                loop.save()
                return _finish(name, config, data, folder, loop, status, closing, precision.name, group.size)
        except CancelRequested:
            if not (folder / ARTIFACT_FILES["weights"]).is_file():  # else a model was already finished here
                shutil.rmtree(folder, ignore_errors=True)  # a cancelled model is not kept
            raise
        except BaseException as error:
            if not (folder / ARTIFACT_FILES["weights"]).is_file():
                _discard_partial(folder)
            if is_out_of_memory(error):
                raise OutOfMemory(OUT_OF_MEMORY) from error
            raise
        finally:
            return_freed_memory()
            torch.set_num_threads(most_threads)

    def help_out(self) -> None:
        """Learn together with rank 0, which carries out the training. Raises what it raises."""
        told = json.loads(self.group.tell(""))
        precision = Precision(told["precision"], "as chosen by rank 0")
        keep_freed_memory()
        loop = loop_for(self.config)(
            self.name,
            self.config,
            prepared(self.config),
            self.folder,
            precision,
            self.record,
            self.progress_callback,
            group=self.group,
        )
        if told["checkpoint"] is not None:
            loop.load(load_checkpoint(Path(told["checkpoint"])), branched=told["branched"])
        loop.run()


def prepared(config: TrainingConfig) -> PreparedData:
    """The data that the loader made. Raises DataError if there is none."""
    if config.prepared_data is None:
        raise DataError("No training data was prepared. Run the data loader first.")
    return PreparedData(Path(config.prepared_data))


def _finish(
    name: str,
    config: TrainingConfig,
    data: PreparedData,
    folder: Path,
    loop: TrainingLoop,
    status: str,
    closing: list[Evaluation],
    precision: str,
    workers: int,
) -> dict[str, Any]:
    """Write the artifacts, each whole or not at all. Returns what `train_model` does."""
    parameter_count = sum(p.numel() for p in loop.model.parameters())
    seconds = loop.elapsed_seconds
    measured: dict[str, dict[str, float | None]] = {
        "heldout_loss": {each.dataset: each.loss for each in closing},
        "heldout_bits_per_byte": {each.dataset: bits_per_byte(each.loss, each.tokens, each.bytes) for each in closing},
        "heldout_accuracy": {each.dataset: each.accuracy for each in closing},
    }
    stats = {
        "steps": loop.step,
        "planned_steps": config.max_steps,
        "weights_step": loop.weights_step,
        **({"ended_early": why} if (why := loop.why_early()) else {}),
        "tokens": loop.tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(loop.tokens / seconds, 1),
        "epochs": {source: round(passes, 3) for source, passes in loop.epochs().items()},
        **{
            figure: {dataset: round(value, 4) for dataset, value in of.items() if value is not None}
            for figure, of in measured.items()
        },
        "precision": precision,
        "threads": torch.get_num_threads(),
        "workers": workers,
        "processor": compute_environment()["processor"],
        "torch": torch.__version__,
        "seed": config.seed,
    }
    card = model_card(name, parameter_count, status, config, data.report, stats)
    for leftover in folder.glob("finishing.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    weights_bytes = sum(tensor.numel() * tensor.element_size() for tensor in loop.model.state_dict().values())
    require_space(folder, weights_bytes + ROOM_FOR_THE_REST, "the finished model")
    unfinished = folder / f"finishing.tmp-{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        shutil.copyfile(data.folder / "tokenizer.json", unfinished / ARTIFACT_FILES["tokenizer"])
        (unfinished / ARTIFACT_FILES["training_config"]).write_text(config.to_toml(), encoding="utf-8")
        (unfinished / ARTIFACT_FILES["model_card"]).write_text(card, encoding="utf-8")
        loop.model.save_pretrained(unfinished)
        for path in unfinished.iterdir():
            sync_file(path)
        weights = ARTIFACT_FILES["weights"]
        for path in sorted(unfinished.iterdir(), key=lambda each: each.name == weights):  # weights last: a folder
            path.replace(folder / path.name)  # that has them has everything else
        sync_folder(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {
        "parameter_count": parameter_count,
        "training_status": status,
        "artifacts": {kind: str(folder / file) for kind, file in ARTIFACT_FILES.items()},
        "training_stats": stats,
        "datasets_used": [source.name for source in data.report.sources if source.train_sequences],
        "grokfast_enabled": config.grokfast_enabled,
        "act_enabled": isinstance(loop.model, CognateModel) and loop.model.pondering is not None,
        "ltm_enabled": isinstance(loop.model, CognateModel) and loop.model.writer is not None,
    }


def _tee(record: RecordSink, log: TextIO) -> RecordSink:
    """Write each record to the model's own log, then pass it on."""

    def write(item: Record) -> None:
        log.write(_line(item))
        record(item)

    return write


def _line(record: Record) -> str:
    return json.dumps(record_to_json(record), allow_nan=False) + "\n"


def _shorten_log(path: Path, rewind: Rewind) -> None:
    """Remove from a model's log what the rewind makes void, whole or not at all."""
    if path.is_file():
        kept = (_line(record) for record in read_records(path) if is_before(record, rewind))
        replace_durably(path, "".join(kept).encode())


def _rewind(name: str, checkpoint: Checkpoint | None) -> Rewind:
    if checkpoint is None:
        return Rewind(name, step=-1, checked_step=-1)
    return Rewind(name, checkpoint.state["step"], checkpoint.state["checked_step"])


def model_folder(config: TrainingConfig, label: str, *, use_again: bool) -> Path:
    """A folder below `output_dir` for a model of this name: a new one, unless `use_again` allows an existing one."""
    parent, slug = Path(config.output_dir), folder_name(label)
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 10_000):
        folder = parent / (slug if number == 1 else f"{slug}-{number}")
        try:
            folder.mkdir(exist_ok=use_again)
        except FileExistsError:
            continue
        return folder
    raise DataError(f"{parent} already has 10,000 models called {label!r}. Choose another name.")


def _discard_partial(folder: Path) -> None:
    """Leave the log and checkpoints of a failed model for inspection; remove the folder if it has neither."""
    log = folder / ARTIFACT_FILES["training_log"]
    if not (folder / "checkpoints").exists() and (not log.exists() or log.stat().st_size == 0):
        shutil.rmtree(folder, ignore_errors=True)

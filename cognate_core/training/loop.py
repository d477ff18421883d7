"""The training loop of one model, for any task: gradients, GrokFast, optimizer, held-out checks, checkpoints.

It knows no runs, databases or pages: it reports measurements to a `RecordSink` and its progress to a callback.
The tasks are in `text_loop.py` and `arithmetic_loop.py`.
All randomness follows from the seed and the step: a checkpoint needs no state of a random generator.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, assert_never

import torch
from torch import Tensor

from cognate_core.arithmetic.model import ArithmeticModel
from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import learning_rate_at, peak_learning_rate
from cognate_core.contracts import Evaluation, Event, ProgressCallback, Record, RecordSink, StepMetrics
from cognate_core.contracts.heldout import HeldoutMeans
from cognate_core.data.prepared import DATA_CHANGED, PreparedData
from cognate_core.errors import DataError, Diverged, Interruption, StorageError
from cognate_core.model import CognateModel
from cognate_core.training.best import Best
from cognate_core.training.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, save_checkpoint
from cognate_core.training.grokfast import GrokFastEMA, GrokFastMA
from cognate_core.training.hardware import MachineMeter, Precision, compute_environment
from cognate_core.training.layer_figures import LayersOfStep, is_measured
from cognate_core.training.process_group import ALONE, ProcessGroup
from cognate_core.training.threads import ThreadChoice

BAD_STEPS_TO_DIVERGE = 3  # losses in a row that are not a number
SAVE_SECONDS = 300.0  # a checkpoint at least this often, even if steps are slow


@dataclass(frozen=True, slots=True)
class StepFigures:
    """The mean loss of a step's forward passes, how many targets counted, and the task's own figures."""

    loss: float
    tokens: int
    more: Mapping[str, float | None]  # fields of StepMetrics


class BatchOrder(Protocol):
    """The position of training in its data."""

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""


class TrainingLoop(ABC):
    """Trains one model from its first step to its last.

    Attributes:
        model: the model in its current state.
        step: optimizer steps done.
        tokens: target tokens learned from.
        weights_step: the step of `model`'s weights: `step`, unless it returned to its best check.
        elapsed_seconds: time spent training, including checks, saves and the time before a resume.
        optimizers: each updates its own part of the weights.
    """

    model: CognateModel | ArithmeticModel
    step: int
    optimizers: Sequence[torch.optim.Optimizer]
    _batches: BatchOrder

    def __init__(
        self,
        model_name: str,
        config: TrainingConfig,
        data: PreparedData,
        folder: Path,
        precision: Precision,
        record: RecordSink,
        progress_callback: ProgressCallback,
        before_save: Callable[[], None] = lambda: None,
        group: ProcessGroup = ALONE,
        threads: ThreadChoice | None = None,
    ) -> None:
        """`before_save` is called before each checkpoint: it should write all records so far to the disk.
        `threads` is asked after each step; without it, their number does not change.

        Each member of `group` makes its own loop, with the same settings. Only rank 0 checks, samples, saves, records
        and calls back.
        """
        self._group, self._threads = group, threads
        self._before_save = before_save
        self._name, self._config, self._data, self._folder = model_name, config, data, folder
        self._precision, self._progress_callback = precision, progress_callback
        self._record: RecordSink = _unheard if group.rank else record
        self._begin()
        self._parameters = list(self.model.parameters())
        self._filter = _gradient_filter(self._parameters, config)
        self._bad_steps = 0
        self._machine = MachineMeter()
        self._started = time.perf_counter()
        self._earlier_seconds = 0.0  # before it was resumed
        self._last: tuple[float, float] = (math.nan, 0.0)  # loss and learning rate of the last step
        self._saved_step = 0
        self._saved_at = self._started
        self._checked_step = -1  # the last one whose held-out check was completed
        self._means = HeldoutMeans(None, None, None)  # of the last check
        self._score: float | None = None  # of the last check; the best one has the lowest
        self._best = Best.by(config)
        self._best_weights = False
        self.step = 0
        self.tokens = 0

    @abstractmethod
    def _begin(self) -> None:
        """Create the model, its optimizers and the batches from the seed."""

    @abstractmethod
    def _gradients(self, step: int) -> StepFigures:
        """Forward and backward over the batches of a step; an interrupted step leaves nothing behind."""

    @abstractmethod
    def _check_heldout(self) -> HeldoutMeans:
        """Measure what was held out, and record it. Returns the means that may decide the best check."""

    @abstractmethod
    def full_heldout(self) -> list[Evaluation]:
        """Measure each dataset over all of its held-out rows."""

    @abstractmethod
    def epochs(self) -> dict[str, float]:
        """How often training went through each source."""

    def _own_state(self) -> dict[str, Any]:
        """What else the task needs to continue, as JSON values."""
        return {}

    def _load_own_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (most tasks have none)
        """Restore what `_own_state` gave, if the checkpoint has it: those of earlier versions do not."""

    @property
    def elapsed_seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._started

    @property
    def weights_step(self) -> int:
        return (self._best.step or 0) if self._best_weights else self.step

    def why_early(self) -> str | None:
        """Why training ended before its last step; None if it did not."""
        if not self._best.is_over or self.step >= self._config.max_steps:
            return None
        return f"Ended early, at step {self.step:,} of {self._config.max_steps:,}. {self._best.reason()}"

    def load(self, checkpoint: Checkpoint, branched: bool = False) -> None:
        """Continue from a checkpoint: on the same computer, bit for bit as if training had not been interrupted.

        The optimizers and the filter take over its tensors, which then change with each step.

        branched: it is a checkpoint of another run, whose best check does not count here.

        Raises:
            DataError: it was trained on other text, in which the same tokens mean something else.
        """
        state = checkpoint.state
        if state["data"] != self._data.report.content_hash:
            raise DataError(DATA_CHANGED)
        self.model.load_state_dict(dict(checkpoint.model))
        # What a branch may change (rates, betas, weight decay) comes from this run's config.
        for optimizer, values in zip(
            self.optimizers, _optimizer_states(self.optimizers, checkpoint.tensors), strict=True
        ):
            optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
        self._load_filter(_filter_state(checkpoint))
        self._batches.load_state_dict(state["batches"])
        self.step = self._saved_step = state["step"]
        self.tokens = state["tokens"]
        self._bad_steps = state["bad_steps"]
        self._load_own_state(state)
        self._checked_step = state["checked_step"]
        if "best" in state and not branched:  # earlier versions averaged the datasets differently
            self._best.load_state_dict(state["best"])
        self._earlier_seconds = state["elapsed_seconds"]
        then = {**state["compute_environment"], "workers": state.get("workers", 1)}
        now = {**compute_environment(), "workers": self._group.size}
        changed = [f"{what} was {then.get(what)} and is {now[what]}" for what in now if now[what] != then.get(what)]
        if changed:
            self._record(
                Event(
                    "warning",
                    f"Training continues in another environment: {'; '.join(changed)}. The curve continues, but is not "
                    "bit-identical.",
                    self._name,
                    self.step,
                )
            )

    def _load_filter(self, saved: dict[str, Any]) -> None:
        """Restore the gradient filter's memory, if it is of the same kind; its strength comes from the config."""
        if isinstance(self._filter, GrokFastEMA) and "alpha" in saved:
            self._filter.load_state_dict({**saved, "alpha": self._filter.alpha, "lamb": self._filter.lamb})
        elif isinstance(self._filter, GrokFastMA) and saved.get("window_size") == self._filter.window_size:
            self._filter.load_state_dict({**saved, "lamb": self._filter.lamb})

    def run(self) -> None:
        """Train to max_steps.

        Raises:
            Diverged: the loss was not a number several times in a row.
            Interruption: the progress callback asked for it.
        """
        config = self._config
        if self.step == 0:
            for warning in config.warnings():
                self._record(Event("warning", warning, self._name, 0))
        self._check_when_due()
        while self.step < config.max_steps and not self._best.is_over:
            start = time.perf_counter()
            self._one_step(self.step + 1)
            a_batch = (time.perf_counter() - start) / config.gradient_accumulation_steps
            if self._threads and self.step < config.max_steps and self._threads.is_due(a_batch):
                self._choose_threads(self._threads)
            self._check_when_due()
            if self.step % config.save_steps == 0 or time.perf_counter() - self._saved_at > SAVE_SECONDS:
                self.save()
        if ended := self.why_early():
            self._record(Event("info", ended, self._name, self.step))

    def return_to_best(self) -> None:
        """With early stopping, restore the weights of the best check. A checkpoint of the last step is kept."""
        if not self._config.early_stopping_patience:
            return
        if self._best.step is None:
            words = "No check measured what early stopping watches. The model has the weights of the last step."
            self._record(Event("warning", words, self._name, self.step))
        elif self._best.step < self.step:
            self.save()
            try:
                best = load_checkpoint(checkpoint_path(self._folder / "checkpoints", self._best.step))
            except StorageError as error:
                self._record(
                    Event("warning", f"{error} The model has the weights of the last step.", self._name, self.step)
                )
                return
            self.model.load_state_dict(dict(best.model))
            self._best_weights = True
            words = f"The model has the weights of its best check, at step {self._best.step:,}"
            self._record(Event("info", words, self._name, self.step))

    def step_at(self, learning_rate: float) -> None:
        """Take the next step at this rate instead of the schedule's. Nothing is checked or saved.

        Raises:
            Diverged: the loss was not a number several times in a row.
        """
        self._one_step(self.step + 1, learning_rate)

    def save(self) -> None:
        """Write a checkpoint of the current step, unless one exists."""
        if self.step == self._saved_step or self._group.rank:
            return
        self._before_save()
        start = time.perf_counter()
        tensors, scalars = _optimizer_tensors(self.optimizers), {}
        filter_state = self._filter.state_dict() if self._filter else {}
        for name, value in filter_state.items():
            if isinstance(value, dict) and name != "count":
                tensors.update({f"filter.{name}.{index}": tensor for index, tensor in value.items()})
            else:
                scalars[f"filter.{name}"] = value
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "data": self._data.report.content_hash,
            "batches": self._batches.state_dict(),
            "bad_steps": self._bad_steps,
            "checked_step": self._checked_step,
            "score": self._score if self._checked_step == self.step else None,
            "best": self._best.state_dict(),
            "elapsed_seconds": self.elapsed_seconds,
            "precision": self._precision.name,
            "compute_environment": compute_environment(),
            "threads_chosen": self._threads.chosen if self._threads else torch.get_num_threads(),
            "workers": self._group.size,
            "scalars": scalars,
            **self._own_state(),
        }
        save_checkpoint(self._folder / "checkpoints", Checkpoint(self.model.state_dict(), tensors, state))
        self._saved_step, self._saved_at = self.step, time.perf_counter()
        seconds = self._saved_at - start
        self._record(Event("info", f"Checkpoint saved in {seconds:.1f} s", self._name, self.step))

    def _choose_threads(self, threads: ThreadChoice) -> None:
        """Try several numbers of threads on the next step, whose results are discarded."""
        before, tried = threads.now, threads.choose(self._unkept_pass)
        seconds = ", ".join(f"{seconds:.2f} s with {number}" for number, seconds in tried.items())
        chosen = f"{threads.now} thread{'s' if threads.now != 1 else ''}"
        bits = "" if threads.now == before else " The change may affect the last digits of later figures."
        self._record(Event("info", f"Using {chosen} from here: a batch took {seconds}.{bits}", self._name, self.step))

    def _unkept_pass(self) -> None:
        """Compute the gradients of one batch of the next step and discard them."""
        self._poll()
        position, buffers, config = self._batches.state_dict(), self._buffers(), self._config
        self._config = config.model_copy(update={"gradient_accumulation_steps": 1})
        try:
            self._gradients(self.step + 1)
        finally:
            self._config = config
            self._put_back(position, buffers)

    def _buffers(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.model.named_buffers()}

    def _put_back(self, position: dict[str, Any], buffers: dict[str, Tensor]) -> None:
        """Undo a step that has begun."""
        self._batches.load_state_dict(position)
        self.model.load_state_dict(buffers, strict=False)
        self.model.zero_grad()

    def _one_step(self, step: int, learning_rate: float | None = None) -> None:
        start = time.perf_counter()
        config = self._config
        measured = learning_rate is None and self._group.rank == 0 and is_measured(step, config)
        learning_rate = learning_rate_at(step, config) if learning_rate is None else learning_rate
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = learning_rate
        position = self._batches.state_dict()
        buffers = self._buffers()
        try:
            figures = self._gradients(step)
        except Interruption:  # during the step
            self._put_back(position, buffers)
            raise
        layers = LayersOfStep(self.model) if measured else None
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, config.max_grad_norm or math.inf))
        filtered_norm = math.nan
        if math.isfinite(figures.loss) and math.isfinite(grad_norm):
            self._bad_steps = 0
            if self._filter:
                self._filter.step()
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            filtered_norm = float(torch.nn.utils.get_total_norm(gradients))
            for optimizer in self.optimizers:
                optimizer.step()
        else:  # keep it out of the weights
            self._bad_steps += 1
        if layers:  # before a pause can come: what follows a checkpoint of this step is not measured again
            self._record(layers.figures(self._name, step))
        self.model.zero_grad()
        self.step = step
        self.tokens += figures.tokens
        self._last = (figures.loss, learning_rate)
        self._group.first(lambda: self._tell_step(figures, grad_norm, filtered_norm, time.perf_counter() - start))
        if self._bad_steps >= BAD_STEPS_TO_DIVERGE:
            raise Diverged(
                f"The loss stopped being a number at step {step}. Start a new run with a lower learning rate than "
                f"{peak_learning_rate(config):g}, or with stronger gradient clipping."
            )

    def _tell_step(self, figures: StepFigures, grad_norm: float, filtered_norm: float, seconds: float) -> None:
        self._record(
            StepMetrics(
                model_name=self._name,
                step=self.step,
                loss=figures.loss,
                learning_rate=self._last[1],
                grad_norm=grad_norm,
                filtered_grad_norm=filtered_norm,
                tokens=figures.tokens,
                seconds=seconds,
                elapsed_seconds=self.elapsed_seconds,
                **self._machine.figures(),
                **figures.more,
            )
        )
        self._poll()

    def _check_when_due(self) -> None:
        """If a held-out check is due, do it, once per step; keep a checkpoint of the best so far."""
        config = self._config
        due = self.step % config.eval_interval == 0 or self.step == config.max_steps
        if not due or self._checked_step == self.step:
            return
        self._group.first(self.check)
        # The other workers need the means to end when rank 0 does.
        self._means = HeldoutMeans(**json.loads(self._group.tell(json.dumps(asdict(self._means)))))
        self._checked_step = self.step
        if self._saved_step == self.step:  # a checkpoint from before a resume lacks this check
            self._saved_step = 0
        if self.step:  # an untrained model is no result
            self._score = self._best.take(self.step, self._means)
            if self._best.step == self.step:
                self.save()
        elif config.early_stopping_patience and self._best.score_of(self._means) is None:
            words = "Early stopping will not work: the first check did not measure its metric"
            self._record(Event("warning", f"{words} ({config.metric_for_best_model}).", self._name, 0))

    def check(self) -> None:
        """Measure what was held out, and record it."""
        self._means = self._check_heldout()

    def _poll(self) -> None:
        """Report progress; the callback may interrupt."""
        self._progress_callback(self.step, self._config.max_steps, *self._last)


def _unheard(_: Record) -> None:
    """Drop what rank 0 records, too."""


def _gradient_filter(parameters: list[Any], config: TrainingConfig) -> GrokFastEMA | GrokFastMA | None:
    if not config.grokfast_enabled:
        return None
    match config.grokfast_method:
        case "ema":
            return GrokFastEMA(parameters, config.grokfast_alpha, config.grokfast_lamb)
        case "ma":
            return GrokFastMA(parameters, config.grokfast_window, config.grokfast_lamb)
        case unknown:
            assert_never(unknown)


def _optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimizers' states as named tensors, parameters numbered across all. Their settings come from the config."""
    tensors: dict[str, Tensor] = {}
    before = 0
    for optimizer in optimizers:
        state = optimizer.state_dict()
        for index, values in state["state"].items():
            tensors |= {f"optimizer.{before + index}.{name}": value for name, value in values.items()}
        before += _size(state)
    return tensors


def _optimizer_states(
    optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> list[dict[int, dict[str, Tensor]]]:
    """For each optimizer, "optimizer.3.exp_avg" as [3]["exp_avg"]; the tensors are not copied."""
    states: list[dict[int, dict[str, Tensor]]] = []
    before = 0
    for optimizer in optimizers:
        size = _size(optimizer.state_dict())
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, what = name.split(".")
                if before <= int(index) < before + size:
                    state.setdefault(int(index) - before, {})[what] = tensor
        states.append(state)
        before += size
    return states


def _size(state: Mapping[str, Any]) -> int:
    return sum(len(group["params"]) for group in state["param_groups"])


def _filter_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the gradient filter's `state_dict` gave."""
    state: dict[str, Any] = {
        "average": {},
        "ring": {},
        "sum": {},
    }  # the filter has some of these; empty before the first step
    for name, value in checkpoint.state["scalars"].items():
        if name.startswith("filter."):
            state[name.removeprefix("filter.")] = value
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("filter."):
            _, what, index = name.split(".")
            state[what][index] = tensor
    return state

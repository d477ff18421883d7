"""The training loop of one model: batches, loss, GrokFast, AdamW, held-out checks, samples, checkpoints.

It knows nothing of runs, databases or pages: it tells a `RecordSink` what it measures and a callback where it is.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    END_OF_TEXT_ID,
    Evaluation,
    Event,
    PonderHistogram,
    ProgressCallback,
    RecordSink,
    Sample,
    StepMetrics,
)
from cognate_core.data.packing import Packed
from cognate_core.data.prepared import Batches, HeldoutPrompt, PreparedData
from cognate_core.errors import Diverged
from cognate_core.model import IGNORED_TARGET, CognateModel, CognateOutput
from cognate_core.training.checkpoint import Checkpoint, save_checkpoint
from cognate_core.training.grokfast import GrokFastEMA, GrokFastMA
from cognate_core.training.hardware import Precision
from cognate_core.training.introspection import Introspection
from cognate_core.training.schedule import learning_rate_at, peak_learning_rate

BAD_STEPS_TO_DIVERGE = 3  # losses in a row that are no number
PONDER_RAMP = 0.2  # over this share of the steps the price of pondering grows to its full value
CHECK_TOKENS = 8192  # of each dataset's held-out text, at each check; the end of training reads all of it


class TrainingLoop:
    """Trains one model from its first step to its last.

    Attributes:
        model: the model as it is now.
        step: optimizer steps done.
        tokens: target tokens learned from.
        elapsed_seconds: time spent training, checks and saves included.
    """

    def __init__(
        self,
        model_name: str,
        config: TrainingConfig,
        data: PreparedData,
        folder: Path,
        precision: Precision,
        record: RecordSink,
        progress_callback: ProgressCallback,
    ) -> None:
        self._name, self._config, self._data, self._folder = model_name, config, data, folder
        self._precision, self._record, self._progress_callback = precision, record, progress_callback
        self._tokenizer = data.tokenizer()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = CognateModel(config)
        self._parameters = list(self.model.parameters())
        matrices = [p for p in self._parameters if p.dim() > 1]
        others = [p for p in self._parameters if p.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,
        )
        self._filter = _gradient_filter(self._parameters, config)
        self._batches = Batches(
            {name: data.packed(name, "train") for name in data.sources},
            config.mixture_weights,
            config.batch_size,
            config.seed,
        )
        self._heldout = {name: data.packed(name, "heldout") for name in data.sources}
        self._since_check = Introspection()
        self._bad_steps = 0
        self._started = time.perf_counter()
        self._last: tuple[float, float] = (math.nan, 0.0)  # loss and learning rate of the last step
        self._saved_step = 0
        self.step = 0
        self.tokens = 0

    @property
    def elapsed_seconds(self) -> float:
        return time.perf_counter() - self._started

    def run(self) -> None:
        """Train to max_steps.

        Raises:
            Diverged: the loss was no number several times in a row.
            StopRequested, CancelRequested: the progress callback asked for it.
        """
        config = self._config
        for doubt in config.doubts():
            self._record(Event("warning", doubt, self._name, 0))
        self._check_heldout()
        for step in range(1, config.max_steps + 1):
            self._one_step(step)
            if step % config.eval_interval == 0 or step == config.max_steps:
                self._check_heldout()
            if step % config.save_steps == 0:
                self.save()

    def save(self) -> None:
        """Write a checkpoint of the current step, unless there is one, and what was counted on the way to it."""
        if self.step == self._saved_step:
            return
        self._record_ponder_counts()  # a stop comes between two checks
        start = time.perf_counter()
        tensors, scalars = _optimizer_tensors(self._optimizer)
        filter_state = self._filter.state_dict() if self._filter else {}
        for name, value in filter_state.items():
            if isinstance(value, dict) and name != "count":
                tensors.update({f"filter.{name}.{index}": tensor for index, tensor in value.items()})
            else:
                scalars[f"filter.{name}"] = value
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "batches": self._batches.state_dict(),
            "precision": self._precision.name,
            "scalars": scalars,
        }
        save_checkpoint(self._folder / "checkpoints", Checkpoint(self.model.state_dict(), tensors, state))
        self._saved_step = self.step
        seconds = time.perf_counter() - start
        self._record(Event("info", f"Checkpoint saved in {seconds:.1f} s", self._name, self.step))

    def full_heldout_loss(self) -> dict[str, float]:
        """Mean loss of each dataset over all its held-out rows, in nats a token."""
        losses = {}
        for name, packed in self._heldout.items():
            loss, tokens = self._loss_over(packed, max_tokens=None)
            if tokens:
                losses[name] = loss
        return losses

    def epochs(self) -> dict[str, float]:
        """How often each source has been passed through."""
        return self._batches.epochs()

    def _one_step(self, step: int) -> None:
        start = time.perf_counter()
        config = self._config
        learning_rate = learning_rate_at(step, config)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        batches = [_inputs_and_targets(*self._batches.next()) for _ in range(config.gradient_accumulation_steps)]
        counts = [int((targets != IGNORED_TARGET).sum()) for _, targets in batches]
        total = sum(counts)
        loss_sum = 0.0
        seen = Introspection()
        for number, ((inputs, targets), count) in enumerate(zip(batches, counts, strict=True)):
            if not count:
                continue  # a batch without a counted target has no mean
            output = self._forward(
                inputs,
                targets,
                max_ponder_steps=ponder_limit(config, step, number),
                ponder_weight=ponder_weight_at(step, config),
            )
            (cast(Tensor, output.loss) * (count / total)).backward()  # type: ignore[no-untyped-call]
            loss_sum += float(cast(Tensor, output.language_model_loss).detach()) * (count / total)
            seen.add(output, targets)
        self._since_check.add_counts(seen.ponder_counts)
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, config.max_grad_norm or math.inf))
        filtered_norm = math.nan
        if math.isfinite(loss_sum) and math.isfinite(grad_norm):
            self._bad_steps = 0
            if self._filter:
                self._filter.step()
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            filtered_norm = float(torch.nn.utils.get_total_norm(gradients))
            self._optimizer.step()
        else:  # never let it into the weights
            self._bad_steps += 1
        self._optimizer.zero_grad()
        self.step = step
        self.tokens += total
        self._last = (loss_sum, learning_rate)
        self._record(
            StepMetrics(
                model_name=self._name,
                step=step,
                loss=loss_sum,
                learning_rate=learning_rate,
                grad_norm=grad_norm,
                filtered_grad_norm=filtered_norm,
                tokens=total,
                seconds=time.perf_counter() - start,
                elapsed_seconds=self.elapsed_seconds,
                **seen.means(),
            )
        )
        self._progress_callback(step, config.max_steps, loss_sum, learning_rate)
        if self._bad_steps >= BAD_STEPS_TO_DIVERGE:
            raise Diverged(
                f"The loss stopped being a number at step {step}. Start again with a lower learning rate than "
                f"{peak_learning_rate(config):g}, or with stronger gradient clipping."
            )

    def _forward(self, inputs: Tensor, targets: Tensor, **settings: Any) -> CognateOutput:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision.name == "bf16"):
            return cast(CognateOutput, self.model(inputs, targets, **settings))

    def _check_heldout(self) -> None:
        """Measure each dataset's held-out loss, then let the model write."""
        self._record_ponder_counts()
        for name, packed in self._heldout.items():
            loss, tokens = self._loss_over(packed, CHECK_TOKENS)
            if tokens:
                self._record(Evaluation(self._name, self.step, name, loss, tokens))
        if self._config.sample_tokens:
            for prompt in {prompt.dataset: prompt for prompt in reversed(self._data.prompts)}.values():
                self._record(self._sample(prompt))

    def _record_ponder_counts(self) -> None:
        """The histogram since the last one; at most one a step."""
        if len(self._since_check.ponder_counts):
            self._record(PonderHistogram(self._name, self.step, self._since_check.ponder_counts.tolist()))
            self._since_check = Introspection()

    @torch.no_grad()
    def _loss_over(self, packed: Packed, max_tokens: int | None) -> tuple[float, int]:
        """Mean loss in nats a counted token over the sequences, up to about max_tokens; and how many counted."""
        total, tokens = 0.0, 0
        self.model.eval()
        for inputs, targets in _in_batches(packed, self._config.batch_size):
            counted = int((targets != IGNORED_TARGET).sum())
            if counted:
                total += float(cast(Tensor, self._forward(inputs, targets).language_model_loss)) * counted
                tokens += counted
            self._poll()
            if max_tokens is not None and tokens >= max_tokens:
                break
        self.model.train()
        return (total / tokens if tokens else math.nan), tokens

    def _sample(self, prompt: HeldoutPrompt) -> Sample:
        config = self._config
        ids = self._tokenizer.encode(prompt.prompt).ids
        tokens = []
        self.model.eval()
        for token in self.model.generate(
            torch.tensor([[END_OF_TEXT_ID, *ids]]),
            config.sample_tokens,
            temperature=0.7,
            top_p=0.9,
            seed=config.seed,
            stop_id=END_OF_TEXT_ID,
        ):
            tokens.append(token.id)
            self._poll()
        self.model.train()
        text = self._tokenizer.decode(tokens)
        return Sample(self._name, self.step, prompt.dataset, prompt.prompt, text, prompt.expected)

    def _poll(self) -> None:
        """Let the callback interrupt between two steps too."""
        self._progress_callback(self.step, self._config.max_steps, *self._last)


def ponder_limit(config: TrainingConfig, step: int, batch: int) -> int:
    """Most ponder steps of this batch: drawn evenly from 2 to max_act_steps, from seed and place alone."""
    rng = np.random.default_rng((config.seed, step, batch))
    return int(rng.integers(min(2, config.max_act_steps), config.max_act_steps, endpoint=True))


def ponder_weight_at(step: int, config: TrainingConfig) -> float:
    """Price of a ponder step at optimizer step `step`, from 1: it grows evenly to act_ponder_weight."""
    ramp = PONDER_RAMP * config.max_steps
    return config.act_ponder_weight * min(1.0, step / ramp)


def _gradient_filter(parameters: list[Any], config: TrainingConfig) -> GrokFastEMA | GrokFastMA | None:
    if not config.grokfast_enabled:
        return None
    if config.grokfast_method == "ma":
        return GrokFastMA(parameters, config.grokfast_window, config.grokfast_lamb)
    return GrokFastEMA(parameters, config.grokfast_alpha, config.grokfast_lamb)


def _inputs_and_targets(tokens: Any, counted: Any) -> tuple[Tensor, Tensor]:
    """Shift once: position t predicts token t + 1. Each (batch, length)."""
    ids, counts = torch.from_numpy(tokens), torch.from_numpy(counted)
    return ids[:, :-1], ids[:, 1:].where(counts[:, 1:].bool(), IGNORED_TARGET)


def _in_batches(packed: Packed, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(packed.tokens), batch_size):
        rows = slice(start, start + batch_size)
        yield _inputs_and_targets(packed.tokens[rows].astype("int64"), packed.counted[rows].astype("int64"))


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimizer's state as named tensors, and its settings as JSON values."""
    state = optimizer.state_dict()
    tensors = {
        f"optimizer.{index}.{name}": value for index, values in state["state"].items() for name, value in values.items()
    }
    return tensors, {"param_groups": [_jsonable(group) for group in state["param_groups"]]}


def _jsonable(group: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in group.items()}


def record_to_json(record: Any) -> dict[str, Any]:
    """A record as a JSON object; a figure that is no number becomes null."""
    values = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in dataclasses.asdict(record).items()
    }
    return {"type": type(record).__name__, **values}

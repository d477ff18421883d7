"""The training loop of one model: batches, loss, GrokFast, AdamW, held-out checks, samples, checkpoints.

It knows nothing of runs, databases or pages: it tells a `RecordSink` what it measures and a callback where it is.
Everything random in it follows from the seed and the step; so a checkpoint needs no state of a random generator.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
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
from cognate_core.errors import DataError, Diverged, Interruption
from cognate_core.model import IGNORED_TARGET, CognateModel, CognateOutput
from cognate_core.schedule import learning_rate_at, peak_learning_rate
from cognate_core.training.checkpoint import Checkpoint, save_checkpoint
from cognate_core.training.grokfast import GrokFastEMA, GrokFastMA
from cognate_core.training.hardware import Precision, calculator
from cognate_core.training.introspection import Introspection

BAD_STEPS_TO_DIVERGE = 3  # losses in a row that are no number
PONDER_RAMP = 0.2  # over this share of the steps the price of pondering grows to its full value
SAVE_SECONDS = 300.0  # a checkpoint at least this often, should the steps be slow
CHECK_TOKENS = 8192  # of each dataset's held-out text, at each check; the end of training reads all of it


class TrainingLoop:
    """Trains one model from its first step to its last.

    Attributes:
        model: the model as it is now.
        step: optimizer steps done.
        tokens: target tokens learned from.
        elapsed_seconds: time spent training, checks and saves included, before it was resumed, too.
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
        before_save: Callable[[], None] = lambda: None,
    ) -> None:
        """`before_save` is called before each checkpoint: what was recorded until then should be on the disk."""
        self._before_save = before_save
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
        self._earlier_seconds = 0.0  # before it was resumed
        self._last: tuple[float, float] = (math.nan, 0.0)  # loss and learning rate of the last step
        self._saved_step = 0
        self._saved_at = self._started
        self._checked_step = -1  # the last one whose held-out check was not broken off
        self._checked_loss: float | None = None  # mean over the datasets
        self._lowest_checked_loss = math.inf
        self.step = 0
        self.tokens = 0

    @property
    def elapsed_seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._started

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint: what follows is what would have followed then, bit for bit on the same computer.

        Raises:
            DataError: it was trained on other text, in which the same tokens mean something else.
        """
        state = checkpoint.state
        if state["data"] != self._data.report.content_hash:
            raise DataError(
                "The training text is no longer what this run began with (a dataset or file has changed, or cannot be "
                "had any more). Bring it back and resume, or start a new run."
            )
        self.model.load_state_dict(dict(checkpoint.model))
        # What a branch may have changed (rates, betas, weight decay) is as this run's config says.
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": _optimizer_state(checkpoint.tensors), "param_groups": groups})
        self._load_filter(_filter_state(checkpoint))
        self._batches.load_state_dict(state["batches"])
        self.step = self._saved_step = state["step"]
        self.tokens = state["tokens"]
        self._bad_steps = state["bad_steps"]
        self._checked_step = state["checked_step"]
        self._lowest_checked_loss = math.inf if state["lowest_loss"] is None else state["lowest_loss"]
        self._earlier_seconds = state["elapsed_seconds"]
        then, now = state["calculator"], calculator()
        changed = [f"{what} was {then.get(what)} and is {now[what]}" for what in now if now[what] != then.get(what)]
        if changed:
            self._record(
                Event(
                    "warning",
                    f"This goes on with other means than before: {'; '.join(changed)}. The curve goes on, but not bit "
                    "for bit as it would have.",
                    self._name,
                    self.step,
                )
            )

    def _load_filter(self, saved: dict[str, Any]) -> None:
        """Go on with what the gradient filter remembered, if it is of the same kind; its strength is the config's."""
        if isinstance(self._filter, GrokFastEMA) and "alpha" in saved:
            self._filter.load_state_dict({**saved, "alpha": self._filter.alpha, "lamb": self._filter.lamb})
        elif isinstance(self._filter, GrokFastMA) and saved.get("window_size") == self._filter.window_size:
            self._filter.load_state_dict({**saved, "lamb": self._filter.lamb})

    def run(self) -> None:
        """Train to max_steps.

        Raises:
            Diverged: the loss was no number several times in a row.
            Interruption: the progress callback asked for it.
        """
        config = self._config
        if self.step == 0:
            for doubt in config.doubts():
                self._record(Event("warning", doubt, self._name, 0))
        self._check_when_due()
        while self.step < config.max_steps:
            self._one_step(self.step + 1)
            self._check_when_due()
            if self.step % config.save_steps == 0 or time.perf_counter() - self._saved_at > SAVE_SECONDS:
                self.save()

    def save(self) -> None:
        """Write a checkpoint of the current step, unless there is one, and what was counted on the way to it."""
        if self.step == self._saved_step:
            return
        self._record_ponder_counts()  # a stop comes between two checks
        self._before_save()
        start = time.perf_counter()
        tensors, scalars = _optimizer_tensors(self._optimizer), {}
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
            "heldout_loss": self._checked_loss if self._checked_step == self.step else None,
            "lowest_loss": self._lowest_checked_loss if math.isfinite(self._lowest_checked_loss) else None,
            "elapsed_seconds": self.elapsed_seconds,
            "precision": self._precision.name,
            "calculator": calculator(),
            "scalars": scalars,
        }
        save_checkpoint(self._folder / "checkpoints", Checkpoint(self.model.state_dict(), tensors, state))
        self._saved_step, self._saved_at = self.step, time.perf_counter()
        seconds = self._saved_at - start
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
        position = self._batches.state_dict()
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        try:
            loss_sum, total, seen = self._gradients(step)
        except Interruption:  # in the midst of the step: as if it had not begun
            self._batches.load_state_dict(position)
            self.model.load_state_dict(buffers, strict=False)
            self._optimizer.zero_grad()
            raise
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

    def _gradients(self, step: int) -> tuple[float, int, Introspection]:
        """Forward and backward over the batches of a step: the mean loss, the tokens that counted, what was seen."""
        config = self._config
        batches = [_inputs_and_targets(*self._batches.next()) for _ in range(config.gradient_accumulation_steps)]
        counts = [int((targets != IGNORED_TARGET).sum()) for _, targets in batches]
        total = sum(counts)
        loss_sum = 0.0
        seen = Introspection()
        for number, ((inputs, targets), count) in enumerate(zip(batches, counts, strict=True)):
            if not count:
                continue  # a batch without a counted target has no mean
            if number:
                self._poll()
            output = self._forward(
                inputs,
                targets,
                max_ponder_steps=ponder_limit(config, step, number),
                ponder_weight=ponder_weight_at(step, config),
            )
            (cast(Tensor, output.loss) * (count / total)).backward()  # type: ignore[no-untyped-call]
            loss_sum += float(cast(Tensor, output.language_model_loss).detach()) * (count / total)
            seen.add(output, targets)
        return loss_sum, total, seen

    def _forward(self, inputs: Tensor, targets: Tensor, **settings: Any) -> CognateOutput:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision.name == "bf16"):
            return cast(CognateOutput, self.model(inputs, targets, keep_logits=False, **settings))

    def _check_when_due(self) -> None:
        """At its steps, and once for each, measure the held-out losses; keep a checkpoint of the best so far."""
        config = self._config
        due = self.step % config.eval_interval == 0 or self.step == config.max_steps
        if not due or self._checked_step == self.step:
            return
        self._checked_loss = self._check_heldout()
        self._checked_step = self.step
        if self._saved_step == self.step:  # what an earlier life saved here knows nothing of this check
            self._saved_step = 0
        if self._checked_loss is not None and self._checked_loss < self._lowest_checked_loss:
            self._lowest_checked_loss = self._checked_loss
            if self.step:
                self.save()

    def _check_heldout(self) -> float | None:
        """Measure each dataset's held-out loss, then let the model write; the mean loss, None when it is no number."""
        self._record_ponder_counts()
        losses = []
        for name, packed in self._heldout.items():
            loss, tokens = self._loss_over(packed, CHECK_TOKENS)
            if tokens:
                self._record(Evaluation(self._name, self.step, name, loss, tokens))
                losses.append(loss)
        if self._config.sample_tokens:
            for prompt in {prompt.dataset: prompt for prompt in reversed(self._data.prompts)}.values():
                self._record(self._sample(prompt))
        mean = sum(losses) / len(losses) if losses else math.nan
        return mean if math.isfinite(mean) else None

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


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors. Its settings are the config's."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def _optimizer_state(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """ "optimizer.3.exp_avg" as [3]["exp_avg"], in memory of its own."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, what = name.split(".")
            state.setdefault(int(index), {})[what] = tensor.clone()
    return state


def _filter_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the gradient filter's `state_dict` gave."""
    state: dict[str, Any] = {
        "average": {},
        "ring": {},
        "sum": {},
    }  # whichever the filter has; empty before a first step
    for name, value in checkpoint.state["scalars"].items():
        if name.startswith("filter."):
            state[name.removeprefix("filter.")] = value
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("filter."):
            _, what, index = name.split(".")
            state[what][index] = tensor
    return state

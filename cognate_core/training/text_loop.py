"""Language modelling: the training loop that reads packed text and tries the model on held-out problems."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID, Evaluation, PonderHistogram, Sample
from cognate_core.data.packing import Packed
from cognate_core.data.prepared import Batches, HeldoutPrompt
from cognate_core.model import IGNORED_TARGET, CognateModel, CognateOutput, loss_counts_of
from cognate_core.training.introspection import Introspection
from cognate_core.training.loop import StepFigures, TrainingLoop

PONDER_RAMP = 0.2  # over this share of the steps the price of pondering grows to its full value
CHECK_TOKENS = 8192  # of each dataset's held-out text, at each check; the end of training reads all of it
# Before the first step: a person waits, and every token is as hard for fresh weights, so that few tell as much.
FIRST_CHECK_TOKENS, FIRST_SAMPLE_TOKENS = 1024, 16


class TextLoop(TrainingLoop):
    """Trains a CognateModel to predict the next token."""

    model: CognateModel
    _batches: Batches

    def _begin(self) -> None:
        config, data = self._config, self._data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = CognateModel(config)
        self._tokenizer = data.tokenizer()
        self._batches = Batches(
            {name: data.packed(name, "train") for name in data.sources},
            config.mixture_weights,
            config.batch_size,
            config.seed,
        )
        self._heldout = {name: data.packed(name, "heldout") for name in data.sources}
        self._since_check = Introspection()
        if self.model.writer is not None and self._peers.size > 1:
            self.model.writer.over_all = self._peers.sum_
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        self.optimizers = [
            torch.optim.AdamW(
                [
                    {"params": matrices, "weight_decay": config.weight_decay},
                    {"params": others, "weight_decay": 0.0},
                ],
                lr=config.learning_rate,
                betas=(config.beta1, config.beta2),
                fused=True,
            )
        ]

    def full_heldout_loss(self) -> dict[str, float]:
        losses = {}
        for name, packed in self._heldout.items():
            loss, tokens = self._loss_over(packed, max_tokens=None)
            if tokens:
                losses[name] = loss
        return losses

    def epochs(self) -> dict[str, float]:
        return self._batches.epochs()

    def save(self) -> None:
        if self.step != self._saved_step:
            self._record_ponder_counts()  # a stop comes between two checks
        super().save()

    def _gradients(self, step: int) -> StepFigures:
        config = self._config
        batches = [_inputs_and_targets(*self._batches.next()) for _ in range(config.gradient_accumulation_steps)]
        counts = [loss_counts_of(*batch) for batch in batches]
        total = sum(each.targets for each in counts)
        own = self._peers.rows(config.batch_size)
        loss_sum = 0.0
        seen = Introspection()
        for number, ((all_inputs, all_targets), count) in enumerate(zip(batches, counts, strict=True)):
            if not count.targets:
                continue  # a batch without a counted target has no mean
            if number:
                self._peers.first(self._poll)
            inputs, targets = all_inputs[own], all_targets[own]
            output = self._forward(
                inputs,
                targets,
                max_ponder_steps=ponder_limit(config, step, number),
                ponder_weight=ponder_weight_at(step, config),
                loss_counts=count,
            )
            weight = count.targets / total
            (cast(Tensor, output.loss) * weight).backward()  # type: ignore[no-untyped-call]
            loss_sum += float(cast(Tensor, output.language_model_loss).detach()) * weight
            seen.add(output, targets, weight)
        self._peers.sum_gradients_(self._parameters)
        (loss,) = self._peers.sum_(torch.tensor([loss_sum], dtype=torch.float64)).tolist()
        seen.add_up(self._peers, config.max_act_steps)
        self._since_check.add_counts(seen.ponder_counts)
        return StepFigures(loss, total, seen.means())

    def _unkept_pass(self) -> None:
        kept, self._since_check = self._since_check, Introspection()
        try:
            super()._unkept_pass()
        finally:
            self._since_check = kept

    def _forward(self, inputs: Tensor, targets: Tensor, **settings: Any) -> CognateOutput:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision.name == "bf16"):
            return cast(CognateOutput, self.model(inputs, targets, keep_logits=False, **settings))

    def _check_heldout(self) -> float | None:
        """Then let the model write, too."""
        self._record_ponder_counts()
        losses = []
        for name, packed in self._heldout.items():
            loss, tokens = self._loss_over(packed, CHECK_TOKENS if self.step else FIRST_CHECK_TOKENS)
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
        rows = self._config.batch_size
        if max_tokens is not None:  # no more rows at once than may be read
            rows = min(rows, math.ceil(max_tokens / self._config.train_seq_len))
        for inputs, targets in _in_batches(packed, rows):
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
            config.sample_tokens if self.step else min(config.sample_tokens, FIRST_SAMPLE_TOKENS),
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


def ponder_limit(config: TrainingConfig, step: int, batch: int) -> int:
    """Most ponder steps of this batch: drawn evenly from 2 to max_act_steps, from seed and place alone."""
    rng = np.random.default_rng((config.seed, step, batch))
    return int(rng.integers(min(2, config.max_act_steps), config.max_act_steps, endpoint=True))


def ponder_weight_at(step: int, config: TrainingConfig) -> float:
    """Price of a ponder step at optimizer step `step`, from 1: it grows evenly to act_ponder_weight."""
    ramp = PONDER_RAMP * config.max_steps
    return config.act_ponder_weight * min(1.0, step / ramp)


def _inputs_and_targets(tokens: Any, counted: Any) -> tuple[Tensor, Tensor]:
    """Shift once: position t predicts token t + 1. Each (batch, length)."""
    ids, counts = torch.from_numpy(tokens), torch.from_numpy(counted)
    return ids[:, :-1], ids[:, 1:].where(counts[:, 1:].bool(), IGNORED_TARGET)


def _in_batches(packed: Packed, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(packed.tokens), batch_size):
        rows = slice(start, start + batch_size)
        yield _inputs_and_targets(packed.tokens[rows].astype("int64"), packed.counted[rows].astype("int64"))

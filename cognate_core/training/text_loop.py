"""Language modelling: the training loop that reads packed text and tries the model on held-out problems."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID, Evaluation, PonderHistogram, Sample
from cognate_core.contracts.answers import is_right
from cognate_core.contracts.heldout import HeldoutMeans, heldout_means
from cognate_core.data.packing import Packed
from cognate_core.data.prepared import Batches, HeldoutPrompt
from cognate_core.data.questions import heldout_questions, longest_solution
from cognate_core.data.tokenizer import token_bytes
from cognate_core.model import IGNORED_TARGET, CognateModel, CognateOutput, loss_counts_of
from cognate_core.seeded import seeded
from cognate_core.training.answering import answers
from cognate_core.training.introspection import Introspection
from cognate_core.training.loop import StepFigures, TrainingLoop
from cognate_core.training.optimizers import optimizers_for
from cognate_core.training.ponder_depth import PonderDepth

PONDER_RAMP = 0.2  # the cost of a ponder step reaches its full value after this share of the pondering steps
SHOWN_ANSWERS = 3  # how many answers of a check Monitor shows
CHECK_TOKENS = 8192  # of each dataset's held-out text, at each check; the end of training reads all of it
# Before the first step, a person is waiting. All tokens are equally hard for fresh weights, so a few suffice.
FIRST_CHECK_TOKENS, FIRST_SAMPLE_TOKENS, FIRST_QUESTIONS = 1024, 16, 10


class TextLoop(TrainingLoop):
    """Trains a CognateModel to predict the next token."""

    model: CognateModel
    _batches: Batches

    def _begin(self) -> None:
        config, data = self._config, self._data
        with seeded(config.seed):
            self.model = CognateModel(config.fitted(asdict(data.report)))
        if self.model.pondering is not None and first_pondering_step(config) > 1:
            self.model.pondering.suspend()
        self._tokenizer = data.tokenizer()
        self._token_bytes = torch.from_numpy(token_bytes(self._tokenizer))
        self._batches = Batches(
            {name: data.packed(name, "train") for name in data.sources},
            config.mixture_weights,
            config.batch_size,
            config.seed,
        )
        self._heldout = {name: data.packed(name, "heldout") for name in data.sources}
        self._weights = self._batches.token_shares()  # for means over the datasets
        self._since_check = Introspection()
        self._asked = {
            name: heldout_questions(data, name, config.check_questions, seed=0) if config.check_questions else []
            for name in data.sources
        }
        self._depth = PonderDepth(config.max_act_steps)
        if self.model.writer is not None and self._group.size > 1:
            self.model.writer.over_all = self._group.sum_
        self.optimizers = optimizers_for(self.model, config)

    def full_heldout(self) -> list[Evaluation]:
        evaluations = self._evaluations(max_tokens=None)
        return [replace(each, accuracy=self._share_right(each.dataset, show=False)) for each in evaluations]

    def epochs(self) -> dict[str, float]:
        return self._batches.epochs()

    def save(self) -> None:
        if self.step != self._saved_step:
            self._record_ponder_counts()  # a stop may come between two checks
        super().save()

    def _gradients(self, step: int) -> StepFigures:
        config = self._config
        batches = [_inputs_and_targets(*self._batches.next()) for _ in range(config.gradient_accumulation_steps)]
        counts = [loss_counts_of(*batch) for batch in batches]
        total = sum(each.targets for each in counts)
        own = self._group.rows(config.batch_size)
        loss_sum = 0.0
        seen = Introspection()
        self._depth.forget()  # what an interrupted step had counted
        for number, ((all_inputs, all_targets), count) in enumerate(zip(batches, counts, strict=True)):
            if not count.targets:
                continue  # a batch without a counted target has no mean
            if number:
                self._group.first(self._poll)
            inputs, targets = all_inputs[own], all_targets[own]
            depth = self._depth.drawn(ponder_limit(config, step, number), (config.seed, step, number, 1))
            output = self._forward(
                inputs,
                targets,
                ponder_depth=depth,
                ponder_weight=ponder_weight_at(step, config),
                loss_counts=count,
            )
            weight = count.targets / total
            (cast(Tensor, output.loss) * weight).backward()  # type: ignore[no-untyped-call]
            loss_sum += float(cast(Tensor, output.language_model_loss).detach()) * weight
            seen.add(output, targets, weight)
            if output.ponder_asked is not None and step >= first_pondering_step(config):
                self._depth.add(output.ponder_asked[targets != IGNORED_TARGET], depth)
        self._group.sum_gradients_(self._parameters)
        (loss,) = self._group.sum_(torch.tensor([loss_sum], dtype=torch.float64)).tolist()
        seen.add_up(self._group, config.max_act_steps)
        self._since_check.add_counts(seen.ponder_counts)
        if self.model.pondering is not None:
            self._depth.follow(self._group)
        return StepFigures(loss, total, seen.means())

    def _one_step(self, step: int, learning_rate: float | None = None) -> None:
        if self.model.pondering is not None and step >= first_pondering_step(self._config):
            self.model.pondering.resume()
        super()._one_step(step, learning_rate)

    def _own_state(self) -> dict[str, Any]:
        return {"ponder_going_on": self._depth.going_on}

    def _load_own_state(self, state: Mapping[str, Any]) -> None:
        self._depth.going_on = list(state.get("ponder_going_on", self._depth.going_on))

    def _unkept_pass(self) -> None:
        kept, going_on = self._since_check, list(self._depth.going_on)
        self._since_check = Introspection()
        try:
            super()._unkept_pass()
        finally:
            self._since_check, self._depth.going_on = kept, going_on

    def _forward(self, inputs: Tensor, targets: Tensor, **settings: Any) -> CognateOutput:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision.name == "bf16"):
            return cast(CognateOutput, self.model(inputs, targets, keep_logits=False, **settings))

    def _check_heldout(self) -> HeldoutMeans:
        """Measure the held-out text, then let the model write."""
        self._record_ponder_counts()
        evaluations = self._evaluations(CHECK_TOKENS if self.step else FIRST_CHECK_TOKENS)
        evaluations = [replace(each, accuracy=self._share_right(each.dataset, show=True)) for each in evaluations]
        for evaluation in evaluations:
            self._record(evaluation)
        if self._config.sample_tokens:
            for prompt in {prompt.dataset: prompt for prompt in reversed(self._data.prompts)}.values():
                if not self._asked[prompt.dataset]:
                    self._record(self._sample(prompt))
        return heldout_means(map(asdict, evaluations))

    def _share_right(self, dataset: str, *, show: bool) -> float | None:
        """Let the model answer the questions of a check; `show`: record its first few answers."""
        asked = self._asked[dataset][: None if self.step else FIRST_QUESTIONS]
        if not asked:
            return None
        prompts = [[END_OF_TEXT_ID, *self._tokenizer.encode(question.prompt).ids] for question in asked]
        self.model.eval()
        written = answers(self.model, prompts, longest_solution(self._tokenizer, asked), self._poll)
        self.model.train()
        texts = self._tokenizer.decode_batch(written)
        for question, text in list(zip(asked, texts, strict=True))[: SHOWN_ANSWERS if show else 0]:
            self._record(Sample(self._name, self.step, dataset, question.prompt, text, question.solution))
        right = sum(is_right(text, each.answer, dataset) for each, text in zip(asked, texts, strict=True))
        return right / len(asked)

    def _record_ponder_counts(self) -> None:
        """Record the histogram since the last one; at most one per step."""
        if len(self._since_check.ponder_counts):
            self._record(PonderHistogram(self._name, self.step, self._since_check.ponder_counts.tolist()))
            self._since_check = Introspection()

    def _evaluations(self, max_tokens: int | None) -> list[Evaluation]:
        """One for each dataset with held-out tokens that count, over about max_tokens of them, or all."""
        measured = ((name, *self._loss_over(packed, max_tokens)) for name, packed in self._heldout.items())
        return [
            Evaluation(self._name, self.step, name, loss, tokens, bytes=spelled, weight=self._weights.get(name, 0.0))
            for name, loss, tokens, spelled in measured
            if tokens
        ]

    @torch.no_grad()
    def _loss_over(self, packed: Packed, max_tokens: int | None) -> tuple[float, int, int]:
        """Over the sequences, up to about max_tokens: mean loss in nats per counted token, how many tokens counted, and
        how many bytes these spell."""
        total, tokens, spelled = 0.0, 0, 0
        self.model.eval()
        rows = self._config.batch_size
        if max_tokens is not None:  # at most as many rows at once as may be read
            rows = min(rows, math.ceil(max_tokens / self._config.train_seq_len))
        for inputs, targets in _in_batches(packed, rows):
            counting = targets[targets != IGNORED_TARGET]
            if len(counting):
                total += float(cast(Tensor, self._forward(inputs, targets).language_model_loss)) * len(counting)
                tokens += len(counting)
                spelled += int(self._token_bytes[counting].sum())
            self._poll()
            if max_tokens is not None and tokens >= max_tokens:
                break
        self.model.train()
        return (total / tokens if tokens else math.nan), tokens, spelled

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


def first_pondering_step(config: TrainingConfig) -> int:
    """The first optimizer step, from 1, in which a token may take more than one ponder step."""
    return round(config.act_from * config.max_steps) + 1


def ponder_limit(config: TrainingConfig, step: int, batch: int) -> int:
    """The most ponder steps of this batch: uniform from 2 to max_act_steps, by seed, step and batch alone."""
    if step < first_pondering_step(config):
        return 1
    rng = np.random.default_rng((config.seed, step, batch))
    return int(rng.integers(min(2, config.max_act_steps), config.max_act_steps, endpoint=True))


def ponder_weight_at(step: int, config: TrainingConfig) -> float:
    """The cost of a ponder step at optimizer step `step`, from 1: it grows linearly to act_ponder_weight."""
    before = first_pondering_step(config) - 1
    ramp = PONDER_RAMP * (config.max_steps - before)
    if step <= before or not ramp:
        return 0.0
    return config.act_ponder_weight * min(1.0, (step - before) / ramp)


def _inputs_and_targets(tokens: Any, counted: Any) -> tuple[Tensor, Tensor]:
    """Shift by one: position t predicts token t + 1. Each (batch, length)."""
    ids, counts = torch.from_numpy(tokens), torch.from_numpy(counted)
    return ids[:, :-1], ids[:, 1:].where(counts[:, 1:].bool(), IGNORED_TARGET)


def _in_batches(packed: Packed, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(packed.tokens), batch_size):
        rows = slice(start, start + batch_size)
        yield _inputs_and_targets(packed.tokens[rows].astype("int64"), packed.counted[rows].astype("int64"))

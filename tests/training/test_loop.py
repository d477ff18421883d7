"""The loop that really trains: it learns, repeats itself to the bit, and does the arithmetic that it says."""

import asyncio
import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import learning_rate_at
from cognate_core.contracts import (
    DataReport,
    Evaluation,
    Event,
    PonderHistogram,
    ProgressCallback,
    Record,
    Sample,
    StepMetrics,
    bits_per_byte,
)
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.packing import EncodedDocument, Packed, pack
from cognate_core.data.prepared import Batches, HeldoutPrompt, PreparedData, write_prepared
from cognate_core.data.questions import heldout_questions
from cognate_core.data.tokenizer import train_tokenizer
from cognate_core.errors import CancelRequested, DataError, Diverged, StopRequested
from cognate_core.heldout import HeldoutMeans
from cognate_core.model import CognateModel, CognateOutput
from cognate_core.playground import Playground
from cognate_core.records import record_to_json
from cognate_core.training import loop as loop_module
from cognate_core.training import text_loop as text_loop_module
from cognate_core.training.checkpoint import load_checkpoint
from cognate_core.training.hardware import Precision
from cognate_core.training.text_loop import TextLoop, ponder_limit, ponder_weight_at
from cognate_core.training.threads import ThreadChoice
from tests.rounding import ROUNDING, adam_differs, assert_same_weights, second_moments, sum_differs
from tests.there import there

TINY = TrainingConfig(
    dataset_sources=["Synthetic"],
    max_train_samples=60,
    max_eval_samples=10,
    train_seq_len=256,
    max_seq_len=256,
    d_model=16,
    n_layers=2,
    n_heads=2,
    vocab_size=400,
    max_steps=5,
    batch_size=2,
    gradient_accumulation_steps=1,
    learning_rate=1e-2,
    eval_interval=1000,
    sample_tokens=0,
    save_steps=1000,
    precision="fp32",
    act_enabled=False,  # test_the_whole_cognate_* have both
    ltm_enabled=False,
)
FP32 = Precision("fp32", "fp32, as set")
BF16 = Precision("bf16", "bf16, as set")


pytestmark = pytest.mark.usefixtures("one_thread")


def prepare(config: TrainingConfig, cache: Path) -> PreparedData:
    async def run() -> str:
        loader = MixtureLoader(config, cache, lambda record: None, lambda message: None)
        await loader.download_dataset("Synthetic", "built in")
        return await loader.create_mixed_training_data()

    return PreparedData(Path(asyncio.run(run())))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(TINY, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Data where only answers count, so that batches have different numbers of targets."""
    return prepare(TINY.with_overrides({"loss_on_answer_only": True}), tmp_path_factory.mktemp("cache"))


class Trained:
    """A loop and all it recorded."""

    def __init__(
        self,
        data: PreparedData,
        folder: Path,
        change: dict[str, Any] | None = None,
        precision: Precision = FP32,
        callback: ProgressCallback = lambda *progress: None,
        before_save: Callable[[], None] = lambda: None,
        threads: ThreadChoice | None = None,
    ) -> None:
        self.config = TINY.with_overrides(change or {})
        self.records: list[Record] = []
        self.calls: list[tuple[int, int, float, float]] = []
        self.folder = folder

        def tell(*progress: Any) -> None:
            self.calls.append(progress)
            callback(*progress)

        self.loop = TextLoop(
            "m", self.config, data, folder, precision, self.records.append, tell, before_save, threads=threads
        )

    def run(self) -> "Trained":
        self.loop.run()
        return self

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def steps(self) -> list[StepMetrics]:
        return self.of(StepMetrics)

    @property
    def losses(self) -> list[float]:
        return [metrics.loss for metrics in self.steps]

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self.loop.model.named_parameters()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


# Learning


def test_a_tiny_model_learns(data: PreparedData, tmp_path: Path) -> None:
    losses = Trained(data, tmp_path, {"max_steps": 60, "batch_size": 4}).run().losses
    assert losses[0] == pytest.approx(math.log(400), abs=0.2)
    assert sum(losses[-5:]) / 5 < losses[0] - 2


@pytest.mark.parametrize(
    "change",
    [
        {"grokfast_enabled": False},
        {"grokfast_method": "ema"},
        {"grokfast_method": "ma", "grokfast_window": 4},
        {"grokfast_keep_step_size": True},
        {"max_grad_norm": 0},
        {"warmup_ratio": 0, "min_lr_ratio": 0, "weight_decay": 0},
    ],
)
def test_it_learns_with_each_kind_of_step(data: PreparedData, tmp_path: Path, change: dict[str, Any]) -> None:
    trained = Trained(data, tmp_path, {"max_steps": 16, **change}).run()
    assert trained.losses[-1] < trained.losses[0] - 0.2
    assert all(weight.isfinite().all() for weight in trained.weights.values())


def test_the_filter_makes_a_difference(data: PreparedData, tmp_path: Path) -> None:
    off, ema, ma = (
        Trained(data, tmp_path, {"max_steps": 6, **change}).run()
        for change in (
            {"grokfast_enabled": False},
            {"grokfast_method": "ema"},
            {"grokfast_method": "ma", "grokfast_window": 3},
        )
    )
    assert off.losses[0] == ema.losses[0] == ma.losses[0]
    assert off.losses[-1] != ema.losses[-1]
    assert ma.losses[:3] == off.losses[:3], "the window works before it is full"
    assert ma.losses[3] != off.losses[3]


def test_bf16_runs_and_keeps_its_weights_in_fp32(data: PreparedData, tmp_path: Path) -> None:
    half, full = (Trained(data, tmp_path, {"sample_tokens": 2}, precision).run() for precision in (BF16, FP32))
    assert half.losses[0] == pytest.approx(full.losses[0], abs=0.02)
    assert half.losses != full.losses
    assert half.losses[-1] < half.losses[0]
    assert {weight.dtype for weight in half.weights.values()} == {torch.float32}


def reference_training(trained: Trained, data: PreparedData, start: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights after config.max_steps steps, by the formulas: shifted targets, mean over all that count, clipping,
    GrokFast EMA, AdamW with decay on matrices alone."""
    config = trained.config
    model = CognateModel(config)
    model.load_state_dict(start)
    weights = dict(model.named_parameters())
    packed = {name: data.packed(name, "train") for name in data.sources}
    batches = Batches(packed, config.mixture_weights, config.batch_size, config.seed)
    first = {name: torch.zeros_like(w) for name, w in weights.items()}
    second = {name: torch.zeros_like(w) for name, w in weights.items()}
    slow: dict[str, Tensor] = {}
    for step in range(1, config.max_steps + 1):
        drawn = [batches.next() for _ in range(config.gradient_accumulation_steps)]
        tokens, counted = (torch.from_numpy(np.concatenate(part)) for part in zip(*drawn, strict=True))
        guesses = F.log_softmax(model(tokens[:, :-1]).logits, dim=-1)
        likelihood = guesses.gather(2, tokens[:, 1:, None])[..., 0]
        loss = -(likelihood * counted[:, 1:]).sum() / counted[:, 1:].sum()
        gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients.values()))
        rate = learning_rate_at(step, config)
        with torch.no_grad():
            for name, weight in weights.items():
                gradient = gradients[name] * min(1.0, config.max_grad_norm / norm)
                slow[name] = config.grokfast_alpha * slow.get(name, gradient) + (1 - config.grokfast_alpha) * gradient
                gradient = gradient + config.grokfast_lamb * slow[name]
                first[name] = config.beta1 * first[name] + (1 - config.beta1) * gradient
                second[name] = config.beta2 * second[name] + (1 - config.beta2) * gradient**2
                mean = first[name] / (1 - config.beta1**step)
                spread = (second[name] / (1 - config.beta2**step)).sqrt()
                decay = config.weight_decay if weight.dim() > 1 else 0.0
                weight.sub_(rate * (mean / (spread + 1e-8) + decay * weight))
    return {name: weight.detach() for name, weight in weights.items()}


def test_the_weights_are_those_of_the_formulas(answers: PreparedData, tmp_path: Path) -> None:
    change = {
        "max_steps": 6,
        "gradient_accumulation_steps": 3,
        "max_grad_norm": 0.5,
        "grokfast_alpha": 0.7,
        "grokfast_lamb": 1.5,
        "weight_decay": 0.3,
        "warmup_ratio": 0.5,
    }
    trained = Trained(answers, tmp_path, change)
    start = trained.weights
    trained.run()
    rates = [learning_rate_at(step, trained.config) for step in range(1, trained.config.max_steps + 1)]
    moments = second_moments(trained.loop)
    for name, expected in reference_training(trained, answers, start).items():
        found = trained.weights[name]
        excess = (found - expected).abs() - adam_differs(rates, moments[name]) - 8 * len(rates) * ROUNDING * found.abs()
        assert excess.max() <= 0, name
        assert (found - expected).abs().mean() < 2e-6, name
        assert (found - start[name]).abs().max() > 1e-3, f"{name} did not learn"


# The whole Cognate, pondering and remembering

WHOLE = {
    "act_enabled": True,
    "ltm_enabled": True,
    "n_layers": 4,
    "d_mem": 16,
    "mem_segment": 32,
    "mem_writes": 4,
    "max_act_steps": 6,
}


def test_the_whole_cognate_learns(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {**WHOLE, "max_steps": 30, "batch_size": 4, "eval_interval": 15}).run()
    losses, counts = trained.losses, trained.of(PonderHistogram)[-1].counts
    assert sum(count >= 0.01 * sum(counts) for count in counts) > 1, "every token takes as many steps as the others"
    assert losses[0] == pytest.approx(math.log(400), abs=0.2)
    assert sum(losses[-5:]) / 5 < losses[0] - 1


def test_the_whole_cognate_repeats_itself_to_the_bit(data: PreparedData, tmp_path: Path) -> None:
    first, second = (Trained(data, tmp_path / name, WHOLE).run() for name in ("a", "b"))
    assert first.losses == second.losses
    assert same(first.weights, second.weights)


def test_the_whole_cognate_records_how_it_thinks_and_remembers(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {**WHOLE, "max_steps": 6, "eval_interval": 3}).run()
    for metrics in trained.steps:
        assert 1 <= there(metrics.ponder_steps) <= 6
        assert there(metrics.ponder_loss) > 0
        assert there(metrics.memory_notes) > 0
        assert 0 < there(metrics.memory_written) < 1
        assert 0 < there(metrics.memory_gate) < 1
        assert 0 <= there(metrics.memory_null_share) <= 1
    histograms = trained.of(PonderHistogram)
    assert [histogram.step for histogram in histograms] == [3, 6]
    for histogram, steps in zip(histograms, (trained.steps[:3], trained.steps[3:]), strict=True):
        assert sum(histogram.counts) == sum(metrics.tokens for metrics in steps)
        mean = sum(n * count for n, count in enumerate(histogram.counts)) / sum(histogram.counts)
        weighted = sum(there(metrics.ponder_steps) * metrics.tokens for metrics in steps) / sum(histogram.counts)
        assert mean == pytest.approx(weighted)


def test_the_price_of_pondering_is_not_in_the_loss_that_is_shown(data: PreparedData, tmp_path: Path) -> None:
    free, dear = (
        Trained(data, tmp_path / str(weight), {**WHOLE, "max_steps": 1, "act_ponder_weight": weight}).run().steps[0]
        for weight in (0.0, 10.0)
    )
    assert free.loss == dear.loss
    assert (free.ponder_loss, free.ponder_steps) == (0, dear.ponder_steps)
    assert there(dear.ponder_loss) > 10


@pytest.mark.slow
def test_a_price_makes_it_think_less(data: PreparedData, tmp_path: Path) -> None:
    change = {**WHOLE, "max_steps": 30, "warmup_ratio": 0}
    free, dear = (
        Trained(data, tmp_path / str(weight), {**change, "act_ponder_weight": weight}).run().steps[-8:]
        for weight in (0.0, 1.0)
    )
    assert sum(there(each.ponder_steps) for each in dear) < 0.7 * sum(there(each.ponder_steps) for each in free)


def test_the_price_grows_over_the_first_fifth() -> None:
    config = TINY.with_overrides({"max_steps": 100, "act_ponder_weight": 0.05})
    assert [ponder_weight_at(step, config) for step in (10, 20, 21, 100)] == pytest.approx([0.025, 0.05, 0.05, 0.05])


def test_the_price_and_the_limits_begin_with_pondering() -> None:
    config = TINY.with_overrides({"max_steps": 100, "act_ponder_weight": 0.05, "act_from": 0.5, "max_act_steps": 5})
    prices = [ponder_weight_at(step, config) for step in (1, 50, 51, 55, 60, 100)]
    assert prices == pytest.approx([0.0, 0.0, 0.005, 0.025, 0.05, 0.05])
    assert {ponder_limit(config, step, batch) for step in range(1, 51) for batch in range(3)} == {1}
    assert {ponder_limit(config, step, 0) for step in range(51, 101)} == {2, 3, 4, 5}
    never = config.with_overrides({"act_from": 1.0})
    assert {ponder_limit(never, step, 0) for step in range(1, 101)} == {1} and ponder_weight_at(100, never) == 0


def test_until_pondering_begins_each_token_takes_one_step_wherever_the_weights_are_read(
    data: PreparedData, tmp_path: Path
) -> None:
    change = {**WHOLE, "max_steps": 4, "act_from": 0.5, "eval_interval": 2, "sample_tokens": 3}
    trained = Trained(data, tmp_path, change)
    halting = there(trained.loop.model.pondering).halting
    start = halting.weight.detach().clone()

    def written() -> set[int | None]:
        model = trained.loop.model.eval()
        steps = {token.ponder_steps for token in model.generate(torch.tensor([[0, 5, 9]]), 4)}
        model.train()
        return steps

    trained.loop.model.eval()  # else memory takes note of it
    (first,) = trained.loop.full_heldout()
    assert first.loss == pytest.approx(held_out_loss(trained, data, max_ponder_steps=1), rel=sum_differs(first.tokens))
    trained.loop.model.eval()
    assert written() == {1}
    trained.run()
    assert [there(metrics.ponder_steps) == 1 for metrics in trained.steps] == [True, True, False, False]
    early, late = trained.of(PonderHistogram)
    assert (early.step, len(early.counts), late.step) == (2, 2, 4) and len(late.counts) > 2
    assert written() != {1}
    assert not torch.equal(halting.weight, start) and float(halting.bias.detach()) < 0
    assert trained.of(Evaluation)[-1].loss != pytest.approx(held_out_loss(trained, data, max_ponder_steps=1), rel=1e-6)


def test_a_branch_that_is_past_the_beginning_of_pondering_ponders_at_once(data: PreparedData, tmp_path: Path) -> None:
    def stop(step: int, *rest: float) -> None:
        if step == 4:
            raise StopRequested

    long = Trained(data, tmp_path, {**WHOLE, "max_steps": 12, "act_from": 0.5}, callback=stop)
    with pytest.raises(StopRequested):
        long.run()
    long.loop.save()
    branch = Trained(data, tmp_path / "branch", {**WHOLE, "max_steps": 6, "act_from": 0.5})  # it would begin at step 4
    branch.loop.load(load_checkpoint(tmp_path / "checkpoints/step-00000004"))
    branch.run()
    assert there(long.steps[-1].ponder_steps) == 1 < there(branch.steps[0].ponder_steps)


def test_each_batch_draws_its_own_limit_and_the_same_again() -> None:
    config = TINY.with_overrides({"max_act_steps": 5})
    drawn = [ponder_limit(config, step, batch) for step in range(1, 100) for batch in range(3)]
    assert set(drawn) == {2, 3, 4, 5}
    assert drawn == [ponder_limit(config, step, batch) for step in range(1, 100) for batch in range(3)]
    assert {ponder_limit(config.with_overrides({"max_act_steps": 1}), step, 0) for step in range(9)} == {1}


def test_a_run_that_is_stopped_keeps_what_was_counted(data: PreparedData, tmp_path: Path) -> None:
    def stop(step: int, *rest: float) -> None:
        if step == 2:
            raise StopRequested

    trained = Trained(data, tmp_path, WHOLE, callback=stop)
    with pytest.raises(StopRequested):
        trained.run()
    trained.loop.save()
    (histogram,) = trained.of(PonderHistogram)
    assert (histogram.step, sum(histogram.counts)) == (2, sum(metrics.tokens for metrics in trained.steps))


def test_a_memory_that_cannot_be_learned_is_told(data: PreparedData, tmp_path: Path) -> None:
    idle = Trained(data, tmp_path, {**WHOLE, "mem_segment": 256, "max_steps": 1}).run()
    assert "nothing noted is ever read" in idle.of(Event)[0].message
    assert idle.of(Event)[0].level == "warning"
    assert not any("noted" in event.message for event in Trained(data, tmp_path, WHOLE).run().of(Event))


def test_a_check_uses_the_limit_for_writing(data: PreparedData, tmp_path: Path) -> None:
    """With one step at most, held-out loss is that of a single step."""
    trained = Trained(data, tmp_path, {**WHOLE, "act_inference_steps": 1, "max_steps": 1}).run()
    expected = held_out_loss(trained, data, max_ponder_steps=1)
    check = trained.of(Evaluation)[-1]
    within = sum_differs(check.tokens)
    assert expected != pytest.approx(held_out_loss(trained, data, max_ponder_steps=6), rel=within)
    assert check.loss == pytest.approx(expected, rel=within)
    assert trained.loop.model.training, "the check left the model in evaluation mode"


# What is recorded


def test_each_step_is_recorded_once_with_its_figures(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {"max_steps": 7}).run()
    steps = trained.steps
    assert [metrics.step for metrics in steps] == list(range(1, 8))
    assert {metrics.model_name for metrics in steps} == {"m"}
    for metrics in steps:
        assert metrics.learning_rate == learning_rate_at(metrics.step, trained.config)
        assert 0 < metrics.tokens <= 2 * 256
        assert metrics.seconds > 0
        assert math.isfinite(metrics.loss)
        assert metrics.grad_norm > 0
    elapsed = [metrics.elapsed_seconds for metrics in steps]
    assert elapsed == sorted(elapsed)
    assert trained.loop.step == 7
    assert trained.loop.tokens == sum(metrics.tokens for metrics in steps)
    assert trained.loop.elapsed_seconds >= elapsed[-1]
    sequences = len(data.packed("Synthetic", "train").tokens)
    assert trained.loop.epochs() == {"Synthetic": pytest.approx(14 / sequences)}


def test_the_callback_hears_of_each_step(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path).run()
    told = {step: (total, loss, rate) for step, total, loss, rate in trained.calls}
    assert set(told) == {0, 1, 2, 3, 4, 5}
    for metrics in trained.steps:
        assert told[metrics.step] == (5, metrics.loss, metrics.learning_rate)


def test_the_filter_lengthens_the_clipped_gradient(data: PreparedData, tmp_path: Path) -> None:
    change = {"max_grad_norm": 0.25, "grokfast_lamb": 2.0}
    first = Trained(data, tmp_path, change).run().steps[0]
    assert first.grad_norm > 0.25
    assert first.filtered_grad_norm == pytest.approx(0.75, rel=1e-4)
    off = Trained(data, tmp_path, {**change, "grokfast_enabled": False}).run().steps[0]
    assert off.grad_norm == first.grad_norm
    assert off.filtered_grad_norm == pytest.approx(0.25, rel=1e-4)
    loose = Trained(data, tmp_path, {"max_grad_norm": 0, "grokfast_enabled": False}).run().steps[0]
    assert loose.filtered_grad_norm == pytest.approx(loose.grad_norm, rel=1e-4)


@pytest.mark.parametrize(
    ("max_steps", "interval", "expected"),
    [(7, 3, [0, 3, 6, 7]), (6, 3, [0, 3, 6]), (2, 100, [0, 2]), (3, 1, [0, 1, 2, 3])],
)
def test_the_held_out_loss_is_measured_at_the_start_at_intervals_and_at_the_end(
    data: PreparedData, tmp_path: Path, max_steps: int, interval: int, expected: list[int]
) -> None:
    change = {"max_steps": max_steps, "eval_interval": interval, "sample_tokens": 3}
    trained = Trained(data, tmp_path, change).run()
    checks, samples = trained.of(Evaluation), trained.of(Sample)
    assert [check.step for check in checks] == expected
    assert [sample.step for sample in samples] == expected
    assert {check.dataset for check in checks} == {"Synthetic"}
    assert checks[0].loss == pytest.approx(math.log(400), abs=0.2)
    whole = data.packed("Synthetic", "heldout").counted[:, 1:].sum()  # less than a check may read
    assert [check.tokens for check in checks[1:]] == [whole] * (len(expected) - 1)
    assert text_loop_module.FIRST_CHECK_TOKENS <= checks[0].tokens < whole


def test_a_check_reads_part_of_the_held_out_text_and_the_end_reads_all(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before the first step reads least: the person waits for the first point."""
    rows = data.packed("Synthetic", "heldout").counted[:, 1:].sum(axis=1)
    monkeypatch.setattr(text_loop_module, "CHECK_TOKENS", int(rows[0]) + 1)
    monkeypatch.setattr(text_loop_module, "FIRST_CHECK_TOKENS", int(rows[0]))
    trained = Trained(data, tmp_path, {"batch_size": 1}).run()
    assert [check.tokens for check in trained.of(Evaluation)] == [rows[0], rows[:2].sum()]
    monkeypatch.setattr(text_loop_module, "FIRST_CHECK_TOKENS", 1)
    several = Trained(data, tmp_path / "several", {"batch_size": 2, "max_steps": 1}).run()
    assert several.of(Evaluation)[0].tokens == rows[0], "it reads no more rows at once than it needs"
    within = sum_differs(int(data.packed("Synthetic", "heldout").counted[:, 1:].sum()))
    (whole,) = trained.loop.full_heldout()
    assert whole.loss == pytest.approx(held_out_loss(trained, data), rel=within)
    assert whole.dataset == "Synthetic" and whole.tokens == data.packed("Synthetic", "heldout").counted[:, 1:].sum()


@pytest.mark.parametrize("what", ["data", "answers"])
def test_a_check_counts_the_bytes_of_what_counts(what: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    prepared = request.getfixturevalue(what)
    packed, tokenizer = prepared.packed("Synthetic", "heldout"), prepared.tokenizer()
    spelled = tokenizer.decode(packed.tokens[packed.counted.astype(bool)].tolist())  # the ends are left out
    assert ("Problem:" in spelled) == (what == "data")
    trained = Trained(prepared, tmp_path, {"max_steps": 1})
    with torch.no_grad():
        for parameter in trained.loop.model.parameters():
            parameter.zero_()  # each token is as likely as any other
    (check,) = trained.loop.full_heldout()
    assert check.bytes == len(spelled.encode())
    assert check.loss == pytest.approx(math.log(400), rel=sum_differs(400))
    expected = check.tokens * math.log2(400) / len(spelled.encode())
    assert bits_per_byte(check.loss, check.tokens, check.bytes) == pytest.approx(expected, rel=sum_differs(400))


def test_another_vocabulary_cuts_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for vocabulary in (300, 400):
        change = {"vocab_size": vocabulary, "train_seq_len": 1024, "max_seq_len": 1024}  # every row fits
        data = prepare(TINY.with_overrides(change), tmp_path / "cache")
        found += Trained(data, tmp_path, change).loop.full_heldout()
    cut_small, cut_large = found
    assert cut_small.tokens > cut_large.tokens and cut_small.bytes == cut_large.bytes


@torch.no_grad()
def held_out_loss(trained: Trained, data: PreparedData, **options: Any) -> float:
    """Token by token over every held-out row."""
    packed = data.packed("Synthetic", "heldout")
    losses = []
    for tokens, counted in zip(packed.tokens, packed.counted, strict=True):
        ids = torch.from_numpy(tokens.astype("int64"))
        guesses = F.log_softmax(trained.loop.model(ids[None, :-1], **options).logits[0], dim=-1)
        losses += [-float(guesses[t - 1, ids[t]]) for t in range(1, len(ids)) if counted[t]]
    return sum(losses) / len(losses)


def test_a_dataset_counts_by_its_share_of_what_is_learned(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a" * 30], 300)

    def rows(count: int, length: int) -> Packed:
        return pack([EncodedDocument([5] * length, 0)] * count, 15, answers_only=False)

    packed = {
        "large": {"train": rows(30, 14), "heldout": rows(2, 14)},
        "small": {"train": rows(3, 4), "heldout": rows(2, 9)},
    }
    report = DataReport([], fallback=False, content_hash="x", vocabulary=300, from_cache=False)
    folder = tmp_path / "prepared"
    folder.mkdir()
    write_prepared(folder, tokenizer, packed, [], report)
    change = {"vocab_size": 300, "train_seq_len": 16}
    evaluations = Trained(PreparedData(folder), tmp_path, change).loop.full_heldout()
    learned = {name: int(splits["train"].counted.sum()) for name, splits in packed.items()}
    weights = {name: count / sum(learned.values()) for name, count in learned.items()}
    assert {each.dataset: each.weight for each in evaluations} == pytest.approx(weights)


def test_the_held_out_loss_falls_with_the_training_loss(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {"max_steps": 20}).run()
    before, after = trained.of(Evaluation)
    assert after.loss < before.loss - 0.5


def test_samples_continue_a_held_out_problem_as_the_playground_would(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {"sample_tokens": 12}).run()
    first, last = trained.of(Sample)
    prompt = data.prompts[0]
    for sample in (first, last):
        assert (sample.dataset, sample.prompt, sample.expected) == ("Synthetic", prompt.prompt, prompt.expected)
    playground = Playground(trained.loop.model, data.tokenizer())
    assert last.text == "".join(
        piece.text for piece in playground.stream(prompt.prompt, max_new_tokens=12, seed=trained.config.seed)
    )
    assert last.text
    assert first.text != last.text


def test_questions_asked_at_a_check_are_counted_and_the_first_are_kept(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path
) -> None:
    """A model that has learned one answer by heart is right where that is the answer, and nowhere else."""
    asked = heldout_questions(data, "Synthetic", 6, seed=0)
    told = asked[1].solution

    def by_heart(model: Any, prompts: list[list[int]], most: int, poll: Callable[[], None]) -> list[list[int]]:
        poll()
        assert most >= max(len(data.tokenizer().encode(each.solution).ids) for each in asked)
        return [data.tokenizer().encode(told).ids for _ in prompts]

    monkeypatch.setattr(text_loop_module, "answers", by_heart)
    trained = Trained(data, tmp_path, {"check_questions": 6, "max_steps": 1}).run()
    right = sum(each.answer == asked[1].answer for each in asked) / 6
    assert [check.accuracy for check in trained.of(Evaluation)] == [right, right]
    kept = [(each.prompt, each.text, each.expected) for each in trained.of(Sample) if each.step == 1]
    assert kept == [(each.prompt, told, each.solution) for each in asked[:3]]


def test_no_samples_when_none_are_wanted(data: PreparedData, tmp_path: Path) -> None:
    assert Trained(data, tmp_path, {"sample_tokens": 0}).run().of(Sample) == []


def test_trying_numbers_of_threads_changes_nothing_that_is_learned(data: PreparedData, tmp_path: Path) -> None:
    whole = {"act_enabled": True, "ltm_enabled": True, "d_mem": 16, "mem_segment": 64, "gradient_accumulation_steps": 2}

    class Trying(ThreadChoice):
        """After each step, with the one thread that there is: two that are put aside in turns take minutes."""

        def is_due(self, seconds: float) -> bool:
            return True

        def choose(self, calculate: Callable[[], object]) -> dict[int, float]:
            calculate()
            return {1: 0.5}

    tried = Trained(data, tmp_path / "tried", whole, threads=Trying(1)).run()
    left = Trained(data, tmp_path / "left", whole).run()
    said = [(each.step, each.message) for each in tried.of(Event) if "thread" in each.message]
    assert said == [(n, "Calculating with 1 thread from here: a batch took 0.50 s with 1.") for n in range(1, 5)]
    assert tried.losses == left.losses
    assert tried.of(PonderHistogram) == left.of(PonderHistogram)
    pairs = zip(tried.loop.model.state_dict().values(), left.loop.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_checking_and_sampling_do_not_change_what_is_learned(data: PreparedData, tmp_path: Path) -> None:
    checks = {"eval_interval": 1, "sample_tokens": 5, "save_steps": 1, "check_questions": 2}
    often = Trained(data, tmp_path / "a", checks).run()
    never = Trained(data, tmp_path / "b").run()
    assert often.losses == never.losses
    assert same(often.weights, never.weights)


def test_a_source_without_held_out_rows_is_learned_and_not_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def rows(count: int) -> Packed:
        documents = [EncodedDocument(rng.integers(1, 250, 20).tolist(), 5) for _ in range(count)]
        return pack(documents, 256, answers_only=False)

    folder = tmp_path / "prepared"
    folder.mkdir()
    packed = {"a": {"train": rows(30), "heldout": rows(4)}, "b": {"train": rows(30), "heldout": rows(0)}}
    report = DataReport([], False, "x", 300, False)
    prompts = [HeldoutPrompt("a", "Problem: 1\nSolution:", " 1"), HeldoutPrompt("a", "Problem: 2\nSolution:", " 2")]
    write_prepared(folder, train_tokenizer(["ab"], 300), packed, prompts, report)
    trained = Trained(PreparedData(folder), tmp_path, {"sample_tokens": 2}).run()
    assert Counter(check.dataset for check in trained.of(Evaluation)) == {"a": 2}
    assert {sample.prompt for sample in trained.of(Sample)} == {"Problem: 1\nSolution:"}, "the first prompt is used"
    assert [each.dataset for each in trained.loop.full_heldout()] == ["a"]
    assert set(trained.loop.epochs()) == {"a", "b"}


def test_weights_that_leave_out_all_there_is_are_refused(data: PreparedData, tmp_path: Path) -> None:
    config = {"dataset_sources": ["Synthetic", "GSM8K"], "mixture_weights": {"Synthetic": 0.0, "GSM8K": 1.0}}
    with pytest.raises(DataError, match=r"^Only Synthetic could be had"):
        Trained(data, tmp_path, config)


# Repeatable


def test_the_same_seed_gives_the_same_losses_to_the_bit(data: PreparedData, tmp_path: Path) -> None:
    first = Trained(data, tmp_path).run()
    torch.manual_seed(12345)
    np.random.seed(5)
    second = Trained(data, tmp_path).run()
    assert first.losses == second.losses
    assert same(first.weights, second.weights)
    assert [check.loss for check in first.of(Evaluation)] == [check.loss for check in second.of(Evaluation)]


def test_another_seed_gives_other_weights_and_another_order(data: PreparedData, tmp_path: Path) -> None:
    one, other = (Trained(data, tmp_path, {"seed": seed}) for seed in (1, 2))
    assert not same(one.weights, other.weights)
    assert one.run().losses != other.run().losses


def test_making_a_model_leaves_the_global_random_state_alone(data: PreparedData, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    Trained(data, tmp_path).run()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("source", ["data", "answers"])
def test_two_batches_of_two_make_the_step_of_one_batch_of_four(
    source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    prepared = request.getfixturevalue(source)
    split = Trained(prepared, tmp_path, {"batch_size": 2, "gradient_accumulation_steps": 2})
    whole = Trained(prepared, tmp_path, {"batch_size": 4, "gradient_accumulation_steps": 1})
    start = whole.weights
    split.run()
    whole.run()
    first, other = split.steps[0], whole.steps[0]
    assert first.tokens == other.tokens
    assert first.loss == pytest.approx(other.loss, rel=1e-6)
    assert first.grad_norm == pytest.approx(other.grad_norm, rel=1e-5)
    assert split.losses == pytest.approx(whole.losses, rel=2e-5)  # as WITHIN of test_peers
    rates = [learning_rate_at(step, whole.config) for step in range(1, whole.config.max_steps + 1)]
    assert_same_weights(split.loop, whole.loop, start, rates)


# Checkpoints


def test_checkpoints_are_saved_at_intervals_and_told(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {"max_steps": 5, "save_steps": 2}).run()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000004", "step-00000005"], "the check at the end was the best one"
    told = [(event.step, event.message) for event in trained.of(Event)]
    assert [step for step, _ in told] == [2, 4, 5]
    assert all(message.startswith("Checkpoint saved in ") for _, message in told)
    trained.loop.save()  # once more changes nothing
    last = load_checkpoint(tmp_path / "checkpoints/step-00000005")
    assert len(trained.of(Event)) == 3
    assert same(trained.weights, dict(last.model))
    assert last.state["step"] == 5
    assert last.state["tokens"] == trained.loop.tokens
    assert last.state["batches"] == {"drawn": [10]}


def test_each_check_that_is_the_best_so_far_is_saved(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {0: 1.0, 1: 6.0, 2: 4.0, 3: 4.0, 4: None, 5: 3.5, 6: 3.6}
    monkeypatch.setattr(TextLoop, "_check_heldout", lambda loop: HeldoutMeans(losses[loop.step], None, None))
    trained = Trained(data, tmp_path, {"max_steps": 6, "eval_interval": 1}).run()
    saved = [event.step for event in trained.of(Event) if event.message.startswith("Checkpoint saved")]
    assert saved == [1, 2, 5], "neither a worse nor an equal one, none without a number, and none before the first step"
    for step in saved:
        state = load_checkpoint(tmp_path / f"checkpoints/step-0000000{step}").state
        best = {"metric": "loss", "step": step, "score": losses[step], "waited": 0}
        assert (state["score"], state["best"], state["checked_step"]) == (losses[step], best, step)


def test_slow_steps_are_saved_more_often_than_the_interval(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "SAVE_SECONDS", 0.0)
    trained = Trained(data, tmp_path, {"max_steps": 3}).run()
    assert [event.step for event in trained.of(Event)] == [1, 2, 3]


def test_what_was_recorded_is_on_the_disk_before_a_checkpoint_is(data: PreparedData, tmp_path: Path) -> None:
    there: list[list[str]] = []
    folder = tmp_path / "checkpoints"

    def look() -> None:
        there.append(sorted(path.name for path in folder.glob("*")))
        assert trained.steps[-1].step == trained.loop.step, "the step is recorded before it is saved"

    trained = Trained(data, tmp_path, {"max_steps": 4, "save_steps": 2}, before_save=look)
    trained.run()
    assert there == [[], ["step-00000002"]]


def test_nothing_is_saved_before_the_first_step(data: PreparedData, tmp_path: Path) -> None:
    Trained(data, tmp_path).loop.save()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"grokfast_enabled": False}, set()),
        ({"grokfast_method": "ema"}, {"average"}),
        ({"grokfast_method": "ma", "grokfast_window": 3}, {"ring", "sum"}),
    ],
)
def test_a_checkpoint_holds_all_that_the_next_step_depends_on(
    data: PreparedData, tmp_path: Path, change: dict[str, Any], parts: set[str]
) -> None:
    trained = Trained(data, tmp_path, {"save_steps": 5, **change}).run()
    checkpoint = load_checkpoint(tmp_path / "checkpoints/step-00000005")
    count = len(trained.weights)
    kinds = Counter(
        name.rsplit(".", 1)[0] if name.startswith("filter") else name.split(".", 2)[2] for name in checkpoint.tensors
    )
    expected = dict.fromkeys(("step", "exp_avg", "exp_avg_sq", *(f"filter.{part}" for part in parts)), count)
    assert kinds == expected
    assert {float(tensor) for name, tensor in checkpoint.tensors.items() if name.endswith(".step")} == {5.0}
    scalars = checkpoint.state["scalars"]
    if "ring" in parts:
        assert set(scalars["filter.count"].values()) == {5}


# Ends


@pytest.mark.parametrize("error", [StopRequested, CancelRequested])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_request_to_end_reaches_the_caller_at_once(
    data: PreparedData, tmp_path: Path, error: type[Exception], at: int
) -> None:
    def callback(step: int, *rest: float) -> None:
        if step == at:
            raise error

    trained = Trained(data, tmp_path, callback=callback)
    with pytest.raises(error):
        trained.run()
    assert trained.loop.step == at
    assert [metrics.step for metrics in trained.steps] == list(range(1, at + 1))


@pytest.mark.parametrize("polls", [1, 2, 5])
def test_a_request_to_end_is_heard_while_measuring_and_writing(data: PreparedData, tmp_path: Path, polls: int) -> None:
    count = 0

    def callback(step: int, *rest: float) -> None:
        nonlocal count
        count += step == 0
        if count == polls:
            raise CancelRequested

    with pytest.raises(CancelRequested):
        Trained(data, tmp_path, {"sample_tokens": 50}, callback=callback).run()
    assert count == polls


def spoil_losses(monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool], value: float = math.nan) -> None:
    """From now on the n-th training loss is spoilt when bad(n)."""
    forward = CognateModel.forward
    count = 0

    def spoilt(model: CognateModel, *arguments: Any, **options: Any) -> CognateOutput:
        nonlocal count
        output = forward(model, *arguments, **options)
        if not torch.is_grad_enabled() or output.loss is None:
            return output
        count += 1
        if not bad(count):
            return output
        spoilt_part = there(output.language_model_loss) * value
        return dataclasses.replace(output, loss=output.loss * value, language_model_loss=spoilt_part)

    monkeypatch.setattr(CognateModel, "forward", spoilt)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_three_losses_that_are_no_number_end_the_training_with_sound_weights(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    sound = Trained(data, tmp_path, {"max_steps": 9, "warmup_ratio": 0, "min_lr_ratio": 1})
    spoil_losses(monkeypatch, lambda n: n > 2, value)
    with pytest.raises(
        Diverged,
        match=r"^The loss stopped being a number at step 5\. Start again with a lower learning rate than 0\.01, or",
    ):
        sound.run()
    assert [metrics.step for metrics in sound.steps] == [1, 2, 3, 4, 5]
    assert all(not math.isfinite(metrics.loss) for metrics in sound.steps[2:])
    assert all(math.isnan(metrics.filtered_grad_norm) for metrics in sound.steps[2:])
    assert all(weight.isfinite().all() for weight in sound.weights.values())
    monkeypatch.undo()
    two_steps = Trained(data, tmp_path, {"max_steps": 2, "warmup_ratio": 0, "min_lr_ratio": 1}).run()
    assert same(sound.weights, two_steps.weights), "a spoilt step changed the weights"


def test_two_bad_losses_between_good_ones_are_passed_over(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_losses(monkeypatch, lambda n: n % 3 != 0)
    trained = Trained(data, tmp_path, {"max_steps": 9}).run()
    assert [math.isfinite(loss) for loss in trained.losses] == [False, False, True] * 3
    assert all(weight.isfinite().all() for weight in trained.weights.values())


def test_a_sound_loss_with_a_spoilt_gradient_does_not_reach_the_weights(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path)
    trained.loop.model.head.weight.register_hook(lambda gradient: gradient * math.inf)
    start = trained.weights
    with pytest.raises(Diverged, match="at step 3"):
        trained.run()
    assert all(math.isfinite(loss) for loss in trained.losses)
    assert same(start, trained.weights)


def test_one_bad_batch_of_several_spoils_its_step_alone(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_losses(monkeypatch, lambda n: n == 3)
    trained = Trained(data, tmp_path, {"gradient_accumulation_steps": 2}).run()
    assert [math.isfinite(loss) for loss in trained.losses] == [True, False, True, True, True]
    assert all(weight.isfinite().all() for weight in trained.weights.values())


# As JSON


def test_a_record_becomes_json_with_null_for_what_is_no_number() -> None:
    metrics = StepMetrics("m", 1, math.nan, 0.1, math.inf, -math.inf, 5, 0.2, 0.3)
    assert json.loads(json.dumps(record_to_json(metrics), allow_nan=False)) == {
        "type": "StepMetrics",
        "model_name": "m",
        "step": 1,
        "loss": None,
        "learning_rate": 0.1,
        "grad_norm": None,
        "filtered_grad_norm": None,
        "tokens": 5,
        "seconds": 0.2,
        "elapsed_seconds": 0.3,
        "ponder_steps": None,
        "ponder_loss": None,
        "memory_notes": None,
        "memory_written": None,
        "memory_gate": None,
        "memory_null_share": None,
        "accuracy": None,
    }

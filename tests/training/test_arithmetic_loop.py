"""The Grokking lab's loop: it learns, it records how many answers are right, and a resumed run goes on bit for bit."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.arithmetic import beginning, evaluate
from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import learning_rate_at
from cognate_core.contracts import ARITHMETIC, Evaluation, Event, Record, StepMetrics
from cognate_core.data.arithmetic_loader import ArithmeticLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.data.replay import batch_at
from cognate_core.errors import DataError, StopRequested
from cognate_core.training.arithmetic_loop import ArithmeticLoop
from cognate_core.training.checkpoint import newest_checkpoint
from cognate_core.training.hardware import Precision
from tests.arithmetic.tiny import config_of

pytestmark = pytest.mark.usefixtures("one_thread")

# 42 problems modulo 7, of which 21 are learned from: batches of 8, 8 and 5.
TINY = config_of(
    batch_size=8, max_steps=10, eval_interval=4, save_steps=100, learning_rate=3e-3, grokfast_enabled=False
)
KINDS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
    "muon": {"optimizer": "muon"},
    "muon, EMA": {"optimizer": "muon", "grokfast_enabled": True},
    "EMA": {"optimizer": "adam", "grokfast_enabled": True},
    "MA, window not full": {
        "optimizer": "adam",
        "grokfast_enabled": True,
        "grokfast_method": "ma",
        "grokfast_window": 50,
    },
    "MA, window full": {"optimizer": "adam", "grokfast_enabled": True, "grokfast_method": "ma", "grokfast_window": 3},
    "StableMax and orthogonal gradient": {"stable_max": True, "orthogonal_gradient": True},
    "clipped": {"max_grad_norm": 0.1},
}


class Trained:
    """A loop in a folder of its own, and all that it recorded."""

    def __init__(self, folder: Path, config: TrainingConfig, stop_after: int | None = None) -> None:
        self.config, self.folder, self.records = config, folder / "model", list[Record]()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prepared = prepared(config, folder)

        def watch(step: int, *_: float) -> None:
            if step == stop_after:
                raise StopRequested

        self.loop = ArithmeticLoop(
            "m",
            config,
            PreparedData(self.prepared),
            self.folder,
            Precision("fp32", "fp32, as set"),
            self.records.append,
            watch,
        )

    def of(self, kind: type[Record]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    def losses(self) -> dict[int, float]:
        return {row.step: row.loss for row in self.of(StepMetrics)}


def prepared(config: TrainingConfig, cache: Path) -> Path:
    return Path(asyncio.run(ArithmeticLoader(config, cache, lambda _: None).create_mixed_training_data()))


def weights_of(loop: ArithmeticLoop) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in loop.model.state_dict().items()}


@pytest.mark.parametrize("stopped_after", [1, 3, 5, 9])  # 3 and 9 are ends of epochs, 5 is within one
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_model_goes_on_bit_for_bit(kind: str, stopped_after: int, tmp_path: Path) -> None:
    config = TINY.with_overrides(KINDS[kind])
    whole = Trained(tmp_path / "whole", config)
    whole.loop.run()
    first = Trained(tmp_path / "parts", config, stop_after=stopped_after)
    with pytest.raises(StopRequested):
        first.loop.run()
    first.loop.save()
    second = Trained(tmp_path / "parts", config)
    checkpoint = newest_checkpoint(second.folder / "checkpoints", lambda _: None)
    assert checkpoint is not None
    second.loop.load(checkpoint)
    second.loop.run()
    assert {**first.losses(), **second.losses()} == whole.losses()
    checks = [(row.step, row.loss, row.accuracy) for row in (*first.of(Evaluation), *second.of(Evaluation))]
    assert checks == [(row.step, row.loss, row.accuracy) for row in whole.of(Evaluation)]
    ended, other = weights_of(whole.loop), weights_of(second.loop)
    assert all(torch.equal(tensor, other[name]) for name, tensor in ended.items())
    assert second.loop.tokens == whole.loop.tokens
    assert second.loop.epochs() == whole.loop.epochs()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_below_guessing(kind: str, tmp_path: Path) -> None:
    trained = Trained(tmp_path, TINY.with_overrides({**KINDS[kind], "max_steps": 150, "eval_interval": 150}))
    trained.loop.run()
    rows = trained.of(StepMetrics)
    first, last = rows[0], rows[-20:]
    assert sum(row.loss for row in last) / 20 < first.loss
    assert sum(row.accuracy for row in last) / 20 > 0.2, "a seventh would be guessing among the numbers"


def test_each_step_and_each_check_say_how_many_answers_were_right(tmp_path: Path) -> None:
    trained = Trained(tmp_path, TINY)
    model, problems, batches = (getattr(beginning(TINY), name) for name in ("model", "problems", "batches"))
    left, right, answer = batches.next()
    logits = model(left, right).detach()
    trained.loop.run()
    first = trained.of(StepMetrics)[0]
    assert first.accuracy == pytest.approx(float((logits.argmax(-1) == answer).float().mean()))
    assert first.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, answer)), rel=1e-5)
    assert [row.tokens for row in trained.of(StepMetrics)] == [8, 8, 5] * 3 + [8]
    checks = trained.of(Evaluation)
    assert [(row.step, row.dataset, row.tokens) for row in checks] == [(step, ARITHMETIC, 21) for step in (0, 4, 8, 10)]
    assert (checks[0].loss, checks[0].accuracy) == evaluate(model, problems, problems.heldout)
    loss, accuracy = evaluate(trained.loop.model, problems, problems.heldout)
    (closing,) = trained.loop.full_heldout()
    assert (closing.dataset, closing.loss, closing.accuracy, closing.bytes) == (ARITHMETIC, loss, accuracy, None)
    assert trained.loop.epochs() == {ARITHMETIC: pytest.approx(3 + 8 / 21)}


def test_early_stopping_watches_the_answers_that_are_right(tmp_path: Path) -> None:
    stopping = {"early_stopping_patience": 3, "metric_for_best_model": "accuracy", "eval_interval": 1, "max_steps": 200}
    trained = Trained(tmp_path, TINY.with_overrides(stopping))
    trained.loop.run()
    right = {row.step: row.accuracy for row in trained.of(Evaluation) if row.step}
    best = max(right, key=lambda step: (right[step], -step))
    assert trained.loop.step == max(right) == best + 3 < 200
    trained.loop.return_to_best()
    assert trained.loop.weights_step == best and trained.loop.full_heldout()[0].accuracy == right[best]


def test_the_very_first_update_moves_nothing_and_the_rate_stays_as_published(tmp_path: Path) -> None:
    trained = Trained(tmp_path, TINY.with_overrides({"max_steps": 1}))
    before = weights_of(trained.loop)
    trained.loop.run()
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_of(trained.loop).items())
    rates = [learning_rate_at(step, TINY) / TINY.learning_rate for step in (1, 2, 6, 11, 12, 5000)]
    assert rates == pytest.approx([0.0, 0.1, 0.5, 1.0, 1.0, 1.0])


def test_a_checkpoint_of_another_problem_is_refused(tmp_path: Path) -> None:
    first = Trained(tmp_path / "one", TINY, stop_after=3)
    with pytest.raises(StopRequested):
        first.loop.run()
    first.loop.save()
    other = Trained(tmp_path / "other", TINY.with_overrides({"arithmetic_operation": "+"}))
    checkpoint = newest_checkpoint(first.folder / "checkpoints", lambda _: None)
    assert checkpoint is not None
    with pytest.raises(DataError, match="no longer what this run began with"):
        other.loop.load(checkpoint)


def test_checkpoints_come_by_number_not_with_each_better_loss(tmp_path: Path) -> None:
    trained = Trained(tmp_path, TINY.with_overrides({"max_steps": 40, "eval_interval": 1, "save_steps": 15}))
    trained.loop.run()
    losses = [row.loss for row in trained.of(Evaluation)]
    assert any(later < earlier for earlier, later in itertools.pairwise(losses))
    assert [event.step for event in trained.of(Event) if "Checkpoint saved" in event.message] == [15, 30]


# What a step read


@settings(max_examples=30)
@given(
    operation=st.sampled_from("*+-/"),
    modulus=st.sampled_from([3, 5, 7, 11]),
    share=st.floats(0.3, 0.9),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**31 - 1),
    step=st.integers(1, 30),
)
def test_what_the_dialog_lists_is_what_was_trained_on(
    tmp_path_factory: pytest.TempPathFactory,
    operation: str,
    modulus: int,
    share: float,
    batch_size: int,
    seed: int,
    step: int,
) -> None:
    config = TINY.with_overrides(
        {
            "arithmetic_operation": operation,
            "arithmetic_modulus": modulus,
            "arithmetic_train_share": share,
            "batch_size": batch_size,
        }
    )
    own = config.with_overrides({"seed": seed})
    batches = beginning(own).batches
    for _ in range(step):
        left, right, answer = batches.next()
    (sequence,) = batch_at(Path("nowhere"), config, seed, step, Path("nowhere"))
    problems = [f"{x} {operation} {y} = {z}" for x, y, z in zip(left, right, answer, strict=True)]
    assert sequence.source == ARITHMETIC
    assert sequence.counted_tokens == len(problems) > 0
    assert "\n".join(sequence.texts).split("\n") == [
        str(problem).replace("tensor(", "").replace(")", "") for problem in problems
    ]


def test_a_report_of_the_data_fits_every_seed(tmp_path: Path) -> None:
    folders = {prepared(TINY.with_overrides({"seed": seed}), tmp_path) for seed in (0, 1, 2)}
    assert len(folders) == 1, "a run of several models has one set of prepared data"
    others: list[dict[str, Any]] = [
        {"arithmetic_operation": "+"},
        {"arithmetic_modulus": 11},
        {"arithmetic_train_share": 0.4},
    ]
    assert len(folders | {prepared(TINY.with_overrides(other), tmp_path) for other in others}) == 4
    data = PreparedData(folders.pop())
    (source,) = data.report.sources
    assert (source.train_rows, source.heldout_rows, source.train_tokens, source.loaded) == (21, 21, 21, True)
    assert data.report.vocabulary == 9
    assert data.tokenizer().encode("3 * 5 = 1").ids == [3, 8, 5, 7, 1]
    assert dataclasses.asdict(source)["asked_for"] == "x * y modulo 7"

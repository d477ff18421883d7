"""Requests to end, and losses that are no number."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cognate_core.contracts import StepMetrics
from cognate_core.contracts.json_lines import record_to_json
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import CancelRequested, Diverged, StopRequested
from cognate_core.model import CognateModel, CognateOutput
from tests.there import there
from tests.training.loop.trained import Trained, same

pytestmark = pytest.mark.usefixtures("one_thread")


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
        match=r"^The loss stopped being a number at step 5\. Start a new run with a lower learning rate than 0\.01, or",
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
        "cores": None,
        "memory_gb": None,
        "temperature": None,
        "accuracy": None,
    }

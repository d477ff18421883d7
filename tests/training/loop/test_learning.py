"""A tiny model learns, by the formulas."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cognate_core.config.schedule import learning_rate_at
from cognate_core.data.prepared import Batches, PreparedData
from cognate_core.model import CognateModel
from tests.rounding import ROUNDING, adam_differs, second_moments
from tests.training.loop.trained import BF16, FP32, Trained

pytestmark = pytest.mark.usefixtures("one_thread")


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

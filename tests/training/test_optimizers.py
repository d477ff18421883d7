"""Which optimizer moves what, the orthogonal gradient, and that learning works with each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cognate_core.arithmetic import answer_loss, beginning, evaluate
from cognate_core.model import CognateModel
from cognate_core.training.muon import Muon
from cognate_core.training.optimizers import optimizers_for, orthogonalise_
from tests.arithmetic.tiny import config_of
from tests.rounding import sum_differs
from tests.tiny import TINY


def learn(steps: int, **changes: Any) -> float:
    """Accuracy on what was learned from."""
    config = config_of(**changes)
    start = beginning(config)
    optimizers = optimizers_for(start.model, config)
    for _ in range(steps):
        left, right, answer = start.batches.next()
        start.model.zero_grad()
        answer_loss(start.model(left, right), answer, config.stable_max).backward()
        if config.orthogonal_gradient:
            orthogonalise_(start.model.parameters())
        for optimizer in optimizers:
            optimizer.step()
    return evaluate(start.model, start.problems, start.problems.train)[1]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_every_optimizer_learns_what_it_sees(optimizer: str) -> None:
    # After 120 steps all 21 answers were right with each of five seeds; after 60 rounding could decide about the 20th.
    assert learn(120, optimizer=optimizer) > 0.95 > learn(0, optimizer=optimizer)


def test_stable_max_with_orthogonal_gradients_learns() -> None:
    # 19 of 21 at least after 300 steps; 18, which is the limit, after 150 with another seed.
    assert learn(300, stable_max=True, orthogonal_gradient=True) > 0.85


def names_moved(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """The weights of each of an optimizer's groups."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    return [[names[id(weight)] for weight in group["params"]] for group in optimizer.param_groups]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
@pytest.mark.parametrize("task", ["arithmetic", "text"])
def test_each_weight_has_one_optimizer(task: str, optimizer: str) -> None:
    config = (TINY if task == "text" else config_of()).with_overrides({"optimizer": optimizer})
    model = CognateModel(config) if task == "text" else beginning(config).model
    moved = [name for each in optimizers_for(model, config) for names in names_moved(model, each) for name in names]
    assert sorted(moved) == sorted(name for name, _ in model.named_parameters())


def test_muon_moves_the_matrices_between_the_layers_alone() -> None:
    config = config_of(optimizer="muon")
    model = beginning(config).model
    muon = optimizers_for(model, config)[0]
    assert isinstance(muon, Muon)
    of_layer = ["attn.in_proj_weight", "attn.out_proj.weight", "mlp.0.weight", "mlp.2.weight"]
    (moved,) = names_moved(model, muon)
    assert sorted(moved) == [f"layers.{layer}.{part}" for layer in range(2) for part in of_layer]


def test_of_a_language_model_muon_moves_the_matrices_of_the_blocks_and_norms_do_not_decay() -> None:
    config = TINY.with_overrides({"optimizer": "muon", "weight_decay": 0.3})
    model = CognateModel(config)
    muon, rest = optimizers_for(model, config)
    assert isinstance(muon, Muon) and isinstance(rest, torch.optim.AdamW)
    of_block = ["attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down"]
    of_block += [f"memory.{part}" for part in ("query", "key", "value", "out")]
    (moved,) = names_moved(model, muon)
    assert sorted(moved) == sorted(f"blocks.{layer}.{part}.weight" for layer in range(2) for part in of_block)
    decayed, undecayed = names_moved(model, rest)
    assert {"embedding.weight", "head.weight", "blocks.0.memory.gate.weight"} <= set(decayed)
    assert {"final_norm.weight", "blocks.0.memory.gate.bias"} <= set(undecayed)
    assert [group["weight_decay"] for each in (muon, rest) for group in each.param_groups] == [0.3, 0.3, 0.0]


def test_decay_of_adam_goes_through_the_gradient_and_that_of_adamw_does_not() -> None:
    moves = {}
    for optimizer in ("adam", "adamw"):
        config = config_of(optimizer=optimizer, weight_decay=0.1, learning_rate=1e-2)
        model = beginning(config).model
        weight = model.head.weight
        before = weight.detach().clone()
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizers_for(model, config)[0].step()
        moves[optimizer] = (weight.detach() - before, before)
    move, before = moves["adam"]
    torch.testing.assert_close(move, -1e-2 * before.sign(), rtol=1e-3, atol=1e-6)  # Adam takes its size away
    move, before = moves["adamw"]
    torch.testing.assert_close(move, -1e-3 * before, rtol=1e-3, atol=1e-8)


def test_orthogonal_gradient_has_the_old_length_and_no_part_along_the_weights() -> None:
    weight, unused = torch.nn.Parameter(torch.randn(6, 5)), torch.nn.Parameter(torch.randn(3))
    gradient = torch.randn(6, 5)
    weight.grad = gradient.clone()
    orthogonalise_([weight, unused])
    # Five sums of 30 products on the way to it, each as off as the lengths of both allow.
    along = 5 * sum_differs(30) * float(gradient.norm() * weight.detach().norm())
    assert float((weight.grad * weight.detach()).sum()) == pytest.approx(0.0, abs=along)
    assert float(weight.grad.norm()) == pytest.approx(float(gradient.norm()), rel=5 * sum_differs(30))
    # It lies in the plane of gradient and weights, on the gradient's side.
    plane = torch.stack((gradient.flatten(), weight.detach().flatten()), dim=1)
    shares = torch.linalg.lstsq(plane, weight.grad.flatten()[:, None]).solution.flatten()
    torch.testing.assert_close(plane @ shares, weight.grad.flatten(), rtol=1e-3, atol=1e-4)
    assert shares[0] > 0
    assert unused.grad is None


def test_weights_of_zero_keep_their_gradient() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.tensor([1.0, -2.0, 3.0, 0.5])
    orthogonalise_([weight])
    torch.testing.assert_close(weight.grad, torch.tensor([1.0, -2.0, 3.0, 0.5]))

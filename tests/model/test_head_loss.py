"""Losses without logits: the same figures and gradients as with all of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.model import IGNORED_TARGET, CognateState, head_loss
from cognate_core.model.layers import rotate
from tests.model.tiny import VOCABULARY, config_of, lively, whole_config


def rows(count: int = 23) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 16, generator=generator).requires_grad_()
    weight = torch.randn(VOCABULARY, 16, generator=generator).requires_grad_()
    return x, weight, torch.randint(0, VOCABULARY, (count,), generator=generator)


@pytest.mark.parametrize("chunk_logits", [1, 5 * VOCABULARY, 2**23])
def test_losses_and_gradients_are_those_of_cross_entropy_over_all_logits(
    chunk_logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_loss, "CHUNK_LOGITS", chunk_logits)
    x, weight, labels = rows()
    total, losses = head_loss.head_loss(x, weight, labels)
    expected = F.cross_entropy(x.double() @ weight.double().t(), labels, reduction="none")
    torch.testing.assert_close(losses.double(), expected.detach(), atol=1e-5, rtol=1e-5)
    found = torch.autograd.grad(0.3 * total, (x, weight))
    wanted = torch.autograd.grad(0.3 * expected.sum(), (x, weight))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_under_bf16_products_are_rounded_and_sums_are_not() -> None:
    x, weight, labels = rows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = head_loss.head_loss(x, weight, labels)
        expected = F.cross_entropy((x @ weight.t()).float(), labels, reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-3)
    found, wanted = torch.autograd.grad(total, (x, weight)), torch.autograd.grad(expected, (x, weight))
    for one, other in zip(found, wanted, strict=True):
        assert F.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


def test_without_gradients_none_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, labels = rows()
    with torch.no_grad():
        monkeypatch.setattr(torch, "empty_like", lambda *_: pytest.fail("a gradient was made ready"))
        total, losses = head_loss.head_loss(x, weight, labels)
    assert float(total) == pytest.approx(float(losses.sum()))


@pytest.mark.parametrize("config", [config_of(), config_of(attention_window=16), whole_config(act_threshold=0.9)])
@pytest.mark.parametrize("ignored", [0.0, 0.4])
def test_the_model_learns_the_same_without_logits(config: TrainingConfig, ignored: float) -> None:
    ids = torch.randint(1, VOCABULARY, (3, 25), generator=torch.Generator().manual_seed(1))
    ids[1, 20:] = END_OF_TEXT_ID  # a text that ends, and padding
    inputs, targets = ids[:, :-1], ids[:, 1:].clone()
    targets[1, 20:] = IGNORED_TARGET
    targets[torch.rand(targets.shape, generator=torch.Generator().manual_seed(2)) < ignored] = IGNORED_TARGET
    results = []
    for keep in (True, False):
        model = lively(config).train()
        output = model(inputs, targets, keep_logits=keep)
        output.loss.backward()
        results.append((output, model))
    (full, with_logits), (bare, without) = results
    assert full.logits.shape == (3, 24, VOCABULARY)
    assert bare.logits.shape == (3, 0, VOCABULARY)
    torch.testing.assert_close(bare.loss, full.loss, atol=1e-5, rtol=1e-5)
    assert (bare.memory_figures is None) == (full.memory_figures is None)
    if full.memory_reads is not None:
        assert torch.equal(bare.memory_reads.positions, full.memory_reads.positions)
    for (name, one), other in zip(without.named_parameters(), with_logits.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=2e-5, rtol=1e-3, msg=name)
    for (name, buffer), another in zip(without.named_buffers(), with_logits.buffers(), strict=True):
        torch.testing.assert_close(buffer, another, atol=1e-5, rtol=1e-5, msg=name)


def test_without_counted_targets_the_loss_is_no_number() -> None:
    ids = torch.ones(1, 4, dtype=torch.long)
    assert lively(config_of())(ids, torch.full_like(ids, IGNORED_TARGET), keep_logits=False).loss.isnan()


def test_what_goes_on_needs_logits() -> None:
    ids = torch.ones(1, 4, dtype=torch.long)
    model = lively(config_of())
    for targets, state in ((None, None), (ids, CognateState())):
        with pytest.raises(ValueError, match="Without logits"):
            model(ids, targets, state, keep_logits=False)


def test_the_gradient_of_a_rotation_turns_back() -> None:
    x = torch.randn(3, 2, 2, 6, dtype=torch.float64, requires_grad=True)
    angles = torch.rand(3, 1, 1, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda y: rotate(y, angles.cos(), angles.sin()), (x,))

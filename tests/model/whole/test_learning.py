"""Gradients, the loss, and what is built."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.model import IGNORED_TARGET, count_parameters
from tests.model.tiny import blocks_of, config_of, lively, seeded, token_ids, whole_config
from tests.model.whole.models import whole_configs
from tests.there import there


def gradients_of(config: TrainingConfig, ids: Tensor, steps: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    """Largest gradient of every weight over some optimizer steps from the usual beginning; and the last logits."""
    model = seeded(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    largest: dict[str, Tensor] = {}
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(ids[:, :-1], ids[:, 1:])
        output.loss.backward()
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                assert weight.grad.isfinite().all(), name
                largest[name] = torch.maximum(largest.get(name, weight.grad.abs()), weight.grad.abs())
        optimizer.step()
    assert set(largest) == {name for name, _ in model.named_parameters()}
    return largest, output.logits.detach()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("act", "ltm"), [(True, True), (True, False), (False, True), (False, False)])
def test_gradients_reach_every_parameter(act: bool, ltm: bool, checkpointing: bool) -> None:
    config = config_of(
        d_model=24,
        n_layers=4,
        max_seq_len=128,
        attention_window=64,
        act_enabled=act,
        ltm_enabled=ltm,
        d_mem=24,
        mem_segment=16,
        mem_writes=2,
        gradient_checkpointing=checkpointing,
    )
    for name, largest in gradients_of(config, token_ids(2, 81, 5), steps=2)[0].items():
        assert largest.max() > 0, name


@pytest.mark.parametrize("words", [3, 300])
def test_computing_twice_to_save_memory_gives_the_same_gradients(words: int) -> None:
    ids = token_ids(2, 61, 5, vocab_size=words)
    kept, logits = gradients_of(whole_config(n_layers=4), ids)
    again, same_logits = gradients_of(whole_config(n_layers=4, gradient_checkpointing=True), ids)
    assert torch.equal(logits, same_logits)
    for name, gradient in kept.items():
        assert torch.allclose(gradient, again[name], rtol=1e-4, atol=1e-7), name


def test_saving_memory_really_computes_twice() -> None:
    counts = []
    for checkpointing in (False, True):
        model = seeded(whole_config(act_enabled=False, gradient_checkpointing=checkpointing)).train()
        calls: list[int] = []
        blocks_of(model)[0].attention_norm.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        ids = token_ids(1, 17, 5)
        model(ids[:, :-1], ids[:, 1:]).loss.backward()
        counts.append(len(calls))
    assert counts[1] == 2 * counts[0]


@pytest.mark.parametrize("words", [3, 300])
def test_bf16_stays_finite(words: int) -> None:
    model = seeded(whole_config(n_layers=4)).train()
    ids = token_ids(2, 61, 5, vocab_size=words)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(ids[:, :-1], ids[:, 1:])
    output.loss.backward()
    assert output.logits.isfinite().all()
    for name, weight in model.named_parameters():
        assert there(weight.grad).isfinite().all(), name
    exact = seeded(whole_config(n_layers=4))(ids[:, :-1], ids[:, 1:], max_ponder_steps=5)
    assert output.loss.item() == pytest.approx(exact.loss.item(), rel=0.02)


@settings(max_examples=15)
@given(config=whole_configs(), seed=st.integers(0, 1000), weight=st.sampled_from([None, 0.0, 0.5, 3.0]))
def test_the_loss_is_that_of_the_words_and_the_price_of_pondering(
    config: TrainingConfig, seed: int, weight: float | None
) -> None:
    model = lively(config, seed)
    ids = token_ids(2, 31, seed, first=1)
    inputs, targets = ids[:, :-1].clone(), ids[:, 1:].clone()
    inputs[1, 20:], targets[1, 20:] = 0, IGNORED_TARGET  # padding
    inputs[0, 7] = 0  # an end of text that counts is no padding
    targets[0, :5] = IGNORED_TARGET  # a prompt is no padding either
    costs: list[Tensor] = []
    if model.pondering is not None:
        model.pondering.register_forward_hook(lambda module, inputs, pondered: costs.append(pondered.cost.view(2, -1)))
    with torch.no_grad():
        output = model(inputs, targets, ponder_weight=weight)
        logits = output.logits.double()
    wanted = [
        -torch.log_softmax(logits[row, time], dim=-1)[targets[row, time]].item()
        for row, time in (targets != IGNORED_TARGET).nonzero().tolist()
    ]
    assert output.language_model_loss.item() == pytest.approx(np.mean(wanted), rel=1e-5)
    assert output.loss.item() == pytest.approx(
        output.language_model_loss.item() + (output.ponder_loss.item() if config.act_enabled else 0.0)
    )
    if not config.act_enabled:
        assert output.ponder_loss is None
        return
    price = config.act_ponder_weight if weight is None else weight
    real = ~((inputs == 0) & (targets == IGNORED_TARGET))
    assert real.sum() == 50
    assert output.ponder_loss.item() == pytest.approx(price * torch.cat(costs, dim=1)[real].mean().item(), rel=1e-5)


def test_padding_costs_no_pondering() -> None:
    model = lively(whole_config(ltm_enabled=False), 3)
    ids = token_ids(2, 20, 3, first=1)
    costs = []
    for row in range(2):
        with torch.no_grad():
            costs.append(model(ids[row : row + 1], ids[row : row + 1], ponder_weight=1.0).ponder_loss.item() * 20)
    padded = torch.cat((ids, torch.zeros(2, 9, dtype=torch.long)), dim=1)
    targets = padded.where(torch.arange(29) < 20, IGNORED_TARGET)
    with torch.no_grad():
        output = model(padded, targets, ponder_weight=1.0)
    assert output.ponder_loss.item() == pytest.approx(sum(costs) / 40, rel=1e-5)


@pytest.mark.parametrize(("act", "ltm"), [(False, False), (True, False), (False, True), (True, True)])
def test_what_is_off_is_not_built(act: bool, ltm: bool) -> None:
    config = whole_config(act_enabled=act, ltm_enabled=ltm)
    model = seeded(config)
    names = " ".join(model.state_dict())
    assert ("pondering" in names) == act
    assert ("memory" in names) == ltm
    assert ("writer" in names) == ltm
    counts = count_parameters(config)
    assert ("pondering" in counts) == act
    assert ("memory" in counts) == ltm
    assert counts["total"] == sum(weight.numel() for weight in model.parameters())
    assert counts["total"] == sum(count for part, count in counts.items() if part != "total")
    output = model(token_ids(1, 20), token_ids(1, 20))
    assert (output.ponder_steps is not None) == act
    assert (output.ponder_loss is not None) == act
    assert (output.memory_reads is not None) == ltm
    assert (output.memory_figures is not None) == ltm


def test_pondering_and_memory_are_counted_apart() -> None:
    config = whole_config(n_layers=3, max_act_steps=5)
    d, m = config.d_model, config.d_mem
    counts = count_parameters(config)
    assert counts["pondering"] == d + d + 1 + 5 * d  # norm, halting, step embedding
    reader = d + m * d + m * m + d * m + d * d + d * d + d + 2 * m + 1
    writer = d + 2 * m * d + 2
    assert counts["memory"] == 3 * reader + writer
    assert counts["norms"] == (2 * 3 + 1) * d


def test_an_untrained_model_guesses_evenly() -> None:
    config = whole_config(d_model=32, d_mem=32, vocab_size=500)
    output = seeded(config)(token_ids(2, 40, 1, 500), token_ids(2, 40, 2, 500))
    assert output.language_model_loss.item() == pytest.approx(math.log(500), abs=0.05)

"""Attention weights: with the values, they give what the layer gave."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cognate_core.inference.attention import attention_weights, layer_weights
from cognate_core.model import CognateModel
from tests.model.tiny import blocks_of, config_of, seeded, whole_config

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIGS = {
    "plain": config_of(max_seq_len=64),
    "a window": config_of(max_seq_len=64, attention_window=16),
    "pondering": config_of(max_seq_len=64, act_enabled=True, n_layers=3),
    "the whole": whole_config(),
}


def with_large_weights(name: str) -> CognateModel:
    """Each token is different, and each place it looks at."""
    model = seeded(CONFIGS[name], 7).eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(2)
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.4)
    return model


def a_text(length: int = 40) -> list[int]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return [0, *torch.randint(1, 300, (length - 1,)).tolist()]


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_times_values_are_the_output_of_the_layer(name: str) -> None:
    """At each call: of all tokens or of those that still ponder, with keys of earlier chunks or without."""
    model, calls = with_large_weights(name), 0

    def check(attention: Any, given: tuple[Any, ...], result: tuple[Tensor, Any]) -> None:
        nonlocal calls
        calls += 1
        (x, rows), (output, cache) = given[:2], result
        values = cache.tensor[:, :, 1].transpose(1, 2)
        mixed = rows.gather((layer_weights(attention, x, rows, cache) @ values).transpose(1, 2))
        torch.testing.assert_close(attention.out(mixed.reshape(len(x), -1)), output, rtol=1e-4, atol=1e-5)

    for block in blocks_of(model):
        block.attention.register_forward_hook(check)
    with torch.no_grad():
        model(torch.tensor([a_text()]))
        model(torch.tensor([a_text(1)]))
    assert calls >= 2 * len(model.blocks)


def test_the_weights_are_those_of_the_formula() -> None:
    """softmax(q k / sqrt(d)), with positions as angles of complex numbers, in a loop."""
    model, ids = with_large_weights("plain"), a_text(12)
    (first, _), heads = blocks_of(model), model.config.n_heads
    with torch.no_grad():
        x = first.attention_norm(model.embedding(torch.tensor(ids)))
        query, key, _ = first.attention.qkv(x).view(len(ids), 3, heads, -1).unbind(1)
    half = query.shape[-1] // 2
    found = attention_weights(model, ids)[0]
    for place in range(len(ids)):
        mean = torch.zeros(place + 1)
        for head in range(heads):
            scores = []
            for other in range(place + 1):
                score = 0.0
                for pair in range(half):
                    turn = torch.polar(torch.tensor(1.0), torch.tensor((place - other) * 1e4 ** (-pair / half)))
                    a = torch.complex(query[place, head, pair], query[place, head, pair + half])
                    b = torch.complex(key[other, head, pair], key[other, head, pair + half])
                    score += float((turn * a * b.conj()).real)
                scores.append(score / math.sqrt(2 * half))
            mean += torch.tensor(scores).softmax(0) / heads
        torch.testing.assert_close(found[place, : place + 1], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_position_looks_at_itself_and_those_before_it_within_the_window(name: str) -> None:
    model, ids = with_large_weights(name), a_text()
    found = attention_weights(model, ids)
    assert found.shape == (len(model.blocks), len(ids), len(ids))
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:2]))
    places = torch.arange(len(ids))
    back = places[:, None] - places
    seen = (back >= 0) & (back < CONFIGS[name].attention_window)
    assert (found[:, ~seen] == 0).all() and (found[:, seen] > 0).all()


def test_the_model_itself_stays_as_it_was() -> None:
    model = with_large_weights("the whole")
    with torch.no_grad():
        before = model(torch.tensor([a_text()])).logits
        attention_weights(model, a_text())
        assert torch.equal(model(torch.tensor([a_text()])).logits, before)
    assert not any(module._forward_hooks for module in model.modules())


def test_of_a_token_that_ponders_the_last_look_counts() -> None:
    """With one ponder step, its first look is its last: weights of the core differ only for tokens that went on."""
    model, ids = with_large_weights("pondering"), a_text()
    with torch.no_grad():
        steps = model(torch.tensor([ids])).ponder_steps[0]
    many = attention_weights(model, ids)
    model.config = model.config.with_overrides({"act_inference_steps": 1})
    once = attention_weights(model, ids)
    core = model.core.start
    differs = ~torch.isclose(many[core], once[core], atol=1e-6).all(-1)
    assert differs.any() and (~differs).any()
    assert not differs[steps == 1].any()
    assert torch.equal(many[0], once[0]), "before the core"

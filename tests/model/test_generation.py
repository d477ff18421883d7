"""Writing text: the cache changes nothing, a full window goes on, and the seed decides everything."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core.model import CognateModel, CognateState
from cognate_core.model.generation import choose
from tests.model.tiny import blocks_of, config_of, largest_difference, lively, seeded, token_ids

LIMIT = 16


@pytest.fixture(scope="module")
def model() -> CognateModel:
    return lively(config_of(max_seq_len=LIMIT), seed=5)


def text_of(length: int, seed: int = 0) -> Tensor:
    return token_ids(1, length, seed)


def written(model: CognateModel, ids: Tensor, count: int, **settings: Any) -> list[int]:
    """The ids that the model writes after `ids`."""
    return [token.id for token in model.generate(ids, count, **settings)]


@torch.no_grad()
def greedy_without_cache(model: CognateModel, ids: Tensor, count: int) -> list[int]:
    """The rule in plain words: read the window afresh for each token; a full window goes on from its newer half."""
    window = ids[0, -LIMIT:].tolist()
    chosen: list[int] = []
    for _ in range(count):
        if len(window) > LIMIT:
            window = window[-(LIMIT // 2) :]
        token = int(model(torch.tensor([window])).logits[0, -1].argmax())
        chosen.append(token)
        window.append(token)
    return chosen


@settings(max_examples=12)
@given(length=st.integers(1, 2 * LIMIT), count=st.integers(0, 3 * LIMIT), seed=st.integers(0, 1000))
def test_greedy_writing_with_the_cache_is_greedy_writing_without(
    model: CognateModel, length: int, count: int, seed: int
) -> None:
    ids = text_of(length, seed)
    found = written(model, ids, count, temperature=0)
    assert len(found) == count
    assert found == greedy_without_cache(model, ids, count)


@pytest.mark.parametrize("length", [1, LIMIT - 1, LIMIT, LIMIT + 1, 5 * LIMIT])
def test_writing_past_the_longest_text_gives_as_many_tokens_as_asked_for(model: CognateModel, length: int) -> None:
    found = written(model, text_of(length), 60, temperature=1.0)
    assert len(found) == 60
    assert all(0 <= token < 300 for token in found)


def test_only_the_end_of_a_long_text_is_read(model: CognateModel) -> None:
    ids = text_of(3 * LIMIT)
    assert written(model, ids, 30) == written(model, ids[:, -LIMIT:], 30)


def test_the_same_seed_writes_the_same_text_whatever_was_drawn_before(model: CognateModel) -> None:
    first = written(model, text_of(4), 40, temperature=2.0, seed=3)
    torch.rand(7)
    assert written(model, text_of(4), 40, temperature=2.0, seed=3) == first


def test_writing_draws_nothing_from_the_global_random_state(model: CognateModel) -> None:
    before = torch.random.get_rng_state()
    written(model, text_of(4), 5, temperature=2.0, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_writes_another_text_when_it_is_hot(model: CognateModel) -> None:
    texts = {tuple(written(model, text_of(4), 20, temperature=5.0, seed=seed)) for seed in range(6)}
    assert len(texts) == 6


def test_heat_zero_always_takes_the_likeliest(model: CognateModel) -> None:
    texts = {tuple(written(model, text_of(4), 20, temperature=0, seed=seed)) for seed in range(4)}
    assert texts == {tuple(greedy_without_cache(model, text_of(4), 20))}


@pytest.mark.parametrize("top_p", [1e-9, 1e-3])
def test_a_tiny_top_p_is_greedy(model: CognateModel, top_p: float) -> None:
    found = written(model, text_of(4), 40, temperature=1.0, top_p=top_p, seed=8)
    assert found == greedy_without_cache(model, text_of(4), 40)


def test_hardly_any_heat_is_greedy(model: CognateModel) -> None:
    found = written(model, text_of(4), 40, temperature=1e-4, seed=8)
    assert found == greedy_without_cache(model, text_of(4), 40)


@pytest.mark.parametrize("top_p", [0.3, 0.8, 1.0])
def test_tokens_are_drawn_as_often_as_their_probability_says(top_p: float) -> None:
    model = seeded(config_of(d_model=8, n_layers=1, n_heads=1, max_seq_len=16))
    with torch.no_grad():  # one and the same guess after any text: each token is a draw of its own
        model.embedding.weight.copy_(torch.arange(8.0).repeat(300, 1))
        blocks_of(model)[0].attention.out.weight.zero_()
        blocks_of(model)[0].feed_forward.down.weight.zero_()
        model.head.weight.copy_(torch.randn(300, 8, generator=torch.Generator().manual_seed(2)))
        shares = torch.softmax(model(torch.tensor([[1, 2]])).logits[0, -1] / 0.8, dim=0).tolist()
    kept: list[int] = []
    for token in sorted(range(300), key=lambda n: -shares[n]):
        if sum(shares[n] for n in kept) >= top_p:
            break
        kept.append(token)
    total = sum(shares[n] for n in kept)
    draws = 800
    count = Counter(written(model, torch.tensor([[1]]), draws, temperature=0.8, top_p=top_p, seed=1))
    assert set(count) <= set(kept)
    assert len(kept) >= 2
    for token in kept[:6]:
        assert count[token] / draws == pytest.approx(shares[token] / total, abs=0.06)


def test_writing_ends_before_the_stop_token(model: CognateModel) -> None:
    whole = greedy_without_cache(model, text_of(4), 30)
    stop = whole[12]
    ended = written(model, text_of(4), 30, temperature=0, stop_id=stop)
    assert ended == whole[: whole.index(stop)]


def test_nothing_asked_for_is_nothing_written(model: CognateModel) -> None:
    assert written(model, text_of(4), 0) == []


def test_tokens_come_one_by_one(model: CognateModel) -> None:
    calls: list[int] = []
    handle = model.register_forward_hook(lambda *arguments: calls.append(1))
    try:
        writing = model.generate(text_of(4), 1_000_000)
        next(writing)
        assert len(calls) == 1
        next(writing)
        assert len(calls) == 2
    finally:
        handle.remove()


def test_writing_keeps_no_gradients_and_leaves_them_on_for_others(model: CognateModel) -> None:
    writing = model.generate(text_of(4), 3)
    next(writing)
    assert torch.is_grad_enabled()
    next(writing)
    assert torch.is_grad_enabled()


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), top_p=st.floats(0.01, 0.999999), sharpness=st.floats(0.1, 30.0))
def test_sorting_only_likely_tokens_draws_the_same_as_sorting_all(seed: int, top_p: float, sharpness: float) -> None:
    logits = torch.randn(2000, generator=torch.Generator().manual_seed(seed)) * sharpness
    probabilities = torch.softmax(logits / 0.7, dim=-1)
    ordered, order = probabilities.sort(descending=True, stable=True)
    kept = torch.zeros_like(probabilities)
    kept[order] = ordered * ((ordered.cumsum(0) - ordered < top_p) | (torch.arange(2000) == 0))
    expected = int(torch.multinomial(kept, 1, generator=torch.Generator().manual_seed(seed)))
    assert choose(logits, 0.7, top_p, torch.Generator().manual_seed(seed)) == expected


@torch.no_grad()
def test_two_texts_that_go_on_from_one_do_not_disturb_each_other() -> None:
    """Keys and values of single tokens are written behind those before, where another text may have gone on, too."""
    model = lively(config_of(max_seq_len=64, attention_window=16), seed=5)
    text, state = text_of(20), CognateState()
    for token in text[0]:
        model(token.view(1, 1), state=state)
    first, second = (CognateState(state.position, [list(steps) for steps in state.cache]) for _ in range(2))
    for token in (7, 8, 9):
        for each, shift in ((first, 0), (second, 100)):
            last = model(torch.tensor([[token + shift]]), state=each).logits
    alone = CognateState()
    model(text, state=alone)
    for token in (107, 108, 109):
        expected = model(torch.tensor([[token]]), state=alone).logits
    assert largest_difference(last, expected) < 1e-5

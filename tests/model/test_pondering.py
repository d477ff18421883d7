"""Pondering against a loop over tokens written from Graves 2016, and the bookkeeping of the rows that are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core.model.pondering import FIRST_HALTING_PROBABILITY, Pondered, Pondering
from cognate_core.model.rows import Chunk
from tests.model.tiny import blocks_of, lively, token_ids, whole_config
from tests.there import there

WIDTH = 5

Array = npt.NDArray[np.float64]


@dataclass
class ToyCore:
    """tanh(A x + b of the token), and what it was asked for."""

    mix: Tensor
    own: Tensor
    asked: list[list[int]]

    def __call__(self, x: Tensor, index: Tensor | None) -> Tensor:
        every = torch.arange(len(self.own)) if index is None else index
        assert len(x) == len(every)
        self.asked.append(every.tolist())
        return torch.tanh(x @ self.mix.T + self.own[every])


def toy(tokens: int, seed: int, max_steps: int, threshold: float, bias: float) -> tuple[Pondering, ToyCore, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    pondering = Pondering(WIDTH, max_steps, threshold)
    with torch.no_grad():
        pondering.norm.weight.copy_(1 + 0.3 * drawn(WIDTH))
        pondering.halting.weight.copy_(0.7 * drawn(1, WIDTH))
        pondering.halting.bias.fill_(bias)
        pondering.step_embedding.copy_(0.5 * drawn(max_steps, WIDTH))
    return pondering, ToyCore(0.5 * drawn(WIDTH, WIDTH), drawn(tokens, WIDTH), []), drawn(tokens, WIDTH)


@dataclass
class ByHand:
    """One token of the paper. closest: by how little the closest halting was decided."""

    result: Array
    steps: int
    remainder: float
    shares: list[float]
    halting: list[float]
    closest: float


def by_hand(pondering: Pondering, core: ToyCore, e: Tensor, token: int, limit: int, nudge: float = 0.0) -> ByHand:
    """Graves 2016, equations 5 to 13, for one token, its core being the toy; `nudge` is added to the halting bias."""
    norm, weight, bias, embedding, mix, own, entry = (
        tensor.detach().double().numpy()
        for tensor in (
            pondering.norm.weight,
            pondering.halting.weight[0],
            pondering.halting.bias[0],
            pondering.step_embedding,
            core.mix,
            core.own[token],
            e[token],
        )
    )
    states, halting, closest = [entry], [], np.inf
    while True:
        n = len(states)
        states.append(np.tanh(mix @ (states[-1] + entry + embedding[n - 1]) + own))
        normed = norm * states[-1] / np.sqrt((states[-1] ** 2).mean() + np.finfo(np.float32).eps)
        halting.append(1 / (1 + np.exp(-(weight @ normed + bias + nudge))))
        if n == limit:
            break
        closest = min(closest, abs(sum(halting) - pondering.threshold))
        if sum(halting) >= pondering.threshold:
            break
    remainder = 1 - sum(halting[:-1])
    shares = [*halting[:-1], remainder]
    result = np.sum([share * state for share, state in zip(shares, states[1:], strict=True)], axis=0)
    return ByHand(result, len(halting), remainder, shares, halting, closest)


def run(pondering: Pondering, core: ToyCore, e: Tensor, limit: int) -> Pondered:
    with torch.no_grad():
        return pondering(e, core, limit)


@settings(max_examples=80)
@given(
    tokens=st.integers(1, 9),
    seed=st.integers(0, 1000),
    limit=st.integers(1, 12),
    threshold=st.sampled_from([1e-6, 0.2, 0.5, 0.9, 0.99, 1.0]),
    bias=st.floats(-4, 4),
)
def test_pondering_is_that_of_the_paper(tokens: int, seed: int, limit: int, threshold: float, bias: float) -> None:
    pondering, core, e = toy(tokens, seed, 12, threshold, bias)
    expected = [by_hand(pondering, core, e, token, limit) for token in range(tokens)]
    assume(min(token.closest for token in expected) > 1e-6)
    found = run(pondering, core, e, limit)
    assert found.steps.tolist() == [token.steps for token in expected]
    assert np.allclose(found.cost, [token.steps + token.remainder for token in expected], atol=1e-5)
    assert np.allclose(found.states, [token.result for token in expected], atol=1e-5)
    for token in expected:
        assert sum(token.shares) == pytest.approx(1)


@settings(max_examples=30)
@given(tokens=st.integers(1, 9), seed=st.integers(0, 1000), limit=st.integers(1, 9), bias=st.floats(-3, 3))
def test_only_tokens_that_still_ponder_are_computed(tokens: int, seed: int, limit: int, bias: float) -> None:
    pondering, core, e = toy(tokens, seed, 9, 0.9, bias)
    steps = run(pondering, core, e, limit).steps
    assert core.asked == [(steps >= n).nonzero().flatten().tolist() for n in range(1, int(steps.max()) + 1)]


def test_the_shares_of_the_steps_add_up_to_one() -> None:
    """A core that always gives ones: their weighted sum is ones."""
    pondering, _, e = toy(20, 3, 9, 0.9, -1.0)
    with torch.no_grad():
        found = pondering(e, lambda x, index: torch.ones_like(x), 9)
    assert torch.allclose(found.states, torch.ones(20, WIDTH), atol=1e-6)


def test_a_limit_of_one_is_one_step_for_all() -> None:
    pondering, core, e = toy(6, 0, 9, 0.99, 0.0)
    found = run(pondering, core, e, 1)
    assert found.steps.tolist() == [1] * 6
    assert found.cost.tolist() == [2.0] * 6
    assert torch.allclose(found.states, torch.tanh((2 * e + pondering.step_embedding[0]) @ core.mix.T + core.own))


@pytest.mark.parametrize("limit", [4, 5, 99])
def test_no_token_goes_beyond_the_most_steps_that_were_learned(limit: int) -> None:
    pondering, core, e = toy(6, 0, 4, 1.0, -9.0)
    assert run(pondering, core, e, limit).steps.tolist() == [4] * 6


def test_a_tiny_threshold_halts_at_once() -> None:
    pondering, core, e = toy(6, 0, 9, 1e-6, -3.0)
    assert run(pondering, core, e, 9).steps.tolist() == [1] * 6


def test_a_threshold_of_one_goes_on_until_nothing_is_left() -> None:
    pondering, core, e = toy(6, 0, 9, 1.0, 0.0)
    for token, steps in enumerate(run(pondering, core, e, 9).steps.tolist()):
        halting = by_hand(pondering, core, e, token, 9).halting
        assert steps == 9 or sum(halting[:steps]) >= 1 > sum(halting[: steps - 1])


@pytest.mark.parametrize("bias", [40.0, -40.0])
def test_saturated_halting_stays_finite(bias: float) -> None:
    pondering, core, e = toy(6, 0, 5, 1.0, bias)
    found = pondering(e, core, 5)
    assert found.steps.tolist() == [1 if bias > 0 else 5] * 6
    (found.cost.sum() + found.states.sum()).backward()
    for name, weight in pondering.named_parameters():
        assert there(weight.grad).isfinite().all(), name


def test_the_cost_is_learned_through_the_remainder() -> None:
    """The slope of N + R over the halting bias, beside finite differences of the loop by hand."""
    pondering, core, e = toy(7, 5, 9, 0.95, -1.0)
    pondering(e, core, 9).cost.sum().backward()
    nudged = [
        sum(token.steps + token.remainder for token in (by_hand(pondering, core, e, n, 9, nudge) for n in range(7)))
        for nudge in (-1e-4, 1e-4)
    ]
    assert there(pondering.halting.bias.grad).item() == pytest.approx((nudged[1] - nudged[0]) / 2e-4, rel=1e-3)
    assert there(pondering.halting.bias.grad).item() < -0.1


def test_it_begins_with_about_the_same_halting_for_every_token() -> None:
    pondering, core, e = toy(50, 0, 16, 0.99, 0.0)
    with torch.no_grad():
        pondering.halting.weight.zero_()
    pondering.initialise()
    h = FIRST_HALTING_PROBABILITY
    assert run(pondering, core, e, 16).steps.tolist() == [int(np.ceil(0.99 / h))] * 50
    assert torch.sigmoid(pondering.halting.bias).item() == pytest.approx(h)


# All tokens together, as in training


@settings(max_examples=60)
@given(
    tokens=st.integers(1, 9),
    seed=st.integers(0, 1000),
    depth=st.integers(1, 12),
    threshold=st.sampled_from([1e-6, 0.2, 0.5, 0.9, 0.99, 1.0]),
    bias=st.floats(-4, 4),
)
def test_all_together_each_token_counts_as_in_the_paper(
    tokens: int, seed: int, depth: int, threshold: float, bias: float
) -> None:
    """All go through the core equally often; what a step gives after a token halted counts for nothing."""
    pondering, core, e = toy(tokens, seed, 12, threshold, bias)
    expected = [by_hand(pondering, core, e, token, depth) for token in range(tokens)]
    assume(min(token.closest for token in expected) > 1e-6)
    assume(min(abs(sum(token.halting) - threshold) for token in expected) > 1e-6)
    with torch.no_grad():
        found = pondering.together(e, core, depth)
    assert core.asked == [list(range(tokens))] * depth
    assert found.steps.tolist() == [depth] * tokens
    assert there(found.asked).tolist() == [
        token.steps if sum(token.halting) >= threshold else depth + 1 for token in expected
    ]
    assert np.allclose(found.cost, [token.steps + token.remainder for token in expected], atol=1e-5)
    assert np.allclose(found.states, [token.result for token in expected], atol=1e-5)


def test_all_together_the_cost_is_learned_through_the_remainder() -> None:
    """As above, beside finite differences of the loop by hand."""
    pondering, core, e = toy(7, 5, 9, 0.95, -1.0)
    pondering.together(e, core, 3).cost.sum().backward()
    nudged = [
        sum(token.steps + token.remainder for token in (by_hand(pondering, core, e, n, 3, nudge) for n in range(7)))
        for nudge in (-1e-4, 1e-4)
    ]
    assert there(pondering.halting.bias.grad).item() == pytest.approx((nudged[1] - nudged[0]) / 2e-4, rel=1e-3)
    assert there(pondering.halting.bias.grad).item() < -0.1


def test_all_together_no_token_goes_beyond_the_most_steps_that_were_learned() -> None:
    pondering, core, e = toy(6, 0, 4, 1.0, -9.0)
    with torch.no_grad():
        found = pondering.together(e, core, 9)
    assert found.steps.tolist() == [4] * 6
    assert there(found.asked).tolist() == [5] * 6


def test_halted_tokens_are_left_out_of_the_layers() -> None:
    """In the whole model each core layer gets as many rows as tokens still ponder, the others all tokens once."""
    model = lively(whole_config(n_layers=4, ltm_enabled=False, attention_window=64), 3)
    rows: list[list[int]] = [[] for _ in model.blocks]
    handles = [
        block.feed_forward.register_forward_pre_hook(lambda _, inputs, own=own: own.append(len(inputs[0])))
        for block, own in zip(blocks_of(model), rows, strict=True)
    ]
    with torch.no_grad():
        steps = model(token_ids(3, 20)).ponder_steps
    for handle in handles:
        handle.remove()
    active = [int((steps >= n).sum()) for n in range(1, int(steps.max()) + 1)]
    assert len(set(active)) > 2, "too even to tell anything"
    assert rows == [[60], active, active, [60]]


# Rows


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    window = draw(st.integers(1, 12))
    start = draw(st.integers(0, 20))
    batch, time = draw(st.integers(1, 4)), draw(st.integers(1, 10))
    since = None
    if draw(st.booleans()):  # documents begin here and there
        begins = st.lists(st.integers(0, 1), min_size=time, max_size=time)
        places = torch.arange(start, start + time)
        drawn = torch.tensor([draw(begins) for _ in range(batch)], dtype=torch.bool)
        since = places.where(drawn, 0).cummax(1).values
    return Chunk(batch, time, start, min(start, window - 1), window, 4, torch.device("cpu"), since)


@st.composite
def chosen(draw: st.DrawFn, chunk: Chunk) -> Tensor | None:
    """Some of the chunk's tokens, or None for all of them."""
    if draw(st.booleans()):
        return None
    flat = st.sets(st.integers(0, chunk.batch * chunk.time - 1), min_size=1)
    return torch.tensor(sorted(draw(flat)))


@settings(max_examples=60)
@given(data=st.data(), chunk=chunks())
def test_rows_come_back_from_where_they_were_spread(data: Any, chunk: Chunk) -> None:
    index = data.draw(chosen(chunk))
    rows = chunk.rows(index)
    count = chunk.batch * chunk.time if index is None else len(index)
    x = torch.arange(1.0, 1 + count * 6).view(count, 2, 3)
    spread = rows.spread(x)
    assert torch.equal(rows.gather(spread), x)
    flat = torch.arange(count) if index is None else index
    for row in range(chunk.batch):
        own = x[flat // chunk.time == row]
        assert torch.equal(spread[row, : len(own)], own), "in another order, or in another row"
        assert (spread[row, len(own) :] == 0).all()


@settings(max_examples=60)
@given(data=st.data(), chunk=chunks())
def test_each_row_sees_what_lies_within_its_window_and_document(data: Any, chunk: Chunk) -> None:
    index = data.draw(chosen(chunk))
    rows = chunk.rows(index)
    flat = list(range(chunk.batch * chunk.time)) if index is None else index.tolist()
    cache = range(chunk.start - chunk.before, chunk.start + chunk.time)
    if rows.mask is None:
        assert chunk.since is None
        own = range(chunk.start, chunk.start + chunk.time)
        assert all(len(cache) - chunk.time + n < chunk.window for n in range(chunk.time)) or chunk.time == 1
        assert chunk.time == 1 or chunk.before == 0, "with is_causal the first key belongs to the first query"
        assert len(own) <= chunk.window
        return
    masks = rows.gather(rows.mask.expand(chunk.batch, -1, -1)).tolist()
    for place, mask in zip(flat, masks, strict=True):
        now = chunk.start + place % chunk.time
        since = 0 if chunk.since is None else int(chunk.since.flatten()[place])
        assert mask == [max(now - chunk.window + 1, since) <= other <= now for other in cache]
    assert rows.mask.any(-1).all(), "a place that sees nothing would be no number"


@settings(max_examples=40)
@given(data=st.data(), chunk=chunks())
def test_rows_are_taken_from_all_tokens_and_put_back(data: Any, chunk: Chunk) -> None:
    index = data.draw(chosen(chunk))
    rows = chunk.rows(index)
    everything = torch.arange(float(chunk.batch * chunk.time))
    taken = rows.of(everything)
    back = rows.put(-taken - 1, everything)
    for place in range(len(everything)):
        of_rows = index is None or place in index.tolist()
        assert back[place] == (-place - 1 if of_rows else place)


@settings(max_examples=20)
@given(data=st.data(), chunk=chunks())
def test_rows_keep_the_angles_of_their_place_in_the_text(data: Any, chunk: Chunk) -> None:
    index = data.draw(chosen(chunk))
    rows = chunk.rows(index)
    flat = torch.arange(chunk.batch * chunk.time) if index is None else index
    places = (chunk.start + flat % chunk.time).double()
    angles = places[:, None] * torch.tensor([1.0, 1e4**-0.5], dtype=torch.float64)
    assert torch.allclose(rows.cos[:, 0].double(), angles.cos(), atol=1e-5)
    assert torch.allclose(rows.sin[:, 0].double(), angles.sin(), atol=1e-5)

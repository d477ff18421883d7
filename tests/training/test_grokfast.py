"""GrokFast against the published rule, written out tensor by tensor."""

import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cognate_core.training import grokfast as grokfast_module
from cognate_core.training.grokfast import GrokFastEMA, GrokFastMA
from tests.there import there

SHAPES = ((7, 5), (5,), (), (2, 3, 4))
Filter = GrokFastEMA | GrokFastMA


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]


def gradients(seed: int, steps: int) -> list[list[Tensor]]:
    """Random gradients with a slow part, for each step and parameter."""
    generator = torch.Generator().manual_seed(seed)
    slow = [torch.randn(shape, generator=generator) for shape in SHAPES]
    return [[mean + torch.randn(mean.shape, generator=generator) for mean in slow] for _ in range(steps)]


def run(grokfast: Filter, tensors: list[nn.Parameter], steps: list[list[Tensor]]) -> list[list[Tensor]]:
    """The gradients after the filter, at each step."""
    filtered = []
    for step in steps:
        for parameter, gradient in zip(tensors, step, strict=True):
            parameter.grad = gradient.clone()
        grokfast.step()
        filtered.append([there(parameter.grad).clone() for parameter in tensors])
    return filtered


def published_ema(steps: list[list[Tensor]], alpha: float, lamb: float) -> list[list[Tensor]]:
    averages = [gradient.double() for gradient in steps[0]]
    filtered = []
    for step in steps:
        averages = [mu * alpha + g.double() * (1 - alpha) for mu, g in zip(averages, step, strict=True)]
        filtered.append([g.double() + lamb * mu for mu, g in zip(averages, step, strict=True)])
    return filtered


def published_ma(steps: list[list[Tensor]], window_size: int, lamb: float) -> list[list[Tensor]]:
    queues: list[deque[Tensor]] = [deque(maxlen=window_size) for _ in steps[0]]
    filtered = []
    for step in steps:
        row = []
        for queue, gradient in zip(queues, step, strict=True):
            queue.append(gradient.double())
            mean = sum(queue) / len(queue)
            row.append(gradient.double() + lamb * mean if len(queue) == window_size else gradient.double())
        filtered.append(row)
    return filtered


def assert_close(found: list[list[Tensor]], expected: list[list[Tensor]], tolerance: float = 1e-6) -> None:
    assert len(found) == len(expected)
    for number, (row, wanted) in enumerate(zip(found, expected, strict=True), start=1):
        for tensor, reference in zip(row, wanted, strict=True):
            scale = max(1.0, reference.abs().max().item())
            assert (tensor.double() - reference).abs().max().item() <= tolerance * scale, f"step {number}"


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), alpha=st.floats(0, 0.999), lamb=st.floats(0, 10))
def test_the_average_follows_the_published_rule(seed: int, alpha: float, lamb: float) -> None:
    tensors, steps = parameters(), gradients(seed, 30)
    found = run(GrokFastEMA(tensors, alpha, lamb), tensors, steps)
    assert_close(found, published_ema(steps, alpha, lamb), 1e-6 * (1 + lamb))  # what it adds is rounded, too


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), window_size=st.integers(1, 40), lamb=st.floats(0, 10))
def test_the_window_follows_the_published_rule(seed: int, window_size: int, lamb: float) -> None:
    tensors, steps = parameters(), gradients(seed, 30)
    found = run(GrokFastMA(tensors, window_size, lamb), tensors, steps)
    assert_close(found, published_ma(steps, window_size, lamb), 1e-6 * (1 + lamb))


def test_the_defaults_are_the_papers() -> None:
    ema, ma = GrokFastEMA([]), GrokFastMA([])
    assert (ema.alpha, ema.lamb) == (0.98, 2.0)
    assert (ma.window_size, ma.lamb) == (100, 5.0)


@pytest.mark.parametrize("lamb", [0.5, 2.0, 3.0])
def test_the_first_average_is_the_first_gradient(lamb: float) -> None:
    tensors, steps = parameters(), gradients(0, 1)
    (filtered,) = run(GrokFastEMA(tensors, alpha=0.98, lamb=lamb), tensors, steps)
    for found, gradient in zip(filtered, steps[0], strict=True):
        assert torch.equal(found, torch.add(gradient, gradient, alpha=lamb))


def test_the_window_changes_nothing_before_it_is_full() -> None:
    tensors, steps = parameters(), gradients(0, 8)
    found = run(GrokFastMA(tensors, window_size=8, lamb=5.0), tensors, steps)
    for row, step in zip(found[:7], steps[:7], strict=True):
        assert all(torch.equal(tensor, gradient) for tensor, gradient in zip(row, step, strict=True))
    assert not torch.equal(found[7][0], steps[7][0])


def test_a_huge_gradient_is_forgotten_when_it_leaves_the_window() -> None:
    tensors = [nn.Parameter(torch.zeros(3))]
    steps = [[torch.full((3,), 1e6 if n == 2 else 0.1 + n / 100)] for n in range(30)]
    found = run(GrokFastMA(tensors, window_size=4, lamb=5.0), tensors, steps)
    assert_close(found[6:], published_ma(steps, 4, 5.0)[6:])


MAKERS: dict[str, Callable[[Any], Filter]] = {
    "ema": lambda tensors: GrokFastEMA(tensors, 0.9, 2.0),
    "ma": lambda tensors: GrokFastMA(tensors, 4, 2.0),
}


@pytest.mark.parametrize("make", [lambda p: GrokFastEMA(p, 0.9, 0.0), lambda p: GrokFastMA(p, 3, 0.0)])
def test_with_lambda_0_nothing_changes(make: Callable[[Any], Filter]) -> None:
    tensors, steps = parameters(), gradients(3, 10)
    for row, step in zip(run(make(tensors), tensors, steps), steps, strict=True):
        assert all(torch.equal(found, gradient) for found, gradient in zip(row, step, strict=True))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_parameter_may_join_late(kind: str) -> None:
    late = 5
    tensors, steps = parameters(), gradients(4, 20)
    grokfast = MAKERS[kind](tensors)
    found = []
    for number, step in enumerate(steps):
        for index, (parameter, gradient) in enumerate(zip(tensors, step, strict=True)):
            parameter.grad = None if index == 1 and number < late else gradient.clone()
        grokfast.step()
        assert (tensors[1].grad is None) == (number < late)
        found.append([tensor.grad.clone() if tensor.grad is not None else None for tensor in tensors])
    # each parameter as if it were alone, from its own first gradient on
    for index, start in ((0, 0), (1, late), (2, 0), (3, 0)):
        alone = [[step[index]] for step in steps[start:]]
        expected = published_ema(alone, 0.9, 2.0) if kind == "ema" else published_ma(alone, 4, 2.0)
        assert_close([[there(row[index])] for row in found[start:]], expected)


@pytest.mark.parametrize("kind", MAKERS)
def test_without_any_gradient_nothing_happens(kind: str) -> None:
    tensors = parameters()
    MAKERS[kind](tensors).step()
    assert all(tensor.grad is None for tensor in tensors)
    MAKERS[kind]([]).step()


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("before", [0, 2, 9])
def test_a_stored_state_continues_identically(kind: str, before: int) -> None:
    tensors, steps = parameters(), gradients(5, 20)
    first = MAKERS[kind](tensors)
    run(first, tensors, steps[:before])
    state = first.state_dict()
    # what JSON does to the scalars of a checkpoint: whole numbers as keys become text
    scalars = {name: value for name, value in state.items() if name not in ("average", "ring", "sum")}
    state = {**state, **json.loads(json.dumps(scalars))}
    stored = {
        name: {index: tensor.clone() if isinstance(tensor, Tensor) else tensor for index, tensor in value.items()}
        if isinstance(value, dict)
        else value
        for name, value in state.items()
    }
    expected = run(first, tensors, steps[before:])
    other = parameters()
    second = GrokFastEMA(other, 0.1, 9.0) if kind == "ema" else GrokFastMA(other, 99, 9.0)
    second.load_state_dict(stored)
    for row, wanted in zip(run(second, other, steps[before:]), expected, strict=True):
        assert all(torch.equal(found, reference) for found, reference in zip(row, wanted, strict=True))


@pytest.mark.parametrize("kind", MAKERS)
def test_loading_takes_the_tensors_over_and_copies_none(kind: str) -> None:
    """The window of a large model is many gigabytes."""
    tensors, steps = parameters(), gradients(6, 6)
    first = MAKERS[kind](tensors)
    run(first, tensors, steps)
    second = MAKERS[kind](parameters())
    second.load_state_dict(first.state_dict())
    places = [
        [tensor.data_ptr() for what in ("average", "ring", "sum") for tensor in state.get(what, {}).values()]
        for state in (first.state_dict(), second.state_dict())
    ]
    assert places[0] and places[0] == places[1]


@pytest.mark.parametrize("kind", MAKERS)
def test_the_filter_never_touches_the_weights(kind: str) -> None:
    tensors = [nn.Parameter(torch.ones(3))]
    grokfast = MAKERS[kind](tensors)
    run(grokfast, tensors, [[torch.full((3,), float(n))] for n in range(6)])
    assert torch.equal(tensors[0], torch.ones(3))
    assert not there(tensors[0].grad).requires_grad


@pytest.mark.parametrize("elements", [1, 8, 30])
def test_groups_of_any_size_give_the_same(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large tensors are worked on in parts and small ones together, whatever their strides."""
    steps = gradients(seed=3, steps=4)
    for step in steps:
        step[0] = step[0].t().contiguous().t()
    whole = run(GrokFastEMA(tensors := parameters()), tensors, steps)
    monkeypatch.setattr(grokfast_module, "GROUP_ELEMENTS", elements)
    parts = run(GrokFastEMA(tensors := parameters()), tensors, steps)
    assert_close(parts, [[tensor.double() for tensor in row] for row in whole])
    assert_close(parts, published_ema(steps, alpha=0.98, lamb=2.0))

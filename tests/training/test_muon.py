"""Muon against independent formulas: the singular value decomposition in fp64, and torch's own Muon in bf16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cognate_core.training.muon import COEFFICIENTS, ITERATIONS, Muon, orthogonalised

SHAPES = [(24, 8), (8, 24), (16, 16), (128, 512), (648, 216), (1, 7)]
WIDE_DIFFERS, DIFFERS = 1e-4, 6e-3
"""Spectral norm of the error. An eigenvalue near 0 of the Gram matrix, and what was rounded off there, grows in each
iteration to 3.4445 ** 2 of its size. Ten times the most found: 7.2e-6 where no singular value is small, else 6.1e-4.
"""
BF16_DIFFERS = 0.05
"""Share of the way that torch's Muon moved a matrix. It rounds to 8 bits in each product. Most found: 1.8e-2."""
NEAREST, FARTHEST = 0.68, 1.21  # p(...) of 0.004 to 1, evaluated in fp64


def with_singular_values(shape: tuple[int, int], values: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator, dtype=torch.float64), full_matrices=False)
    return (left * values @ right).float()


def iterated(matrix: Tensor) -> Tensor:
    """U p(... p(S)) V^T in fp64."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    a, b, c = COEFFICIENTS
    values = values / values.norm()
    for _ in range(ITERATIONS):
        values = a * values + b * values**3 + c * values**5
    return left * values @ right


def spectral(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.double(), 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_iteration_is_that_of_the_singular_values(shape: tuple[int, int]) -> None:
    count = min(shape)
    even = with_singular_values(shape, torch.linspace(0.5, 1, count, dtype=torch.float64))
    assert spectral(orthogonalised(even) - iterated(even)) < WIDE_DIFFERS
    steep = with_singular_values(shape, torch.logspace(0, -6, count, dtype=torch.float64))
    assert spectral(orthogonalised(steep) - iterated(steep)) < DIFFERS
    torch.testing.assert_close(orthogonalised(1e3 * even), orthogonalised(even), rtol=0, atol=WIDE_DIFFERS)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_comes_near_the_orthogonal_factor(shape: tuple[int, int]) -> None:
    count = min(shape)
    matrix = with_singular_values(shape, torch.linspace(0.5, 1, count, dtype=torch.float64))
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    assert spectral(orthogonalised(matrix) - left @ right) < max(1 - NEAREST, FARTHEST - 1) + WIDE_DIFFERS


def test_a_matrix_of_zeros_stays_one() -> None:
    assert orthogonalised(torch.zeros(3, 5)).count_nonzero() == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_it_steps_as_torchs_muon_does_but_for_bf16(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(shape, generator=generator)
    ours, theirs, unused = (torch.nn.Parameter(each) for each in (start.clone(), start.clone(), torch.ones(2, 2)))
    own = Muon([ours, unused], lr=0.02, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    way = 0.0
    for _ in range(4):
        before = theirs.detach().clone()
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        own.step()
        reference.step()
        way += float((theirs.detach() - before).norm())
        buffers = [each.state[weight]["momentum_buffer"] for each, weight in ((own, ours), (reference, theirs))]
        torch.testing.assert_close(buffers[0], buffers[1])
        assert float((ours.detach() - theirs.detach()).norm()) < BF16_DIFFERS * way
    assert torch.equal(unused, torch.ones(2, 2)) and unused not in own.state


def test_the_decay_takes_its_share_off_the_weights_before_the_step() -> None:
    weight = torch.nn.Parameter(torch.full((2, 3), 2.0))
    weight.grad = torch.zeros(2, 3)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 3), 1.9))

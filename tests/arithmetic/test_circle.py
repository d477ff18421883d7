"""The circle in an embedding: found where it was put, near chance where there is none."""

from __future__ import annotations

import math

import pytest
import torch

from cognate_core.arithmetic.circle import circle, number_order


@pytest.mark.parametrize("operation", ["+", "*"])
def test_a_circle_with_noise_is_found(operation: str) -> None:
    numbers, random = number_order(97, operation), torch.Generator().manual_seed(0)
    n, radius, noise = len(numbers), 3.0, 0.1
    angles = 2 * math.pi * 7 * torch.arange(n) / n
    plane = torch.linalg.qr(torch.randn(32, 2, generator=random))[0]
    embedding = noise * torch.randn(99, 32, generator=random)
    embedding[numbers] += radius * torch.stack((angles.cos(), angles.sin()), 1) @ plane.T

    found = circle(embedding, numbers)

    assert found.frequency == 7
    assert found.share == pytest.approx(radius**2 / (radius**2 + 32 * noise**2), abs=0.01)
    assert torch.allclose(found.points.norm(dim=1), torch.tensor(radius).double(), rtol=0.15)
    place = torch.stack(((2 * math.pi * found.turns).cos(), (2 * math.pi * found.turns).sin()), 1).double()
    assert torch.allclose(found.points, radius * place, atol=0.6)


def test_the_share_is_that_of_an_explicit_projection() -> None:
    embedding = torch.randn(13, 5, generator=torch.Generator().manual_seed(1)).double()
    found = circle(embedding, number_order(11, "-"))
    rows = embedding[:11] - embedding[:11].mean(0)
    angles = 2 * math.pi * found.frequency * torch.arange(11).double() / 11
    waves = torch.stack((angles.cos(), angles.sin())) * math.sqrt(2 / 11)  # orthonormal over the numbers
    assert found.share == pytest.approx(float((waves @ rows).square().sum() / rows.square().sum()))


def test_a_random_embedding_is_near_chance() -> None:
    found = circle(torch.randn(99, 128, generator=torch.Generator().manual_seed(2)), number_order(97, "+"))
    assert found.chance == pytest.approx(2 / 96)
    assert found.chance < found.share < 1.6 * found.chance


def test_multiplication_adds_discrete_logarithms() -> None:
    numbers = number_order(97, "*").tolist()
    assert sorted(numbers) == list(range(1, 97))
    logarithm = {number: place for place, number in enumerate(numbers)}
    assert all((logarithm[a] + logarithm[b]) % 96 == logarithm[a * b % 97] for a in numbers for b in numbers)
    assert number_order(97, "/").tolist() == numbers
    assert number_order(97, "-").tolist() == list(range(97))

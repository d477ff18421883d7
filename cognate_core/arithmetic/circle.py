"""The circle that the numbers' embedding becomes when a model of the lab understands its table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_NUMBERS = 3  # fewer have no frequency with both a cosine and a sine


@dataclass(frozen=True, slots=True)
class Circle:
    """The numbers in the plane of the strongest frequency.

    Attributes:
        numbers: the numbers shown, (n,), in the order over which the frequency is counted.
        frequency: how often the circle is gone round from the first number to the last.
        share: of the embedding's variance, how much has this frequency, 0 to 1.
        chance: the mean share of one frequency in a random embedding; the strongest has somewhat more.
        points: (n, 2).
        turns: each number's place along the circle, 0 to 1, (n,).
    """

    numbers: Tensor
    frequency: int
    share: float
    chance: float
    points: Tensor
    turns: Tensor


def number_order(modulus: int, operation: str) -> Tensor:
    """The numbers in the order in which the operation is addition.

    With * and /, this is the order of discrete logarithms to the smallest primitive root: 1, g, g^2, ... (mod p). 0 has
    no logarithm and is left out. `modulus` is an odd prime.
    """
    if operation in ("+", "-"):
        return torch.arange(modulus)
    for root in range(2, modulus):
        powers = [1]
        while (power := powers[-1] * root % modulus) != 1:
            powers.append(power)
        if len(powers) == modulus - 1:
            return torch.tensor(powers)
    raise ValueError(f"There is no primitive root modulo {modulus}.")


def circle(embedding: Tensor, numbers: Tensor) -> Circle:
    """The circle in an embedding (tokens, d_model), its rows taken in the order of `numbers`.

    With E_j the n centred rows, c_k = sum_j E_j cos(2 pi k j / n) and s_k the same with sin, frequency k has the share
    2 (|c_k|^2 + |s_k|^2) / (n sum_j |E_j|^2). Each row is projected onto orthonormal directions of the
    strongest k: c_k, and s_k without its part along c_k. The frequency n / 2 has no sine, so
    it is no circle and is not chosen. There are at least LEAST_NUMBERS numbers.
    """
    rows = embedding[numbers].double()
    rows = rows - rows.mean(0)
    n = len(rows)
    spectrum = torch.fft.rfft(rows, dim=0)[1 : (n + 1) // 2]  # (frequencies, d_model), c_k - i s_k
    powers = spectrum.abs().square().sum(1)
    strongest = int(powers.argmax())
    cosine, sine = spectrum[strongest].real, -spectrum[strongest].imag
    across = cosine / cosine.norm()
    up = sine - (sine @ across) * across
    frequency = strongest + 1
    return Circle(
        numbers,
        frequency,
        float(2 * powers[strongest] / (n * rows.square().sum())),
        2 / (n - 1),
        rows @ torch.stack((across, up / up.norm()), dim=1),
        torch.arange(n) * frequency % n / n,
    )

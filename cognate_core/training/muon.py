"""Muon: the step of each weight matrix is its orthogonalised momentum (arXiv 2502.16982).

`torch.optim.Muon` iterates in bf16, which a processor without bf16 emulates: five times slower (docs/experiments.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

MOMENTUM = 0.95  # with Nesterov's look-ahead, as in torch.optim.Muon
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Keller Jordan's quintic, kellerjordan.github.io/posts/muon
ITERATIONS = 5
TINY = 1e-7  # keeps a matrix of zeros at zero


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T of a matrix.

    A Newton-Schulz iteration maps each singular value s, after division by the norm of all, to p(p(p(p(p(s))))) with
    p(s) = a s + b s^3 + c s^5: values of 0.004 or more become 0.68 to 1.21, smaller ones at most 485 s. All factors
    are polynomials in X X^T and commute: only they are iterated, on the shorter side, and the matrix is multiplied once
    (Gram Newton-Schulz, dao-lab.ai/blog/2026/gram-newton-schulz; in fp32 it needs no restart). The rounding of X X^T
    changed no result by more than 6e-4 (spectral norm).
    """
    x: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp_min(TINY)
    gram = x @ x.T
    product = factor = _factor(gram)
    for _ in range(ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = _factor(gram)
        product = factor @ product
    x = product @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def _factor(gram: Tensor) -> Tensor:
    """a I + b G + c G^2."""
    a, b, c = COEFFICIENTS
    factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal().add_(a)
    return factor


class Muon(torch.optim.Optimizer):
    """w <- w - rate (decay w + 0.2 sqrt(max(rows, columns)) O); O is the orthogonalised momentum.

    The scale gives steps the root mean square of AdamW's steps: both take the same rate and decay.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate = group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - MOMENTUM)
                update = orthogonalised(weight.grad.lerp(momentum, MOMENTUM))
                weight.mul_(1 - rate * group["weight_decay"])
                weight.sub_(update, alpha=rate * 0.2 * math.sqrt(max(weight.shape)))

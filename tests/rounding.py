"""By how much results in fp32 may differ when their sums are taken in another order.

The order is that of the shapes, threads, workers and vector instructions, so that no two computers need agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

ROUNDING = 2.0**-24
"""What one operation in fp32 may be off by, relative to its result."""

GRADIENTS_DIFFER = 5e-4
"""Share of the largest gradient of a tensor that two computations of any of its gradients may differ by.

Ten times the most found (4.7e-5, where gradients were small at first) over six seeds of each kind in test_peers, two
and three workers, with AVX2 instructions.
"""

MUON_DIFFERS = 5e-3
"""Share of the way that Muon moved a matrix. Its iteration enlarges rounding up to 500 times in the directions where
there was next to no gradient.

Ten times the most found (4.6e-4), as above.
"""


class Trained(Protocol):
    """A loop that has trained."""

    @property
    def model(self) -> nn.Module: ...
    @property
    def optimizers(self) -> Sequence[torch.optim.Optimizer]: ...


def sum_differs(terms: int) -> float:
    """Two sums of the same products in different orders differ by at most this share of the sum of their magnitudes.

    Each is off by gamma_n = n u / (1 - n u): Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1.
    """
    return 2 * terms * ROUNDING / (1 - terms * ROUNDING)


def adam_differs(rates: Sequence[float], second_moment: Tensor, gradients_differ: float = GRADIENTS_DIFFER) -> Tensor:
    """By how much each element of a weight may differ after Adam's steps at these rates, its gradients being rounded.

    A step is rate * m / sqrt(v), as far off as the gradient over the gradient's own size. Where that is nothing but
    rounding (softmax takes no notice of the keys' bias) Adam divides noise by noise, and only the rates are a bound.
    """
    size = second_moment.sqrt()
    return sum(rates) * (gradients_differ * size.max() / size).clamp_max(1).where(size > 0, 0)


def second_moments(trained: Trained) -> dict[str, Tensor]:
    """Adam's v of each weight that it moves."""
    states = {weight: state for each in trained.optimizers for weight, state in each.state.items()}
    return {
        name: states[weight]["exp_avg_sq"]
        for name, weight in trained.model.named_parameters()
        if "exp_avg_sq" in states[weight]
    }


def assert_same_weights(
    found: Trained,
    wanted: Trained,
    start: dict[str, Tensor],
    rates: Sequence[float],
    gradients_differ: dict[str, float] | None = None,
) -> None:
    """Two trainings from `start` arrived at the same weights but for rounding.

    `gradients_differ` is for weights, by the end of their names, whose gradients depend on noise themselves.
    """
    moments, other_moments, others = (
        second_moments(found),
        second_moments(wanted),
        dict(wanted.model.named_parameters()),
    )
    for name, weight in found.model.named_parameters():
        other = others[name].detach()
        difference = (weight.detach() - other).abs()
        if name not in moments:
            assert difference.norm() <= MUON_DIFFERS * (other - start[name]).norm(), name
            continue
        share = next((s for end, s in (gradients_differ or {}).items() if name.endswith(end)), GRADIENTS_DIFFER)
        steps = adam_differs(rates, torch.maximum(moments[name], other_moments[name]), share)
        excess = difference - steps - 8 * len(rates) * ROUNDING * other.abs()  # it takes 8 operations a step at most
        assert excess.max() <= 0, f"{name}: {float(excess.max()):.1e} more than rounding explains"

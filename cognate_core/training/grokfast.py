"""GrokFast: amplify the slow part of the gradient (arXiv 2405.20233; reference code ironjr/grokfast).

Call `step()` once per optimizer step, after gradients are accumulated and clipped, before the optimizer.
The filters are memory-bound, so they work on groups of tensors (`torch._foreach_*`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

GROUP_ELEMENTS = 2**16  # 512 KiB with their averages: the second pass finds them in the processor's cache


class GrokFastEMA:
    """mu <- alpha mu + (1 - alpha) g, then g <- g + lamb mu; mu starts as the first gradient.

    A parameter without a gradient joins when it first has one.
    """

    def __init__(self, parameters: Iterable[Tensor], alpha: float = 0.98, lamb: float = 2.0) -> None:
        self.alpha, self.lamb = alpha, lamb
        self._parameters = list(parameters)
        self._average: dict[int, Tensor] = {}  # index of the parameter -> mu, of its shape

    @torch.no_grad()
    def step(self) -> None:
        """Filter the gradients in place."""
        indices = [index for index, p in enumerate(self._parameters) if p.grad is not None]
        gradients = _gradients(self._parameters, indices)
        for index, gradient in zip(indices, gradients, strict=True):
            if index not in self._average:
                self._average[index] = gradient.clone()  # the first lerp leaves it unchanged
        averages = [self._average[index] for index in indices]
        if not averages:
            return
        for some_averages, some_gradients in _groups(averages, gradients):
            torch._foreach_lerp_(some_averages, some_gradients, 1 - self.alpha)
            torch._foreach_add_(some_gradients, some_averages, alpha=self.lamb)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `step` depends on. Tensors under "average", by the parameter's index."""
        return {"alpha": self.alpha, "lamb": self.lamb, "average": dict(self._average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave. Its tensors are taken over and change with the next step."""
        self.alpha, self.lamb = state["alpha"], state["lamb"]
        self._average = {int(index): tensor for index, tensor in state["average"].items()}


class GrokFastMA:
    """Once `window_size` gradients are known: g <- g + lamb * mean of the last window_size, including the newest.

    The window is a ring of stored gradients with a running sum in fp64: together window_size + 2 copies of
    the gradients in memory.
    """

    def __init__(self, parameters: Iterable[Tensor], window_size: int = 100, lamb: float = 5.0) -> None:
        self.window_size, self.lamb = window_size, lamb
        self._parameters = list(parameters)
        self._ring: dict[int, Tensor] = {}  # index -> (window_size, *shape)
        self._sum: dict[int, Tensor] = {}  # index -> sum over the ring, in fp64 against drift
        self._count: dict[int, int] = {}  # index -> gradients seen

    @torch.no_grad()
    def step(self) -> None:
        """Filter the gradients in place."""
        indices = [index for index, p in enumerate(self._parameters) if p.grad is not None]
        gradients = _gradients(self._parameters, indices)
        for index, gradient in zip(indices, gradients, strict=True):
            if index not in self._ring:
                self._ring[index] = gradient.new_zeros(self.window_size, *gradient.shape)
                self._sum[index] = torch.zeros_like(gradient, dtype=torch.float64)
                self._count[index] = 0
        if not indices:
            return
        slots = [self._ring[index][self._count[index] % self.window_size] for index in indices]
        sums = [self._sum[index] for index in indices]
        torch._foreach_sub_(sums, slots)
        torch._foreach_copy_(slots, gradients)
        torch._foreach_add_(sums, slots)
        for index in indices:
            self._count[index] += 1
        full = [n for n, index in enumerate(indices) if self._count[index] >= self.window_size]
        if full:
            means = torch._foreach_mul([sums[n] for n in full], self.lamb / self.window_size)
            torch._foreach_add_([gradients[n] for n in full], means)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `step` depends on. Tensors under "ring" and "sum", by the parameter's index."""
        return {
            "window_size": self.window_size,
            "lamb": self.lamb,
            "ring": dict(self._ring),
            "sum": dict(self._sum),
            "count": dict(self._count),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave. Its tensors are taken over and change with the next step."""
        self.window_size, self.lamb = state["window_size"], state["lamb"]
        self._ring = {int(index): tensor for index, tensor in state["ring"].items()}
        self._sum = {int(index): tensor for index, tensor in state["sum"].items()}
        self._count = {int(index): count for index, count in state["count"].items()}


def _gradients(parameters: list[Tensor], indices: list[int]) -> list[Tensor]:
    gradients = [parameters[index].grad for index in indices]
    return [gradient for gradient in gradients if gradient is not None]


def _groups(averages: list[Tensor], gradients: list[Tensor]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """The same elements in groups of about GROUP_ELEMENTS: large tensors in parts, small ones together."""
    some_averages: list[Tensor] = []
    some_gradients: list[Tensor] = []
    elements = 0
    for average, gradient in zip(averages, gradients, strict=True):
        rows = len(gradient) if gradient.dim() else 1
        step = max(1, rows * GROUP_ELEMENTS // max(1, gradient.numel()))
        parts = (
            zip(torch.split(average, step), torch.split(gradient, step), strict=True)
            if step < rows
            else [(average, gradient)]
        )
        for average_part, gradient_part in parts:
            if some_gradients and elements + gradient_part.numel() > GROUP_ELEMENTS:
                yield some_averages, some_gradients
                some_averages, some_gradients, elements = [], [], 0
            some_averages.append(average_part)
            some_gradients.append(gradient_part)
            elements += gradient_part.numel()
    if some_gradients:
        yield some_averages, some_gradients

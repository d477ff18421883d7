"""Cross-entropy of a wide head without holding all logits: chunk by chunk, forward and gradient at once.

The idea is from Cut Cross-Entropy (arXiv 2411.09009) and Liger Kernel (arXiv 2410.10989). It handles only tensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 2**23
"""Logits held at once, 32 MiB in fp32. In measurements, smaller chunks were slower, larger ones hardly faster."""


def head_loss(x: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the rows' losses in nats, and each loss, (rows,), outside the graph.

    Args:
        x: (rows, d_model), the head's input.
        weight: (vocab_size, d_model), the head's.
        labels: (rows,) the id that should follow.
    """
    if not torch.is_grad_enabled():
        x, weight = x.detach(), weight.detach()  # else their gradients would be computed for nothing
    total, losses = _HeadLoss.apply(x, weight, labels)  # type: ignore[no-untyped-call]
    return total, losses


class _HeadLoss(torch.autograd.Function):
    """The gradients are ready when the losses are: backward only scales them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        device = x.device.type
        product = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        x_gradient = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        weight_gradient: Tensor | None = None
        losses = x.new_empty(len(x), dtype=torch.float32)
        with torch.autocast(device, enabled=False):
            narrow_weight = weight.to(product)
            rows = max(1, CHUNK_LOGITS // len(weight))
            for start in range(0, len(x), rows):
                here = slice(start, start + rows)
                chunk = x[here].to(product)
                label = labels[here, None]
                z = (chunk @ narrow_weight.t()).float()  # (rows, vocab_size)
                own = z.gather(1, label)
                top = z.amax(1, keepdim=True)
                total = z.sub_(top).exp_().sum(1, keepdim=True)
                losses[here] = (total.log() + top - own).squeeze(1)
                # d loss / d z = softmax - onehot = (z - total * onehot) / total
                z = z.scatter_add_(1, label, -total).to(product)
                if x_gradient is not None:
                    x_gradient[here] = (z @ narrow_weight) / total
                if ctx.needs_input_grad[1]:
                    scaled = (chunk / total).to(product)
                    if weight_gradient is None:
                        weight_gradient = (z.t() @ scaled).to(weight.dtype)
                    elif product == weight.dtype:
                        weight_gradient.addmm_(z.t(), scaled)
                    else:
                        weight_gradient += z.t() @ scaled
        ctx.save_for_backward(x_gradient, weight_gradient)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_gradient, weight_gradient = ctx.saved_tensors
        return (
            None if x_gradient is None else x_gradient * gradient,
            None if weight_gradient is None else weight_gradient * gradient,
            None,
        )

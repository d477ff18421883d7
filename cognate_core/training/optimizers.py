"""The optimizers of the Grokking lab, and the orthogonal gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor

from cognate_core.arithmetic.model import ArithmeticModel
from cognate_core.config import TrainingConfig
from cognate_core.training.muon import Muon


def optimizers_for(model: ArithmeticModel, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """One optimizer, or for "muon" two. All groups take the schedule's learning rate as it is.

    "adam" adds the decay to the gradient (L2), as published in arXiv 2405.20233; "adamw" takes it off the weights.
    "muon" (arXiv 2502.16982, whose scale lets it share AdamW's rate and decay) moves the matrices between the layers;
    embeddings, head, norms and biases are left to AdamW.
    """
    rate, decay, betas = config.learning_rate, config.weight_decay, (config.beta1, config.beta2)
    match config.optimizer:
        case "adam":
            return [torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay, betas=betas, fused=True)]
        case "adamw":
            return [torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, betas=betas, fused=True)]
        case "muon":
            matrices = [weight for weight in model.layers.parameters() if weight.dim() == 2]
            matrix_ids = {id(weight) for weight in matrices}
            others = [weight for weight in model.parameters() if id(weight) not in matrix_ids]
            return [
                Muon(matrices, lr=rate, weight_decay=decay),
                torch.optim.AdamW(others, lr=rate, weight_decay=decay, betas=betas, fused=True),
            ]
        case unknown:
            assert_never(unknown)


@torch.no_grad()
def orthogonalise_(parameters: Iterable[Tensor]) -> None:
    """Take each gradient's component along its weights out, and scale the rest to the old length (arXiv 2501.04697).

    g' = g - (w.g / w.w) w, then g' |g| / |g'|, for each tensor, as in the authors' code: growing the weights only
    sharpens answers that are known already.
    """
    tiny = 1e-30
    for weight in parameters:
        if weight.grad is None:
            continue
        w, g = weight.flatten(), weight.grad.flatten()
        rest = g - (w @ g) / (w @ w + tiny) * w
        weight.grad.copy_((rest * (g.norm() / (rest.norm() + tiny))).view_as(weight))

"""Which optimizer updates which weights, and the orthogonal gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import torch
from torch import Tensor

from cognate_core.arithmetic.model import ArithmeticModel
from cognate_core.config import TrainingConfig
from cognate_core.model import CognateModel
from cognate_core.training.muon import Muon


def optimizers_for(model: ArithmeticModel | CognateModel, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """One optimizer, or two for "muon". All groups use the schedule's learning rate unchanged.

    "adam" adds the decay to the gradient (L2), as published in arXiv 2405.20233; "adamw" subtracts it from the weights.
    "muon" updates the weight matrices of the layers; AdamW updates embeddings, head, gates, norms and biases.
    Norms and biases of a language model do not decay.
    """
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    weights, matrices = list(model.parameters()), list[Tensor]()
    match config.optimizer:
        case "adam":
            kind: type[torch.optim.Adam] = torch.optim.Adam
        case "adamw":
            kind = torch.optim.AdamW
        case "muon":
            kind = torch.optim.AdamW
            layers = model.blocks if isinstance(model, CognateModel) else model.layers
            matrices = [p for name, p in layers.named_parameters() if p.dim() == 2 and ".gate." not in name]
            by_muon = set(map(id, matrices))
            weights = [p for p in weights if id(p) not in by_muon]
        case unknown:
            assert_never(unknown)
    undecayed = [p for p in weights if p.dim() <= 1] if isinstance(model, CognateModel) else []
    kept = set(map(id, undecayed))
    groups: list[dict[str, Any]] = [{"params": [p for p in weights if id(p) not in kept]}]
    if undecayed:
        groups.append({"params": undecayed, "weight_decay": 0.0})
    rest = kind(groups, **settings, betas=(config.beta1, config.beta2), fused=True)
    return [Muon(matrices, **settings), rest] if matrices else [rest]


@torch.no_grad()
def orthogonalise_(parameters: Iterable[Tensor]) -> None:
    """Remove each gradient's component along its weights, and scale the rest to the old length (arXiv 2501.04697).

    g' = g - (w.g / w.w) w, then g' |g| / |g'|, per tensor, as in the authors' code: merely growing the weights only
    sharpens answers that are already known.
    """
    tiny = 1e-30
    for weight in parameters:
        if weight.grad is None:
            continue
        w, g = weight.flatten(), weight.grad.flatten()
        rest = g - (w @ g) / (w @ w + tiny) * w
        weight.grad.copy_((rest * (g.norm() / (rest.norm() + tiny))).view_as(weight))

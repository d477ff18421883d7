"""Small models and texts for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.model import CognateModel
from cognate_core.model.layers import Block

VOCABULARY = 300


def config_of(**changes: Any) -> TrainingConfig:
    """A plain small backbone, without pondering and memory unless `changes` turn them on."""
    values: dict[str, Any] = {
        "d_model": 16,
        "n_layers": 2,
        "n_heads": 2,
        "vocab_size": VOCABULARY,
        "max_seq_len": 32,
        "train_seq_len": 16,
        "act_enabled": False,
        "ltm_enabled": False,
    }
    return TrainingConfig(**{**values, **changes})


def whole_config(**changes: Any) -> TrainingConfig:
    """Pondering and memory with short segments, a short window and a memory that is soon full."""
    values: dict[str, Any] = {
        "d_model": 8,
        "n_layers": 3,
        "max_seq_len": 128,
        "attention_window": 16,
        "act_enabled": True,
        "max_act_steps": 5,
        "act_inference_steps": 5,
        "ltm_enabled": True,
        "d_mem": 6,
        "mem_capacity": 6,
        "mem_topk": 3,
        "mem_segment": 8,
        "mem_writes": 4,
    }
    return config_of(**{**values, **changes})


def seeded(config: TrainingConfig, seed: int = 0) -> CognateModel:
    """A model as training begins with it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CognateModel(config)


def blocks_of(model: CognateModel) -> list[Block]:
    """Its layers, for types: torch only knows that they are modules."""
    return [block for block in model.blocks if isinstance(block, Block)]


def lively(config: TrainingConfig, seed: int = 0) -> CognateModel:
    """A model with large weights, so that every part of it shows in the logits."""
    model = seeded(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + ("norm" in name))
        if model.pondering is not None:
            model.pondering.halting.bias.sub_(1.0)  # else nearly all tokens halt at the second step
        if model.writer is not None:
            model.writer.slope.add_(1.0)
            model.writer.surprise_variance.fill_(4.0)
            for block in blocks_of(model):
                if block.memory is not None:
                    block.memory.log_scale.add_(1.0)
    return model.eval()


def token_ids(batch: int, time: int, seed: int = 0, vocab_size: int = VOCABULARY, first: int = 0) -> Tensor:
    """Random ids from `first` on, (batch, time). With first=1 no text ends in them."""
    return torch.randint(first, vocab_size, (batch, time), generator=torch.Generator().manual_seed(seed))


def largest_difference(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value of b."""
    return float((a - b).abs().max() / b.abs().max())

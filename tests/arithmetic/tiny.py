"""A small model of the Grokking lab for tests."""

from __future__ import annotations

from typing import Any

from cognate_core.config import TrainingConfig


def config_of(**changes: Any) -> TrainingConfig:
    """Calculating modulo 7 with a model of width 16."""
    values: dict[str, Any] = {
        "task": "arithmetic",
        "arithmetic_modulus": 7,
        "optimizer": "adam",
        "d_model": 16,
        "n_layers": 2,
        "n_heads": 2,
        "act_enabled": False,
        "ltm_enabled": False,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "seed": 0,
    }
    return TrainingConfig(**{**values, **changes})

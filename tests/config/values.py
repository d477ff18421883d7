"""Bounds of every number, and the sentence for a wrong value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.errors import ConfigError

WHOLE_NUMBERS = {  # name -> lowest and highest allowed
    "max_train_samples": (1, 1_000_000),
    "max_eval_samples": (1, 100_000),
    "train_seq_len": (16, 16_384),
    "d_model": (8, 4096),
    "n_layers": (1, 96),
    "n_heads": (1, 64),
    "vocab_size": (257, 65_536),
    "max_seq_len": (16, 65_536),
    "attention_window": (16, 65_536),
    "max_act_steps": (1, 64),
    "act_inference_steps": (1, 64),
    "ray_workers": (1, 64),
    "ray_parallel_models": (1, 20),
    "d_mem": (1, 4096),
    "mem_capacity": (1, 1_000_000),
    "mem_topk": (1, 256),
    "mem_segment": (8, 16_384),
    "mem_writes": (1, 4096),
    "max_steps": (1, 10_000_000),
    "batch_size": (1, 4096),
    "gradient_accumulation_steps": (1, 1024),
    "seed": (0, 2_147_483_647),
    "grokfast_window": (1, 1000),
    "threads": (0, 256),
    "arithmetic_modulus": (3, 113),
    "early_stopping_patience": (0, 10_000),
    "eval_interval": (1, 10_000_000),
    "check_questions": (0, 10_000),
    "sample_tokens": (0, 2000),
    "save_steps": (1, 10_000_000),
}
ABOVE_ZERO = math.nextafter(0.0, 1.0)
BELOW_ONE = math.nextafter(1.0, 0.0)
DECIMALS = {  # name -> lowest and highest allowed
    "learning_rate": (ABOVE_ZERO, 1.0),
    "warmup_ratio": (0.0, 1.0),
    "min_lr_ratio": (0.0, 1.0),
    "decay_ratio": (0.0, 1.0),
    "weight_decay": (0.0, 10.0),
    "beta1": (0.0, BELOW_ONE),
    "beta2": (0.0, BELOW_ONE),
    "max_grad_norm": (0.0, 1000.0),
    "grokfast_alpha": (0.0, BELOW_ONE),
    "grokfast_lamb": (0.0, 100.0),
    "arithmetic_train_share": (0.05, 0.95),
    "act_threshold": (ABOVE_ZERO, 1.0),
    "act_ponder_weight": (0.0, 10.0),
    "act_from": (0.0, 1.0),
}
NUMBERS = {**WHOLE_NUMBERS, **DECIMALS}
SWITCHES = (
    "loss_on_answer_only",
    "keep_calculator_marks",
    "hotpotqa_distractors",
    "act_enabled",
    "ltm_enabled",
    "gradient_checkpointing",
    "grokfast_enabled",
    "grokfast_keep_step_size",
)


COMPANIONS: dict[
    tuple[str, float], dict[str, int]
] = {  # what else must be set so that an edge does not contradict another setting
    ("n_heads", 64): {"d_model": 128},
    ("train_seq_len", 16_384): {"max_seq_len": 16_384},
    ("max_seq_len", 16): {"train_seq_len": 16},
}


def sentence(values: Mapping[str, Any], field: str) -> str:
    """What a person reads when `values` are refused because of `field`, and of `field` alone."""
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.from_values(values)
    assert list(caught.value.problems) == [field]
    text = caught.value.problems[field]
    assert str(caught.value) == text
    assert text[0].isupper() and text.endswith(".") and "\n" not in text
    return text


def title(field: str) -> str:
    return str(TrainingConfig.model_fields[field].title)


def valid_widths(n_heads: int) -> list[int]:
    return [width for width in range(8, 4097) if width % n_heads == 0 and width // n_heads % 2 == 0]

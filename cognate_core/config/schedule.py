"""The learning rate of each optimizer step."""

from __future__ import annotations

import math

from cognate_core.config.training_config import TrainingConfig

ARITHMETIC_WARMUP_UPDATES = 10  # of ironjr/grokfast, main.py


def peak_learning_rate(config: TrainingConfig) -> float:
    """The highest rate of the schedule; "keep the step size" compensates for the filter's longer gradients."""
    if config.grokfast_enabled and config.grokfast_keep_step_size:
        return config.learning_rate / (1 + config.grokfast_lamb)
    return config.learning_rate


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """The rate of optimizer step 1 .. max_steps: a linear warm-up, a flat stretch, a cosine down to min_lr_ratio."""
    peak = peak_learning_rate(config)
    if config.task == "arithmetic":  # as published: a short warm-up from zero, then constant
        return peak * min(1.0, (step - 1) / ARITHMETIC_WARMUP_UPDATES)
    warmup_steps = round(config.warmup_ratio * config.max_steps)
    if step <= warmup_steps:
        return peak * step / warmup_steps
    begin = decay_begin(config)
    progress = max(0, step - begin) / max(1, config.max_steps - begin)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


def decay_begin(config: TrainingConfig) -> int:
    """The last step before the rate falls."""
    flat_until = config.max_steps - round(config.decay_ratio * config.max_steps)
    return max(round(config.warmup_ratio * config.max_steps), flat_until)

"""How the weights are moved."""

from __future__ import annotations

from functools import partial
from typing import Literal

from cognate_core.config.setting import BOTH, TEXT, Settings, setting

OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "muon": "Muon"}
"""The name of each optimizer."""

_setting = partial(setting, section="Training", tasks=BOTH)


class OptimizerSettings(Settings):
    """How the weights are moved."""

    max_steps: int = _setting(
        2000,
        title="Training steps",
        help="How often the weights are updated. More steps: a better model, but more time.",
        simple=True,
        ge=1,
        le=10_000_000,
    )
    batch_size: int = _setting(
        2,
        title="Batch size",
        help="How many sequences are processed at once. Larger is steadier but takes more memory.",
        simple=True,
        unit="sequences",
        ge=1,
        le=4096,
    )
    gradient_accumulation_steps: int = _setting(
        4,
        title="Batches per step",
        help="How many batches are added up before each update of the weights: a larger batch without more memory.",
        ge=1,
        le=1024,
        tasks=TEXT,
    )
    optimizer: Literal["adamw", "adam", "muon"] = _setting(
        "adamw",
        title="Optimizer",
        help="How gradients move the weights. adamw: the usual choice. muon: makes the step of each weight matrix in "
        "the layers orthogonal (arXiv 2502.16982), AdamW moves the rest; learns more per step and tolerates higher "
        "learning rates. adam: applies weight decay through the gradient, as in the published experiments of the "
        "Grokking lab.",
        branchable=False,
    )
    learning_rate: float = _setting(
        2e-4,
        title="Learning rate",
        help="How far each step moves the weights. Too high: the loss jumps. Too low: nothing happens.",
        simple=True,
        example="2e-4",
        gt=0,
        le=1,
    )
    warmup_ratio: float = _setting(
        0.05,
        title="Warm-up",
        help="During this first share of the steps, the learning rate grows from zero to its full value.",
        ge=0,
        le=1,
        tasks=TEXT,
    )
    min_lr_ratio: float = _setting(
        0.1,
        title="Final learning rate",
        help="After the warm-up, the learning rate falls along a cosine to this share of its full value.",
        ge=0,
        le=1,
        tasks=TEXT,
    )
    decay_ratio: float = _setting(
        1.0,
        title="Decay",
        help="During this last share of the steps, the learning rate falls; between warm-up and decay it stays at its "
        "full value (arXiv 2404.06395). 1: it falls right after the warm-up. 0: it never falls. You can branch from "
        "the flat stretch and end the branch after any number of steps.",
        ge=0,
        le=1,
        tasks=TEXT,
    )
    weight_decay: float = _setting(
        0.1,
        title="Weight decay",
        help="Pulls the weight matrices gently towards zero, which works against learning by heart.",
        ge=0,
        le=10,
    )
    beta1: float = _setting(
        0.9,
        title="AdamW beta 1",
        help="How long the optimizer remembers the direction of past gradients.",
        ge=0,
        lt=1,
    )
    beta2: float = _setting(
        0.95,
        title="AdamW beta 2",
        help="How long the optimizer remembers the size of past gradients.",
        ge=0,
        lt=1,
    )
    max_grad_norm: float = _setting(
        1.0,
        title="Gradient clipping",
        help="A gradient longer than this is shortened to it: one odd batch then does no harm. 0: off.",
        ge=0,
        le=1000,
    )
    precision: Literal["auto", "fp32", "bf16"] = _setting(
        "auto",
        title="Precision",
        help="bf16 is faster on processors that support it; auto uses it there and fp32 elsewhere.",
        tasks=TEXT,
        branchable=False,
    )
    threads: int = _setting(
        0,
        title="Threads",
        help="How many threads to use. 0: the fastest number here, measured after the first step, and again when the "
        "pace halves. Not measured with several workers; the Grokking lab uses one.",
        ge=0,
        le=256,
        branchable=False,
        sweepable=False,
        compared=False,
    )
    gradient_checkpointing: bool = _setting(
        False,
        title="Use less RAM",
        help="Uses less of the computer's memory while learning, but computes a part twice (gradient checkpointing). "
        "Slower.",
        tasks=TEXT,
        sweepable=False,
    )
    seed: int = _setting(
        42,
        title="Seed",
        help="The same seed gives the same start and the same order of data.",
        ge=0,
        le=2**31 - 1,
        branchable=False,
    )

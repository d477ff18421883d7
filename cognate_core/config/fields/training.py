"""How the weights are moved."""

from __future__ import annotations

from functools import partial
from typing import Literal

from cognate_core.config.setting import BOTH, TEXT, Settings, setting

OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "muon": "Muon"}
"""What each optimizer is called."""

_setting = partial(setting, section="Training", tasks=BOTH)


class OptimizerSettings(Settings):
    """How the weights are moved."""

    max_steps: int = _setting(
        2000,
        title="Training steps",
        help="How often the weights are updated. More steps: better, and longer.",
        simple=True,
        ge=1,
        le=10_000_000,
    )
    batch_size: int = _setting(
        2,
        title="Batch size",
        help="How many sequences are worked on at once. Larger is steadier and takes more memory.",
        simple=True,
        unit="sequences",
        ge=1,
        le=4096,
    )
    gradient_accumulation_steps: int = _setting(
        4,
        title="Batches per step",
        help="How many batches are added up before the weights are updated: a larger batch without more memory.",
        ge=1,
        le=1024,
        tasks=TEXT,
    )
    optimizer: Literal["adamw", "adam", "muon"] = _setting(
        "adamw",
        title="Optimizer",
        help="How gradients move the weights. adamw: the usual choice. muon: the step of each weight matrix in the "
        "layers is made orthogonal (arXiv 2502.16982), AdamW moves the rest; it learns more from a step, and stands "
        "higher learning rates. adam: weight decay goes through the gradient, as in the published experiments of the "
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
        help="Over this share of the steps the learning rate grows from zero to its full value.",
        ge=0,
        le=1,
        tasks=TEXT,
    )
    min_lr_ratio: float = _setting(
        0.1,
        title="Final learning rate",
        help="After the warm-up the learning rate falls along a cosine to this share of its full value.",
        ge=0,
        le=1,
        tasks=TEXT,
    )
    decay_ratio: float = _setting(
        1.0,
        title="Decay",
        help="Over this last share of the steps the learning rate falls; between warm-up and decay it stays at its "
        "full value (arXiv 2404.06395). 1: it falls as soon as the warm-up ends. 0: it never falls. A run with a flat "
        "stretch can be branched off there and brought to an end after any number of steps.",
        ge=0,
        le=1,
        tasks=TEXT,
    )
    weight_decay: float = _setting(
        0.1,
        title="Weight decay",
        help="Pulls the weight matrices gently towards zero, against learning by heart.",
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
        help="A gradient longer than this is shortened to it, so that one odd batch does no harm. 0: off.",
        ge=0,
        le=1000,
    )
    precision: Literal["auto", "fp32", "bf16"] = _setting(
        "auto",
        title="Precision",
        help="bf16 is faster where the processor has it built in; auto uses it there and fp32 elsewhere.",
        tasks=TEXT,
        branchable=False,
    )
    threads: int = _setting(
        0,
        title="Threads",
        help="How many threads calculate. 0: as many as make a step quickest here, measured after the first step, "
        "and again when the pace halves. Several workers do not try, and the Grokking lab takes one.",
        ge=0,
        le=256,
        branchable=False,
        sweepable=False,
        compared=False,
    )
    gradient_checkpointing: bool = _setting(
        False,
        title="Use less RAM",
        help="Keeps less of the computer's memory while learning, and computes a part a second time instead (gradient "
        "checkpointing). Slower.",
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

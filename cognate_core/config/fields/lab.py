"""The small tasks of the lab."""

from __future__ import annotations

from functools import partial
from typing import Literal

from cognate_core.config.setting import LAB, Settings, setting

_setting = partial(setting, section="Grokking lab", tasks=LAB, branchable=False)


class LabSettings(Settings):
    """The small tasks of the lab."""

    task: Literal["text", "arithmetic"] = _setting(
        "text",
        title="Task",
        help="text: a language model. arithmetic: the small model of the Grokking lab, which learns to calculate "
        "modulo a prime.",
        sweepable=False,
        prepares_data="rows",
    )
    arithmetic_operation: Literal["*", "+", "-", "/"] = _setting(
        "*",
        title="Operation",
        help="What to calculate, modulo the prime: x * y, x + y, x - y or x / y.",
        shapes_model=True,
    )
    arithmetic_modulus: int = _setting(
        97,
        title="Prime",
        help="All problems are calculated modulo this prime number. Larger: more problems to learn from.",
        ge=3,
        le=113,
        shapes_model=True,
    )
    arithmetic_train_share: float = _setting(
        0.5,
        title="Share to learn from",
        help="The model learns from this share of all problems; the rest is held out. Smaller: understanding comes "
        "later.",
        ge=0.05,
        le=0.95,
    )
    stable_max: bool = _setting(
        False,
        title="StableMax",
        help="Replaces exp in softmax with a function that grows linearly: the loss on problems known by heart then "
        "does not round to zero (arXiv 2501.04697).",
    )
    orthogonal_gradient: bool = _setting(
        False,
        title="Orthogonal gradient",
        help="Removes from each gradient the part that only makes the weights larger without changing an answer "
        "(arXiv 2501.04697).",
    )

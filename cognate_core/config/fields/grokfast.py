"""The gradient filter."""

from __future__ import annotations

from functools import partial
from typing import Literal

from cognate_core.config.setting import BOTH, Settings, setting

_setting = partial(setting, section="GrokFast", tasks=BOTH)


class GrokFastSettings(Settings):
    """The gradient filter."""

    grokfast_enabled: bool = _setting(
        True,
        title="GrokFast",
        help="Amplifies the slow, steady part of the gradient (arXiv 2405.20233). In some tasks, the model then moves "
        "from learning by heart to understanding sooner.",
        simple=True,
    )
    grokfast_method: Literal["ema", "ma"] = _setting(
        "ema",
        title="Filter",
        help="ema: an exponential moving average, one extra copy of the gradients. ma: the mean over a window; keeps "
        "all its gradients in memory.",
    )
    grokfast_alpha: float = _setting(
        0.98,
        title="Memory (alpha)",
        help="How slowly the average follows the gradient: 0.98 looks back about 50 steps. For the ema filter.",
        ge=0,
        lt=1,
    )
    grokfast_lamb: float = _setting(
        2.0,
        title="Strength (lambda)",
        help="How strongly the slow part is added to the gradient.",
        ge=0,
        le=100,
    )
    grokfast_window: int = _setting(
        100,
        title="Window",
        help="How many past gradients are averaged. For the ma filter.",
        unit="steps",
        ge=1,
        le=1000,
    )
    grokfast_keep_step_size: bool = _setting(
        False,
        title="Keep the step size",
        help="Divides the learning rate by 1 + lambda, because the filter makes the gradient longer.",
    )

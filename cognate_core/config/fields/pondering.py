"""How long the model thinks (ACT)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import model_validator

from cognate_core.config.setting import TEXT, Settings, setting

_setting = partial(setting, section="Pondering", tasks=TEXT, branchable=False, shapes_model=True)


class PonderingSettings(Settings):
    """How long the model thinks (ACT)."""

    act_enabled: bool = _setting(
        True,
        title="Pondering (ACT)",
        help="Adaptive computation time: the middle layers process each token until the model decides that it has "
        "thought enough, token by token (arXiv 1603.08983). Off: each layer once.",
        simple=True,
    )
    max_act_steps: int = _setting(
        16,
        title="Most ponder steps, learning",
        help="The most ponder steps of a token in training. Each batch draws its own limit up to this number: the "
        "model gets used to shorter limits.",
        unit="steps",
        ge=1,
        le=64,
    )
    act_inference_steps: int = _setting(
        6,
        title="Most ponder steps, writing",
        help="The most ponder steps of a token in the finished model; never more than while learning.",
        unit="steps",
        ge=1,
        le=64,
    )
    act_threshold: float = _setting(
        0.99,
        title="Halting threshold",
        help="After each step the model outputs the probability that it has thought enough. A token is done when these "
        "add up to this value (1 - epsilon in the paper). Lower: fewer steps.",
        gt=0,
        le=1,
    )
    act_ponder_weight: float = _setting(
        0.003,
        title="Cost of a step",
        help="The cost of a ponder step in the loss (tau). Higher: the model thinks less. It grows from zero during "
        "the first fifth of the training with pondering.",
        ge=0,
        le=10,
        branchable=True,
        shapes_model=False,
    )
    act_from: float = _setting(
        0.0,
        title="Pondering begins",
        help="Pondering begins after this share of the training steps; before, each token passes through the layers "
        "once, which is faster. 0: from the first step on. 0.5: in the second half.",
        ge=0,
        le=1,
        shapes_model=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _epsilon_of_the_paper(cls, values: Any) -> Any:
        """Accept act_epsilon as another name for 1 - act_threshold."""
        if not isinstance(values, Mapping) or "act_epsilon" not in values:
            return values
        rest = {name: value for name, value in values.items() if name != "act_epsilon"}
        try:
            epsilon = float(values["act_epsilon"])
        except (TypeError, ValueError):
            epsilon = math.nan
        if not 0 <= epsilon < 1:
            raise ValueError(
                f"act_epsilon: It must be a number from 0 to below 1, such as 0.01; got {values['act_epsilon']!r}."
            )
        threshold = round(1 - epsilon, 12)
        try:
            agrees = float(rest.get("act_threshold", threshold)) == threshold
        except (TypeError, ValueError):
            agrees = False
        if not agrees:
            raise ValueError(
                f"act_epsilon: It means a halting threshold of {threshold}, but act_threshold is "
                f"{rest['act_threshold']}. Give only one of them."
            )
        return {**rest, "act_threshold": threshold}

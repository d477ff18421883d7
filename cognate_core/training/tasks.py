"""Which loop learns which task."""

from __future__ import annotations

from cognate_core.config import TrainingConfig
from cognate_core.training.arithmetic_loop import ArithmeticLoop
from cognate_core.training.loop import TrainingLoop
from cognate_core.training.text_loop import TextLoop


def loop_for(config: TrainingConfig) -> type[TrainingLoop]:
    """The loop of the task that `config` names."""
    return ArithmeticLoop if config.task == "arithmetic" else TextLoop

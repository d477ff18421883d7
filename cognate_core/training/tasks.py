"""The training loop of each task."""

from __future__ import annotations

from typing import assert_never

from cognate_core.config import TrainingConfig
from cognate_core.training.arithmetic_loop import ArithmeticLoop
from cognate_core.training.loop import TrainingLoop
from cognate_core.training.text_loop import TextLoop


def loop_for(config: TrainingConfig) -> type[TrainingLoop]:
    """The loop for the task in `config`."""
    match config.task:
        case "text":
            return TextLoop
        case "arithmetic":
            return ArithmeticLoop
        case unknown:
            assert_never(unknown)

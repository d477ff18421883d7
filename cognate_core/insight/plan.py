"""Charts of a run before it starts: the learning rate, and how often each text is read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import learning_rate_at
from cognate_core.insight.axis import Axis
from cognate_core.insight.charts import View, line_chart
from cognate_core.insight.drawing import Curve, Figure

POINTS = 400  # of a curve, at most
PLAN_HEIGHT = 190


def schedule_chart(config: TrainingConfig, view: View) -> Figure:
    """The learning rate of each step."""
    steps = np.unique(np.linspace(1, config.max_steps, min(POINTS, config.max_steps)).round())
    rates = np.array([learning_rate_at(int(step), config) for step in steps])
    return line_chart({"learning rate": (steps, rates)}, "", _axis(config), view, height=PLAN_HEIGHT)


def passes_chart(config: TrainingConfig, sequences: Mapping[str, int], view: View) -> Figure:
    """How often each dataset has been read, by step."""
    ends = passes(config, sequences)
    steps = np.array([0.0, float(config.max_steps)])
    lines: dict[str, Curve] = {name: (steps, np.array([0.0, end])) for name, end in ends.items()}
    return line_chart(lines, "times read", _axis(config), view, height=PLAN_HEIGHT)


def passes(config: TrainingConfig, sequences: Mapping[str, int]) -> dict[str, float]:
    """How often each dataset will have been read by the end.

    Args:
        sequences: how many training sequences each dataset has.
    """
    weights = {
        name: config.mixture_weights.get(name, 1.0) if config.mixture_weights else float(count)
        for name, count in sequences.items()
        if count
    }
    drawn = config.max_steps * config.batch_size * config.gradient_accumulation_steps
    total = sum(weights.values())
    return {name: drawn * weight / total / sequences[name] for name, weight in weights.items() if total}


def _axis(config: TrainingConfig) -> Axis:
    return Axis(end=float(config.max_steps))

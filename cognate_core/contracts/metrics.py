"""The figures of an optimizer step: a line of StepMetrics each, with all that the studio knows of it.

The database's columns, the curves and charts, the API, the names in trackers and the exported tables follow from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class StepChart:
    """A chart of one or several figures. `needs`: the setting without which there is nothing to draw."""

    title: str
    unit: str
    help: str
    needs: str = ""
    noisy: bool = True


LEARNING_RATE = StepChart("Learning rate", "", "How far each step moves the weights.", noisy=False)
GRADIENT = StepChart("Gradient size", "norm", "Before, and after clipping and GrokFast.")
PONDER_STEPS = StepChart(
    "How long it thinks (ponder steps)",
    "steps a token",
    "How often the middle layers go over a token, on average. While it learns, all tokens of a batch take as many "
    "steps as tokens lately asked for.",
    needs="act_enabled",
)
PONDER_LOSS = StepChart(
    "Price of thinking (ponder loss)",
    "nats",
    "What the ponder steps add to the loss that is trained on. It is not part of the curves above.",
    needs="act_enabled",
)
NOTES = StepChart(
    "Notes in memory",
    "notes",
    "How many notes a text's memory holds after a segment, on average. A new text begins with none.",
    needs="ltm_enabled",
)
MEMORY = StepChart(
    "How memory is used",
    "share",
    "Noted: share of the tokens that became notes. Gate open: how far the layers let memory in. Nothing read: where "
    "there were notes, share of the looking that chose none.",
    needs="ltm_enabled",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of a figure.

    Attributes:
        help: what it is, and its unit.
        tracker: its name in TensorBoard and Trackio.
        curve: whether it has a curve.
        measured_always: without a value it was no number.
        chart, label: the chart that it has a line in, and the line's name.
    """

    help: str
    tracker: str
    curve: bool = True
    measured_always: bool = False
    chart: StepChart | None = None
    label: str = ""


def _always(help: str, tracker: str, **more: Any) -> Any:
    return field(metadata={"metric": Metric(help, tracker, **more)})


def _perhaps(help: str, tracker: str, **more: Any) -> Any:
    """None: the model does not have it, or no token did it."""
    return field(default=None, metadata={"metric": Metric(help, tracker, **more)})


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step of one model."""

    model_name: str
    step: int
    loss: float = _always("Of the language model alone, in nats a token.", "train/loss", measured_always=True)
    learning_rate: float = _always("Of the step.", "train/learning_rate", chart=LEARNING_RATE, label="learning rate")
    grad_norm: float = _always(
        "Of the raw gradient, before clipping and filter.",
        "train/grad_norm",
        measured_always=True,
        chart=GRADIENT,
        label="before",
    )
    filtered_grad_norm: float = _always(
        "Of what the optimizer received.",
        "train/filtered_grad_norm",
        measured_always=True,
        chart=GRADIENT,
        label="after",
    )
    tokens: int = _always("Target tokens of the step.", "train/tokens", curve=False)
    seconds: float = _always("That the step took, by the clock on the wall.", "train/seconds", curve=False)
    elapsed_seconds: float = _always("Since the training of this model began.", "train/elapsed_seconds", curve=False)
    ponder_steps: float | None = _perhaps(
        "Mean steps of a token.", "ponder/steps", chart=PONDER_STEPS, label="ponder steps"
    )
    ponder_loss: float | None = _perhaps(
        "What they cost in the loss, in nats.", "ponder/loss", chart=PONDER_LOSS, label="ponder loss"
    )
    memory_notes: float | None = _perhaps("Notes held after a segment.", "memory/notes", chart=NOTES, label="notes")
    memory_written: float | None = _perhaps(
        "Share of the tokens that were noted.", "memory/written", chart=MEMORY, label="noted"
    )
    memory_gate: float | None = _perhaps(
        "Mean opening of the gates, 0 to 1.", "memory/gate", chart=MEMORY, label="gate open"
    )
    memory_null_share: float | None = _perhaps(
        "Share of the reading that went to no note, among the tokens that could have read one.",
        "memory/null_share",
        chart=MEMORY,
        label="nothing read",
    )
    accuracy: float | None = _perhaps(
        "Share of the step's answers that were right, before the update.", "train/accuracy"
    )


METRICS: dict[str, Metric] = {
    each.name: each.metadata["metric"] for each in fields(StepMetrics) if "metric" in each.metadata
}
CURVES = tuple(name for name, metric in METRICS.items() if metric.curve)
STEP_CHARTS: dict[StepChart, dict[str, str]] = {}
"""Each chart, with its figures and the names of their lines."""
for _name, _metric in METRICS.items():
    if _metric.chart:
        STEP_CHARTS.setdefault(_metric.chart, {})[_name] = _metric.label

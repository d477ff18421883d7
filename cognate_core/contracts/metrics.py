"""The figures of an optimizer step: each is one field of StepMetrics, which defines everything about it.

The database columns, curves and charts, API, tracker names and exported tables derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class StepChart:
    """A chart of one or more figures.

    Attributes:
        needs: the setting that must be on for the chart to have data.
        group: the heading that it stands under.
        everywhere: whether each computer and each version measured it; if not, a chart without data is left out.
    """

    title: str
    unit: str
    help: str
    needs: str = ""
    noisy: bool = True
    group: str = "Learning"
    everywhere: bool = True


LEARNING_RATE = StepChart("Learning rate", "", "How far each step moves the weights.", noisy=False)
GRADIENT = StepChart("Gradient size", "norm", "Before, and after clipping and GrokFast.")
PONDER_STEPS = StepChart(
    "How long it thinks (ponder steps)",
    "steps per token",
    "How often the middle layers process a token, on average. While it learns, all tokens of a batch take the same "
    "number, drawn from what tokens recently asked for.",
    needs="act_enabled",
    group="Thinking",
)
PONDER_LOSS = StepChart(
    "Cost of thinking (ponder loss)",
    "nats",
    "What ponder steps add to the training loss. The curves above do not include it.",
    needs="act_enabled",
    group="Thinking",
)
NOTES = StepChart(
    "Notes in memory",
    "notes",
    "How many notes a text's memory holds after a segment, on average. A new text starts with none.",
    needs="ltm_enabled",
    group="Memory",
)
MEMORY = StepChart(
    "How memory is used",
    "share",
    "Noted: share of tokens that became notes. Gate open: how far the layers let memory in. Nothing read: share of "
    "look-ups that chose no note although there were some.",
    needs="ltm_enabled",
    group="Memory",
)
MACHINE = "Speed and machine"
CORES = StepChart(
    "Processor cores at work", "cores", "How many cores training kept busy.", group=MACHINE, everywhere=False
)
PROCESS_MEMORY = StepChart(
    "Memory of the training process", "GB", "In main memory, torch included.", group=MACHINE, everywhere=False
)
TEMPERATURE = StepChart(
    "Temperature", "°C", "The hottest sensor of this computer's processor.", group=MACHINE, everywhere=False
)


@dataclass(frozen=True, slots=True)
class Metric:
    """Everything about a figure.

    Attributes:
        help: its meaning and unit.
        tracker: its name in TensorBoard and Trackio.
        curve: whether it has a curve.
        measured_always: whether a missing value means that it was not a number.
        chart, label: the chart with its line, and the line's name.
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
    """None: the model does not have this part, or no token used it."""
    return field(default=None, metadata={"metric": Metric(help, tracker, **more)})


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step of one model."""

    model_name: str
    step: int
    loss: float = _always("Loss of the language model alone, in nats per token.", "train/loss", measured_always=True)
    learning_rate: float = _always(
        "Learning rate of the step.", "train/learning_rate", chart=LEARNING_RATE, label="learning rate"
    )
    grad_norm: float = _always(
        "Norm of the raw gradient, before clipping and filter.",
        "train/grad_norm",
        measured_always=True,
        chart=GRADIENT,
        label="before",
    )
    filtered_grad_norm: float = _always(
        "Norm of the gradient that the optimizer received.",
        "train/filtered_grad_norm",
        measured_always=True,
        chart=GRADIENT,
        label="after",
    )
    tokens: int = _always("Target tokens of the step.", "train/tokens", curve=False)
    seconds: float = _always("Duration of the step in wall-clock seconds.", "train/seconds", curve=False)
    elapsed_seconds: float = _always(
        "Seconds since the training of this model began.", "train/elapsed_seconds", curve=False
    )
    ponder_steps: float | None = _perhaps(
        "Mean ponder steps of a token.", "ponder/steps", chart=PONDER_STEPS, label="ponder steps"
    )
    ponder_loss: float | None = _perhaps(
        "Cost of ponder steps in the loss, in nats.", "ponder/loss", chart=PONDER_LOSS, label="ponder loss"
    )
    memory_notes: float | None = _perhaps(
        "Mean number of notes after a segment.", "memory/notes", chart=NOTES, label="notes"
    )
    memory_written: float | None = _perhaps(
        "Share of tokens that became notes.", "memory/written", chart=MEMORY, label="noted"
    )
    memory_gate: float | None = _perhaps(
        "Mean opening of the gates, 0 to 1.", "memory/gate", chart=MEMORY, label="gate open"
    )
    memory_null_share: float | None = _perhaps(
        "Share of look-ups that chose no note, among tokens that could have read one.",
        "memory/null_share",
        chart=MEMORY,
        label="nothing read",
    )
    cores: float | None = _perhaps(
        "Processor seconds of the training process per second of the step.", "machine/cores", chart=CORES, label="cores"
    )
    memory_gb: float | None = _perhaps(
        "Main memory of the training process, in GB (1e9 bytes).",
        "machine/memory_gb",
        chart=PROCESS_MEMORY,
        label="memory",
    )
    temperature: float | None = _perhaps(
        "The processor's hottest sensor in degrees Celsius, now and then.",
        "machine/temperature",
        chart=TEMPERATURE,
        label="temperature",
    )
    accuracy: float | None = _perhaps("Share of right answers in the step, before the update.", "train/accuracy")


METRICS: dict[str, Metric] = {
    each.name: each.metadata["metric"] for each in fields(StepMetrics) if "metric" in each.metadata
}
CURVES = tuple(name for name, metric in METRICS.items() if metric.curve)
STEP_CHARTS: dict[StepChart, dict[str, str]] = {}
"""Chart -> {figure: name of its line}."""
for _name, _metric in METRICS.items():
    if _metric.chart:
        STEP_CHARTS.setdefault(_metric.chart, {})[_name] = _metric.label

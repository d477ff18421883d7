"""The base of all trackers: a ProgressEmitter that also takes records."""

from __future__ import annotations

from collections.abc import Iterator

from cognate_core.contracts import (
    Evaluation,
    ModelArtifacts,
    ProgressEmitter,
    Record,
    StepMetrics,
    TrainingProgress,
    bits_per_byte,
)
from cognate_core.contracts.metrics import METRICS


class Tracker(ProgressEmitter):
    """Keeps a run's figures in another place. Only one thread calls it, in the order of events.

    Any method may raise: the tracker is then closed and gets nothing more. Each tracker also gets progress and
    finished models; those that keep only figures ignore them.
    """

    def record(self, record: Record) -> None:
        """Record what a trainer or loader measured."""

    def flush(self) -> None:
        """Make what was recorded readable for others. Called about once a second."""

    def close(self) -> None:
        """The execution of the run has ended: write what is left and close files."""

    async def emit_progress(self, progress: TrainingProgress) -> None:
        """How far the run is."""

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        """A model is finished."""


def named_figures(record: StepMetrics | Evaluation) -> Iterator[tuple[str, float]]:
    """The figures of a record under the names that trackers show. Figures that the model lacks are left out."""
    if isinstance(record, Evaluation):
        yield f"heldout/{record.dataset}", record.loss
        bits = bits_per_byte(record.loss, record.tokens, record.bytes)
        if bits is not None:
            yield f"heldout_bits_per_byte/{record.dataset}", bits
        if record.accuracy is not None:
            yield f"heldout_accuracy/{record.dataset}", record.accuracy
        return
    for name, metric in METRICS.items():
        value = getattr(record, name)
        if value is not None:
            yield metric.tracker, value

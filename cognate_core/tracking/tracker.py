"""What every tracker is: a ProgressEmitter that takes records, too."""

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


class Tracker(ProgressEmitter):
    """Keeps a run's figures in one more place. One thread alone calls it, in the order of what happened.

    Any method may raise: the tracker is closed then and gets nothing more. Progress and finished models are told to
    each; those that keep figures alone have no use for them.
    """

    def record(self, record: Record) -> None:
        """Take what a trainer or loader measured."""

    def flush(self) -> None:
        """Have what was taken lie where others read it. Called about once a second."""

    def close(self) -> None:
        """The execution of the run has ended: write what is left, let files go."""

    async def emit_progress(self, progress: TrainingProgress) -> None:
        """How far the run is."""

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        """A model is finished."""


_NAMES = {
    "loss": "train/loss",
    "accuracy": "train/accuracy",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "filtered_grad_norm": "train/filtered_grad_norm",
    "tokens": "train/tokens",
    "seconds": "train/seconds",
    "elapsed_seconds": "train/elapsed_seconds",
    "ponder_steps": "ponder/steps",
    "ponder_loss": "ponder/loss",
    "memory_notes": "memory/notes",
    "memory_written": "memory/written",
    "memory_gate": "memory/gate",
    "memory_null_share": "memory/null_share",
}


def named_figures(record: StepMetrics | Evaluation) -> Iterator[tuple[str, float]]:
    """The figures of a record under the names that trackers show. What the model does not have is left out."""
    if isinstance(record, Evaluation):
        yield f"heldout/{record.dataset}", record.loss
        bits = bits_per_byte(record.loss, record.tokens, record.bytes)
        if bits is not None:
            yield f"heldout_bits_per_byte/{record.dataset}", bits
        if record.accuracy is not None:
            yield f"heldout_accuracy/{record.dataset}", record.accuracy
        return
    for field, name in _NAMES.items():
        value = getattr(record, field)
        if value is not None:
            yield name, value

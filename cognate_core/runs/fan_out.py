"""One emitter that stands for several."""

from __future__ import annotations

from collections.abc import Sequence

from cognate_core.contracts import ModelArtifacts, ProgressEmitter, TrainingProgress


class FanOutEmitter(ProgressEmitter):
    """Hands everything to each emitter in its turn. What one raises reaches the run, and those behind hear nothing."""

    def __init__(self, emitters: Sequence[ProgressEmitter]) -> None:
        self._emitters = tuple(emitters)

    async def emit_progress(self, progress: TrainingProgress) -> None:
        for emitter in self._emitters:
            await emitter.emit_progress(progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        for emitter in self._emitters:
            await emitter.emit_model_completed(artifacts)

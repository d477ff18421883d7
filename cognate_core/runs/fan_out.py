"""One emitter that passes everything to several."""

from __future__ import annotations

from collections.abc import Sequence

from cognate_core.contracts import ModelArtifacts, ProgressEmitter, TrainingProgress


class FanOutEmitter(ProgressEmitter):
    """Passes everything to each emitter in turn. If one raises, the run gets the error and later emitters nothing."""

    def __init__(self, emitters: Sequence[ProgressEmitter]) -> None:
        self._emitters = tuple(emitters)

    async def emit_progress(self, progress: TrainingProgress) -> None:
        for emitter in self._emitters:
            await emitter.emit_progress(progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        for emitter in self._emitters:
            await emitter.emit_model_completed(artifacts)

"""A ProgressEmitter that shows a run in the database."""

from __future__ import annotations

import asyncio

from cognate_core.contracts import ModelArtifacts, ProgressEmitter, TrainingProgress
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressLog


class SQLiteProgressEmitter(ProgressEmitter):
    """Shows a run's progress and models in the database."""

    def __init__(self, log: ProgressLog, run_id: str, store: ArtifactStore) -> None:
        self._log, self._run_id, self._store = log, run_id, store

    async def emit_progress(self, progress: TrainingProgress) -> None:
        self._log.set_progress(self._run_id, progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        files = await asyncio.to_thread(self._store.describe, artifacts.artifacts)
        self._log.add_model(self._run_id, artifacts, files)

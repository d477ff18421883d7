"""Mocks of the three interfaces, for tests and notebooks. Their figures are made up and marked as such."""

from __future__ import annotations

from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DatasetLoader,
    ModelArtifacts,
    ModelTrainer,
    ProgressCallback,
    ProgressEmitter,
    TrainingProgress,
)
from cognate_core.errors import DataError, StopRequested


class MockProgressEmitter(ProgressEmitter):
    """Keeps everything that is emitted."""

    def __init__(self) -> None:
        self.progress: list[TrainingProgress] = []
        self.models: list[ModelArtifacts] = []

    async def emit_progress(self, progress: TrainingProgress) -> None:
        self.progress.append(progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        self.models.append(artifacts)


class MockDatasetLoader(DatasetLoader):
    """Loads nothing. It pretends not to find the datasets in `unavailable`."""

    def __init__(self, unavailable: frozenset[str] = frozenset()) -> None:
        self._unavailable = unavailable
        self._results: dict[str, bool] = {}

    async def download_dataset(self, dataset_name: str, dataset_id: str) -> bool:
        self._results[dataset_name] = dataset_name not in self._unavailable
        return self._results[dataset_name]

    async def create_mixed_training_data(self) -> str:
        if not any(self._results.values()):
            raise DataError("No dataset is available.")
        return "mock-data"

    def get_dataset_results(self) -> dict[str, bool]:
        return dict(self._results)


class MockModelTrainer(ModelTrainer):
    """Trains nothing: calls back `config.max_steps` times with a made-up loss. `failing`: errors by model name."""

    def __init__(self, failing: dict[str, Exception] | None = None) -> None:
        self._failing = failing or {}
        self.configs: dict[str, TrainingConfig] = {}

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        self.configs[model_name] = config
        status, done = "completed", 0
        for step in range(1, config.max_steps + 1):
            done = step
            try:
                progress_callback(step, config.max_steps, 1.0 / step, config.learning_rate)
            except StopRequested:
                status = "stopped"
                break
            if model_name in self._failing:
                raise self._failing[model_name]
        return {
            "parameter_count": 0,
            "training_status": status,
            "artifacts": {},
            "training_stats": {"steps": done, "mock": True},
            "datasets_used": ["mock"],
            "grokfast_enabled": config.grokfast_enabled,
            "act_enabled": False,
            "ltm_enabled": False,
        }

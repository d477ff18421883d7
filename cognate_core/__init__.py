"""Cognate Studio's library: configure, train, keep and try small language models. Importing it loads no torch."""

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DatasetLoader,
    ModelArtifacts,
    ModelTrainer,
    ProgressEmitter,
    RunStatus,
    TrainingProgress,
)
from cognate_core.service import TrainingService, TrainingSession
from cognate_core.testing import MockDatasetLoader, MockModelTrainer, MockProgressEmitter

__all__ = [
    "DatasetLoader",
    "MockDatasetLoader",
    "MockModelTrainer",
    "MockProgressEmitter",
    "ModelArtifacts",
    "ModelTrainer",
    "ProgressEmitter",
    "RunStatus",
    "TrainingConfig",
    "TrainingProgress",
    "TrainingService",
    "TrainingSession",
]

"""The three interfaces between the training service and its parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cognate_core.contracts.artifacts import ModelArtifacts
from cognate_core.contracts.progress import TrainingProgress

if TYPE_CHECKING:
    from cognate_core.config import TrainingConfig

ProgressCallback = Callable[[int, int, float, float], None]
"""`progress_callback(step, total_steps, loss, learning_rate)`: an ordinary function, called from any thread.

It may raise an Interruption (see errors.py). On a stop, a trainer saves what it has and returns `training_status`
"stopped" (or lets the exception pass if there is nothing to save yet). On a pause, it writes a checkpoint and lets the
exception pass. On a cancel, it lets the exception pass at once.
"""


class ProgressEmitter(ABC):
    """Reports a run's progress to its subscribers."""

    @abstractmethod
    async def emit_progress(self, progress: TrainingProgress) -> None:
        """Report `progress`."""

    @abstractmethod
    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        """Report a finished model."""


class DatasetLoader(ABC):
    """Downloads datasets and turns them into training data."""

    @abstractmethod
    async def download_dataset(self, dataset_name: str, dataset_id: str) -> bool:
        """Download one dataset. True if its rows are available; False if it cannot be obtained.

        Args:
            dataset_name: the name in `TrainingConfig.dataset_sources`.
            dataset_id: its source (a hub id, or a file's path).

        Raises:
            DataError: the dataset is here but cannot be used (malformed).
        """

    @abstractmethod
    async def create_mixed_training_data(self) -> str:
        """Turn the downloaded datasets into training data; returns the path of its folder.

        Raises:
            DataError: there is no usable data.
        """

    @abstractmethod
    def get_dataset_results(self) -> dict[str, bool]:
        """For each dataset requested so far, whether it was loaded."""


class ModelTrainer(ABC):
    """Trains one model."""

    @abstractmethod
    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        """Train `model_name` and write its artifacts into `config.output_dir`.

        Returns:
            a dict with `parameter_count` (int), `training_status` ("completed" or "stopped"),
            `artifacts` (kind -> path), `training_stats` (measured figures), `datasets_used`
            (names of those actually used) and `act_enabled`, `ltm_enabled`, `grokfast_enabled`
            (what the model actually has).

        Raises:
            TrainingError: the model could not be trained.
            CancelRequested: raised by the callback; nothing is kept.
            PauseRequested: raised by the callback; the same call on a resuming trainer continues from there.
        """

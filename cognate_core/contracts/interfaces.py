"""The three interfaces between the training service and what it is given."""

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

It may raise an Interruption (see errors.py). A trainer answers a stop by saving what there is and returning with
`training_status` "stopped" (or lets it through when there is nothing to save yet), writes a checkpoint before it lets
a pause through, and lets a cancel through at once.
"""


class ProgressEmitter(ABC):
    """Carries a run's progress to whoever watches."""

    @abstractmethod
    async def emit_progress(self, progress: TrainingProgress) -> None:
        """Make `progress` visible."""

    @abstractmethod
    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        """Make a finished model visible."""


class DatasetLoader(ABC):
    """Fetches datasets and makes training data of them."""

    @abstractmethod
    async def download_dataset(self, dataset_name: str, dataset_id: str) -> bool:
        """Fetch one dataset. True when its rows are here; False when it cannot be had.

        Args:
            dataset_name: the name in `TrainingConfig.dataset_sources`.
            dataset_id: where it lies (a hub id, or a file's path).

        Raises:
            DataError: the dataset is here but cannot be used (malformed).
        """

    @abstractmethod
    async def create_mixed_training_data(self) -> str:
        """Turn what was fetched into training data; the path of the folder that holds it.

        Raises:
            DataError: nothing usable came together.
        """

    @abstractmethod
    def get_dataset_results(self) -> dict[str, bool]:
        """For each dataset asked for so far, whether it was loaded."""


class ModelTrainer(ABC):
    """Trains one model."""

    @abstractmethod
    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        """Train `model_name` and write its artifacts below `config.output_dir`.

        Returns:
            a dict with `parameter_count` (int), `training_status` ("completed" or "stopped"),
            `artifacts` (kind -> path), `training_stats` (measured figures), `datasets_used`
            (names that really went in) and `act_enabled`, `ltm_enabled`, `grokfast_enabled`
            (what the model really has).

        Raises:
            TrainingError: the model could not be trained.
            CancelRequested: the callback asked for it; nothing is kept.
            PauseRequested: the callback asked for it; the same call on a trainer that resumes goes on from there.
        """

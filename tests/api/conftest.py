"""The API in process, on a studio whose training costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from cognate_core.api import create_api
from cognate_core.config import TrainingConfig
from cognate_core.mocks import MockDatasetLoader, MockModelTrainer
from cognate_core.runs import RunManager
from cognate_core.runs.execution import RunContext
from cognate_core.service import TrainingService


class HastyTrainer(MockModelTrainer):
    """Pretends to train three steps, whatever is asked for."""

    async def train_model(self, model_name, config: TrainingConfig, progress_callback):  # type: ignore[no-untyped-def]
        short = config.model_copy(update={"max_steps": min(3, config.max_steps)})
        return await super().train_model(model_name, short, progress_callback)


def mock_service(context: RunContext) -> TrainingService:
    """A service that trains nothing."""
    return TrainingService(context.emitter, MockDatasetLoader(), HastyTrainer(), context.config)


@pytest.fixture
def studio(open_manager: Callable[..., RunManager]) -> RunManager:
    """Whoever manages the test's own data directory; its runs end at once."""
    return open_manager(build_service=mock_service)


@pytest.fixture
def api(studio: RunManager) -> Iterator[TestClient]:
    """The API without the guard, which has tests of its own."""
    with TestClient(create_api(lambda: studio)) as client:
        yield client

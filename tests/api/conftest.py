"""The API in process: `api` on a studio whose training costs nothing, `client` on one with trained tiny models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cognate_core.api import create_api
from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs import RunManager
from cognate_core.runs.execution import RunContext
from cognate_core.service import TrainingService
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests.arithmetic.tiny import config_of
from tests.tiny import TINY
from tests.waiting import LONG


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


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a tiny language model that ponders and remembers, and a tiny model of the lab."""
    home = tmp_path_factory.mktemp("trained")
    manager = RunManager(home, executor="thread")
    lab = config_of(max_steps=8, eval_interval=4, save_steps=4)
    for config, name in ((lab, "lab"), (TINY, "text")):
        run_id = manager.start(config, f"The {name} run", [name])
        assert manager.wait(run_id, LONG)
        assert manager.log.run(run_id).status is RunStatus.COMPLETED, manager.log.run(run_id).error
    manager.close()
    return home


@pytest.fixture
def trained(tmp_path: Path, trained_home: Path) -> Iterator[RunManager]:
    """A studio of the test's own with both models."""
    shutil.copytree(trained_home, tmp_path / "home")
    manager = RunManager(tmp_path / "home", executor="thread")
    yield manager
    manager.close()


@pytest.fixture
def client(trained: RunManager) -> TestClient:
    """Asks the API, without the guard before it: that is another test's."""
    return TestClient(create_api(lambda: trained), base_url="http://127.0.0.1/v1/", raise_server_exceptions=False)


@pytest.fixture
def text_model(trained: RunManager) -> str:
    return model_called(trained, "text")


@pytest.fixture
def lab_model(trained: RunManager) -> str:
    return model_called(trained, "lab")


def model_called(manager: RunManager, name: str) -> str:
    """The id of the model that was trained as `name`."""
    return next(model.id for model in manager.log.models() if model.trained_as == name)

"""A studio whose trainer waits for the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.runs.manager import RunManager
from tests.runs.manager.patient import OpenManager, PatientTrainer, services_with


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of `open_manager`."""
    return tmp_path / "home"


@pytest.fixture
def trainer(open_manager: OpenManager) -> Iterator[PatientTrainer]:
    """Let go at the end, before the managers are closed."""
    trainer = PatientTrainer()
    yield trainer
    trainer.let_all_go()


@pytest.fixture
def studio(open_manager: OpenManager, trainer: PatientTrainer) -> RunManager:
    """One run at a time, trained by `trainer`."""
    return open_manager(build_service=services_with(trainer))


@pytest.fixture
def start(tiny_config: TrainingConfig) -> Callable[..., str]:
    """`start(manager, "a")`: start a run of this name with one model of this name; its id."""

    def start_one(manager: RunManager, name: str, *more_models: str, start_key: str | None = None) -> str:
        return manager.start(tiny_config, name, [name, *more_models], start_key)

    return start_one

"""The API asked as other programs ask it, on studios in which tiny models were really trained."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cognate_core.api import create_api
from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs import RunManager
from tests.arithmetic.tiny import config_of


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a tiny language model that ponders and remembers, and a tiny model of the lab."""
    home = tmp_path_factory.mktemp("trained")
    manager = RunManager(home, executor="thread")
    text = TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=60,
        max_eval_samples=10,
        train_seq_len=256,
        max_seq_len=256,
        d_model=16,
        n_layers=2,
        d_mem=16,
        mem_segment=16,
        mem_writes=4,
        n_heads=2,
        vocab_size=400,
        max_steps=4,
        batch_size=2,
        gradient_accumulation_steps=1,
        eval_interval=2,
        save_steps=2,
        sample_tokens=4,
        precision="fp32",
    )
    lab = config_of(max_steps=8, eval_interval=4, save_steps=4)
    for config, name in ((lab, "lab"), (text, "text")):
        run_id = manager.start(config, f"The {name} run", [name])
        assert manager.wait(run_id, 120)
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

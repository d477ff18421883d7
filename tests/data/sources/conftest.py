"""A hub and a local folder."""

from pathlib import Path

import datasets
import huggingface_hub
import pytest

from tests.data.sources.hubs import FakeHub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda api, name, **options: fake.dataset_info(api, name, **options)
    )
    monkeypatch.setattr(datasets, "load_dataset", fake.load_dataset)
    monkeypatch.setattr("cognate_core.data.hub.hub_problem", lambda: None)
    monkeypatch.setattr("cognate_core.data.sources.sleep", fake.waits.append)
    return fake


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setenv("COGNATE_DATASETS_DIR", str(folder))
    return folder

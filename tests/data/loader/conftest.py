"""No hub, and a local folder."""

from pathlib import Path

import pytest

from tests.data.loader.prepared import gsm8k_row, write_rows


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError("no network here")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    monkeypatch.setattr("cognate_core.data.sources.sleep", lambda seconds: None)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A local folder with 30 training and 5 held-out rows of GSM8K."""
    folder = tmp_path / "datasets"
    write_rows(folder / "gsm8k/main/train.jsonl", map(gsm8k_row, range(30)))
    write_rows(folder / "gsm8k/main/test.jsonl", map(gsm8k_row, range(100, 105)))
    monkeypatch.setenv("COGNATE_DATASETS_DIR", str(folder))
    return folder

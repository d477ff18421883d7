"""A log with a run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.storage.progress_log import ProgressLog
from tests.storage.progress_log.rows import add_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studio.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[ProgressLog]:
    log = ProgressLog(path)
    yield log
    log.close()


@pytest.fixture
def run_id(log: ProgressLog, tiny_config: TrainingConfig) -> str:
    """A queued run."""
    return add_run(log, tiny_config, "run1")

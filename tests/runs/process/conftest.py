"""A studio whose runs have processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cognate_core.contracts import RunStatus
from cognate_core.runs.manager import RunManager
from tests.runs.process.workers import OpenManager, at_rest, small_config, what_was_learned


@pytest.fixture(scope="module", autouse=True)
def _as_many_threads_as_small_config_has(one_thread: None) -> None:
    """Sums of floating-point numbers depend on how many threads share them."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of `open_manager`."""
    return tmp_path / "home"


@pytest.fixture(params=["thread", "process"])
def studio(request: pytest.FixtureRequest, open_manager: OpenManager) -> RunManager:
    """Really trains: in a thread, and again in a process."""
    return open_manager(executor=request.param)


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of small_config() in one go, in this process."""
    studio = RunManager(tmp_path_factory.mktemp("left alone"), executor="thread")
    try:
        run_id = studio.start(small_config(), "Real", ["Real model"])
        assert at_rest(studio, run_id).status is RunStatus.COMPLETED
        return what_was_learned(studio, run_id)
    finally:
        studio.close()

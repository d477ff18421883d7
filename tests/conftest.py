"""Fixtures that many tests share. No test reaches the network or writes outside its own temporary folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from cognate_core.config import TrainingConfig
from cognate_core.runs import close_manager
from cognate_core.runs.execution import BuildService, build_real_service
from cognate_core.runs.manager import RunManager
from cognate_core.runs.scheduler import Executor
from cognate_core.runs.timing import Timing
from tests.threads import with_one_thread

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The hub refuses at once, nothing of the person's own settings or data is seen, and no studio is left open."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COGNATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COGNATE_DATASETS_DIR", raising=False)
    yield
    close_manager()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are faster with one thread, above all when the computer is busy."""
    with with_one_thread():
        yield


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One Chromium for all tests that need a browser."""
    from playwright.sync_api import sync_playwright  # here, because most tests need none of it

    from tests.browser.studio import launch_chromium

    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny_config() -> TrainingConfig:
    """Trains in half a second on synthetic text; it ponders, and reads what it noted."""
    return TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=60,
        max_eval_samples=10,
        train_seq_len=128,
        max_seq_len=128,
        d_model=16,
        n_layers=2,
        n_heads=2,
        max_act_steps=3,
        act_inference_steps=3,
        d_mem=16,
        mem_segment=64,
        mem_writes=4,
        vocab_size=400,
        max_steps=5,
        batch_size=2,
        gradient_accumulation_steps=1,
        learning_rate=1e-2,
        eval_interval=5,
        sample_tokens=4,
        save_steps=5,
        precision="fp32",
    )


@pytest.fixture
def open_manager(tmp_path: Path) -> Iterator[Callable[..., RunManager]]:
    """`open_manager(build_service=..., max_parallel=..., executor=..., timing=...)`: one on the test's own home."""
    opened: list[RunManager] = []

    def open_one(
        build_service: BuildService = build_real_service,
        max_parallel: int = 1,
        executor: Executor = "thread",
        timing: Timing = Timing(),  # noqa: B008  (it never changes)
    ) -> RunManager:
        manager = RunManager(tmp_path / "home", max_parallel, executor, build_service, timing)
        opened.append(manager)
        return manager

    yield open_one
    for manager in opened:
        manager.close()


@pytest.fixture
def manager(open_manager: Callable[..., RunManager]) -> RunManager:
    """A RunManager that really trains."""
    return open_manager()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with browser tests last: Playwright keeps an event loop running in its thread, beside which asyncio.run
    refuses. Of each kind the files with most tests first, so that both workers have something to do until the end."""
    tests = Counter(item.path for item in items)
    browser = {item.path for item in items if item.get_closest_marker("browser")}
    items.sort(key=lambda item: (item.path in browser, -tests[item.path]))

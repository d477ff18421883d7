"""Fixtures that many tests share. No test reaches the network or writes outside its own temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.runs.manager import BuildService, RunManager, build_real_service


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub refuses at once, and nothing of the person's own settings or data is seen."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COGNATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COGNATE_DATASETS_DIR", raising=False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are faster so, above all when the computer has other work."""
    import torch  # here, because most tests need none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_config() -> TrainingConfig:
    """Trains in about a second on synthetic text."""
    return TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=60,
        max_eval_samples=10,
        train_seq_len=256,
        max_seq_len=256,
        d_model=16,
        n_layers=2,
        n_heads=2,
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
    """`open_manager(build_service=..., max_parallel=...)`: a RunManager on the test's own home, closed at the end."""
    opened: list[RunManager] = []

    def open_one(build_service: BuildService = build_real_service, max_parallel: int = 1) -> RunManager:
        manager = RunManager(tmp_path / "home", max_parallel=max_parallel, build_service=build_service)
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
    """Browser tests last: Playwright keeps an event loop running in this thread, beside which asyncio.run refuses."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)

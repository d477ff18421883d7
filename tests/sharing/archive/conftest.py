"""Fixtures of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs.manager import RunManager
from cognate_core.sharing.archive import write_archive
from tests.sharing.archive.archives import (
    NAMES,
    Trained,
)
from tests.threads import with_one_thread
from tests.waiting import LONG


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    home = tmp_path_factory.mktemp("there") / "home"
    config = TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=60,
        max_eval_samples=10,
        train_seq_len=128,
        max_seq_len=128,
        d_model=16,
        n_layers=2,
        d_mem=16,
        mem_segment=32,
        mem_writes=4,
        max_act_steps=4,
        n_heads=2,
        vocab_size=3000,  # more than its text makes
        max_steps=3,
        batch_size=2,
        gradient_accumulation_steps=1,
        eval_interval=2,
        sample_tokens=4,
        precision="fp32",
    )
    studio = RunManager(home, executor="thread")
    variants = {
        "first": ({}, NAMES),
        "again": ({}, NAMES),
        "other seed": ({"seed": 7}, NAMES),
        "other data": ({"max_train_samples": 50}, NAMES[:1]),
    }
    with with_one_thread():
        runs = {
            name: studio.start(config.with_overrides(more), name, models) for name, (more, models) in variants.items()
        }
        for run_id in runs.values():
            assert studio.wait(run_id, LONG)
            assert studio.log.run(run_id).status is RunStatus.COMPLETED, studio.log.run(run_id).error
    target = home.parent / "first.cognate.zip"
    write_archive(studio.log, studio.store, runs["first"], target)
    studio.close()
    return Trained(home, runs["first"], runs, target)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[RunManager]:
    """Another studio, with nothing in it."""
    studio = RunManager(tmp_path / "here", executor="thread")
    yield studio
    studio.close()

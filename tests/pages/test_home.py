from __future__ import annotations

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.errors import DiskFull
from cognate_core.presets import PRESETS
from cognate_core.runs import RunManager
from tests.pages.conftest import open_page, texts


def test_an_empty_studio_says_where_to_begin(studio: RunManager) -> None:
    page = open_page("home")
    assert "Your first model" in texts(page)
    for preset in PRESETS.values():
        assert preset.title in texts(page)
        assert preset.expectation in texts(page)


def test_a_finished_run_is_listed_with_its_true_figures(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    loss = trained_studio.log.metrics(run.id)[-1]["loss"]
    page = open_page("home")
    assert "Finished runs" in texts(page)
    assert f"4 of 4 steps, loss {loss:.2f}" in texts(page)
    assert "1 trained model" in texts(page)


def test_a_failed_run_says_why(studio: RunManager, tiny_config: TrainingConfig) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None)
    studio.log.claim(run_id)
    studio.log.set_status(run_id, RunStatus.FAILED, error="The disk is full.")
    assert "The disk is full" in texts(open_page("home"))


def test_a_run_that_is_going_shows_its_progress(studio: RunManager, tiny_config: TrainingConfig) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None)
    studio.log.claim(run_id)
    page = open_page("home")
    assert "preparing" in texts(page)
    assert "Finished runs" not in texts(page)


def test_why_no_waiting_run_begins_is_said(
    studio: RunManager, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> bool:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr(studio.log, "claim", refuse)
    studio.start(tiny_config, "mine", ["m"])
    assert "No waiting run can begin now. The disk is full" in texts(open_page("home"))

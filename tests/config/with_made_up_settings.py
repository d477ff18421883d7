"""Run beside a copy of the library that has two settings more: made_up_pull (Training) and made_up_cut (Data).

It fails unless they arrive wherever a setting should.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from cognate_core import cli
from cognate_core.api import create_api
from cognate_core.config import TrainingConfig, fields_that
from cognate_core.config.presets import get_preset
from cognate_core.config.sweep import Sweep
from cognate_core.data.loader import MixtureLoader
from cognate_core.runs import RunManager, close_manager, current_manager
from cognate_core.runs.derived import branch_config
from cognate_core.sharing.report import report_of_run

HERE = Path(sys.argv[1])
SMALL = get_preset("solve").config.with_overrides({"max_train_samples": 50, "max_eval_samples": 5, "made_up_pull": 7})


def prepared(config: TrainingConfig) -> str:
    async def of_the_loader() -> str:
        loader = MixtureLoader(config, HERE / "cache", lambda _: None, lambda _: None)
        await loader.download_dataset("Synthetic", "built in")
        return await loader.create_mixed_training_data()

    return asyncio.run(of_the_loader())


def check_files() -> None:
    assert "# Made-up pull: How hard it pulls.\nmade_up_pull = 7" in SMALL.to_toml()
    assert TrainingConfig.from_toml(SMALL.to_toml()) == SMALL
    shown = CliRunner().invoke(cli.app, ["presets", "first-run"]).output
    assert "made_up_pull = 2" in shown and "made_up_cut = 1" in shown


def check_runs_made_of_others() -> None:
    sweep = Sweep(SMALL, {"made_up_pull": "1, 2"})
    assert [config.made_up_pull for _, config in sweep.configs()] == [1, 2]  # type: ignore[attr-defined]
    assert branch_config(SMALL, 1, {"made_up_pull": 3}).made_up_pull == 3  # type: ignore[attr-defined]
    assert "made_up_cut" not in fields_that("branchable", "text"), "the data depend on it"
    assert "made_up_pull" in fields_that("compared")


def check_data() -> None:
    first = prepared(SMALL)
    assert prepared(SMALL.with_overrides({"made_up_pull": 1})) == first
    assert prepared(SMALL.with_overrides({"made_up_cut": 2})) != first


def check_studio() -> None:
    manager = RunManager(HERE / "home", max_parallel=0)
    with TestClient(create_api(lambda: manager)) as api:
        assert "made_up_pull" in api.get("/v1/config/schema").json()["properties"]
        body = {"name": "Made up", "preset": "solve", "settings": {"made_up_pull": 5}}
        run_id = api.post("/v1/runs", json=body).json()["id"]
    run = manager.log.run(run_id)
    assert run.config.made_up_pull == 5  # type: ignore[attr-defined]
    assert "Made-up pull" in report_of_run(manager.log, run, run.model_names[0])
    manager.close()


def check_page() -> None:
    current_manager().prepare_worker = lambda: None  # type: ignore[method-assign]  # no process that loads torch
    page = AppTest.from_file(HERE / "pages" / "navigation.py", default_timeout=120).run()
    page.switch_page("new_run.py").run()
    assert not page.exception, page.exception
    labels = [field.label for field in page.text_input]
    assert "Made-up pull" in labels and "Made-up cut" in labels
    close_manager()


if __name__ == "__main__":
    assert Path(sys.modules["cognate_core"].__file__ or "").is_relative_to(HERE), "the copy is asked"
    for check in (check_files, check_runs_made_of_others, check_data, check_studio, check_page):
        check()

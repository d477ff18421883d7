"""`cognate sweep`, `cognate export` and `cognate model publish`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cognate_core.cli import app

runner = CliRunner()


def test_a_sweep_is_queued_listed_shown_and_cancelled(tmp_path: Path) -> None:
    """With a queue that nothing works on: the command ends, and with it its studio."""
    started = runner.invoke(
        app, ["sweep", "start", "--preset", "first-run", "--grid", "learning_rate=1e-3, 3e-4", "--json"]
    )
    assert started.exit_code == 0, started.output
    sweep = json.loads(started.stdout)
    assert len(sweep["run_ids"]) == 2
    assert sweep["id"] in runner.invoke(app, ["sweep", "list"]).stdout
    shown = json.loads(runner.invoke(app, ["sweep", "show", sweep["id"], "--json"]).stdout)
    assert {run["status"] for run in shown["runs"]} == {"queued"}
    assert runner.invoke(app, ["sweep", "cancel", sweep["id"]]).stdout.strip() == "2 cancelled"
    refused = runner.invoke(app, ["export", sweep["run_ids"][0], str(tmp_path / "steps.xlsx")])
    assert refused.exit_code != 0 and not (tmp_path / "steps.xlsx").exists(), "a table of a kind that its name denies"
    table = runner.invoke(app, ["export", sweep["run_ids"][0], str(tmp_path / "steps.CSV")])
    assert table.exit_code == 0, table.output
    assert (tmp_path / "steps.CSV").read_text(encoding="utf-8-sig").startswith('"model","step"')


def test_a_setting_that_is_not_there_is_told() -> None:
    answer = runner.invoke(app, ["sweep", "start", "--preset", "first-run", "--grid", "learning_rat=1"])
    assert answer.exit_code == 2
    assert "learning_rat" in answer.stderr


def test_a_model_that_is_not_there_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    answer = runner.invoke(app, ["model", "publish", "none", "somebody/model"])
    assert answer.exit_code == 2
    assert "no such model" in answer.stderr

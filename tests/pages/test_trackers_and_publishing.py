"""The pages of trackers and publishing: chosen in the form, named on Monitor, sent from Models."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from typing import Any

import pytest
from huggingface_hub import constants
from streamlit.testing.v1 import AppTest

from cognate_core import extras
from cognate_core.runs import RunManager, database_path
from cognate_core.sharing.publishing import HOW_TO_SET_IT, WHAT_IS_SENT
from cognate_core.tracking.export import metrics_csv
from tests.hub import TOKEN, publishing_hub
from tests.pages.conftest import open_page, texts

TRACKERS = "Also write the figures to"


def choose_trackers(page: AppTest, *names: str) -> AppTest:
    next(group for group in page.button_group if group.label == TRACKERS).set_value(list(names)).run()
    assert not page.exception, page.exception
    return page


def command_of(page: AppTest) -> str:
    return next(code.value for code in page.code if "cognate train" in str(code.value))


def test_no_tracker_is_on_until_somebody_chooses_one(studio: RunManager) -> None:
    page = open_page("new_run")
    assert "trackers" not in command_of(page)
    assert "--set trackers=tensorboard, csv" in command_of(choose_trackers(page, "tensorboard", "csv")).replace("'", "")


def test_a_missing_extra_is_told_at_the_field_and_nothing_can_start(
    studio: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    page = choose_trackers(open_page("new_run"), "trackio")
    (error,) = page.error
    assert "Trackio must be installed first" in error.value
    assert f'{sys.executable} -m pip install "cognate-studio[trackio]"' in [code.value for code in page.code]
    assert next(button for button in page.button if button.label == "Start training").disabled


def test_a_missing_engine_is_told_at_the_field_and_nothing_can_start(
    studio: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    page = open_page("new_run")
    engine = next(each for each in page.button_group if each.label == "Engine")
    engine.set_value("ray").run()
    (error,) = page.error
    assert "Ray must be installed first" in error.value
    assert f'{sys.executable} -m pip install "cognate-studio[ray]"' in [code.value for code in page.code]
    assert next(button for button in page.button if button.label == "Start training").disabled


def test_monitor_names_the_trackers_and_what_shows_them(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    assert "Also written to" not in str([expander.label for expander in open_page("monitor").expander])
    config = {**json.loads(run.config.model_dump_json()), "trackers": ["tensorboard", "csv"]}
    trained_studio.log.set_status(run.id, run.status)
    row = [json.dumps(config), run.id]
    with closing(sqlite3.connect(database_path(trained_studio.home))) as database, database:
        database.execute("UPDATE runs SET config = ? WHERE id = ?", row)
    page = open_page("monitor")
    assert "Also written to TensorBoard, CSV" in [expander.label for expander in page.expander]
    folder = trained_studio.home / "runs" / run.id
    assert f"tensorboard --logdir {folder}" in texts(page)
    assert "metrics.csv" in texts(page)


def test_monitor_hands_the_figures_on(trained_studio: RunManager) -> None:
    labels = [button.proto.label for button in open_page("monitor").get("download_button")]
    assert {"Save its figures (CSV)", "Save its figures (Parquet)"} <= set(labels)
    assert metrics_csv(trained_studio.log, trained_studio.log.runs()[0].id).count(b"\n") == 6  # header, steps 0 to 4


def test_without_a_token_it_says_how_to_set_it(trained_studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    page = open_page("models")
    assert WHAT_IS_SENT in texts(page) and HOW_TO_SET_IT in texts(page)
    assert "Publish" not in [button.label for button in page.button]


def publish_from(page: AppTest, repo_id: str, **changes: Any) -> AppTest:
    next(field for field in page.text_input if field.label == "Repository").set_value(repo_id)
    if "private" in changes:
        next(toggle for toggle in page.toggle if toggle.label == "Private").set_value(changes["private"])
    if "license" in changes:
        next(box for box in page.selectbox if box.label == "License").set_value(changes["license"])
    next(button for button in page.button if button.label == "Publish").click().run()
    assert not page.exception, page.exception
    return page


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the hub's client of its transport
def test_the_button_publishes_and_gives_the_address(
    trained_studio: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with publishing_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        page = publish_from(open_page("models"), "ada/one")
        assert "Published. Only you can see it." in texts(page)
        assert f"{hub.address}/ada/one" in texts(page)
        page = publish_from(open_page("models"), "ada/two", private=False, license="mit")
        assert "Published. Everybody can see it." in texts(page)
        assert hub.private == {"ada/public": False, "ada/one": True, "ada/two": False}
        assert b'license: "mit"' in hub.files["ada/two", "README.md"]
        page = publish_from(open_page("models"), "ada/create-403")
        assert "may not write to" in page.error[0].value
        assert "Published." not in texts(page)
    model = trained_studio.log.models()[0]
    weights = next(row for row in trained_studio.log.artifacts(model.id) if row["kind"] == "weights")
    assert hub.files["ada/one", "model.safetensors"] == trained_studio.store.path(weights["path"]).read_bytes()
    assert TOKEN not in texts(page)

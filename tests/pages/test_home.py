from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import RunStatus
from cognate_core.errors import DiskFull, StorageError
from cognate_core.insight.run_table import run_figures
from cognate_core.runs import RunManager
from pages.components.run_table import as_csv
from tests.pages.conftest import add_runs, button, open_page, texts
from tests.there import there


def test_an_empty_studio_says_where_to_begin(studio: RunManager) -> None:
    page = open_page("home")
    assert "Your first model" in texts(page)
    for preset in PRESETS.values():
        assert preset.title in texts(page)
        assert preset.time in texts(page)


def runs_of(page: AppTest) -> list[dict[str, Any]]:
    """The rows of the table of runs."""
    return page.dataframe[0].value.to_dict("records") if page.dataframe else []


def test_a_finished_run_is_listed_with_its_true_figures(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    best = there(trained_studio.log.best_check(run.id)).means
    page = open_page("home")
    (row,) = runs_of(page)
    assert (row["run"], row["status"], row["steps"]) == (run.name, "completed", 4)
    assert (row["loss"], row["bits"]) == (best.loss, best.bits_per_byte)
    assert "1 trained model" in texts(page)


def test_a_failed_run_says_why(studio: RunManager, tiny_config: TrainingConfig) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None)
    studio.log.claim(run_id)
    studio.log.set_status(run_id, RunStatus.FAILED, error="The disk is full.")
    assert [row["error"] for row in runs_of(open_page("home"))] == ["The disk is full."]


def test_runs_are_found_by_words_and_filters(studio: RunManager) -> None:
    add_runs(studio, 1000, RunStatus.COMPLETED)
    add_runs(studio, 2, RunStatus.FAILED, "lost")
    studio.tag_runs(["lost-1"], add=["thesis"])
    page = open_page("home")
    assert len(runs_of(page)) == 1002
    page.text_input(key="find_run").set_value("lost").run()
    assert [row["run"] for row in runs_of(page)] == ["lost 1", "lost 0"]
    assert "2 of 1,002 runs" in texts(page)
    page.multiselect(key="find_Tag").set_value(["thesis"]).run()
    assert [(row["run"], row["tags"]) for row in runs_of(page)] == [("lost 1", ["thesis"])]
    page.multiselect(key="find_Status").set_value(["completed"]).run()
    assert runs_of(page) == []


def test_the_figures_and_settings_of_runs_are_saved_as_csv(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    trained_studio.rename_run(run.id, "=1+1")
    trained_studio.tag_runs([run.id], add=["a", "b"])
    saved = as_csv(run_figures(trained_studio.log, trained_studio.log.runs())).decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(saved))
    assert (row["name"], row["tags"], row["d_model"]) == ("'=1+1", "a, b", str(run.config.d_model))
    assert float(row["loss"]) == there(there(trained_studio.log.best_check(run.id)).means.loss)


def test_a_run_that_is_going_shows_its_progress(studio: RunManager, tiny_config: TrainingConfig) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None)
    studio.log.claim(run_id)
    page = open_page("home")
    assert "preparing" in texts(page)
    assert [row["status"] for row in runs_of(page)] == ["preparing"]


# After years


def test_the_oldest_of_many_runs_can_go_on_and_is_seen_going(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_runs(studio, 1, RunStatus.INTERRUPTED, "oldest")
    add_runs(studio, 620, RunStatus.COMPLETED)
    page = open_page("home")
    assert page.button(key="resume-oldest-0").label == "Start from the beginning"
    assert studio.log.requeue("oldest-0")
    assert "queued" in texts(open_page("home"))
    assert studio.log.claim("oldest-0")
    assert "preparing" in texts(open_page("home"))
    assert "Another run is in progress" in texts(open_page("new_run"))
    assert "oldest 0" in texts(open_page("monitor"))


@pytest.mark.parametrize(
    ("status", "key"),
    [(RunStatus.INTERRUPTED, "resume-other-{}"), (RunStatus.QUEUED, "out-other-{}")],
)
def test_of_many_runs_some_are_drawn_and_each_can_be_reached(
    studio: RunManager, monkeypatch: pytest.MonkeyPatch, status: RunStatus, key: str
) -> None:
    add_runs(studio, 100, status)
    page = open_page("home")

    def drawn() -> set[str]:
        names = {link.proto.label for link in page.get("page_link")}
        found = {each.key for each in page.button}
        assert {key.format(number) for number in range(100) if f"other {number}" in names} <= found
        return {name for name in names if name.startswith("other ")}

    assert 0 < len(drawn()) < 30
    while any(each.label.startswith("Show more") for each in page.button):
        before = len(drawn())
        button(page, "Show more").click().run()
        assert len(drawn()) > before
    assert drawn() == {f"other {number}" for number in range(100)}


def answer(page: AppTest, label: str) -> None:
    """Press a button of the dialog, which AppTest closes unless it is opened once more."""
    button(page, "Empty the trash").click()
    button(page, label).click().run()


def test_a_full_trash_is_drawn_in_part_and_emptied_at_once(studio: RunManager) -> None:
    add_runs(studio, 100, RunStatus.COMPLETED)
    for run in studio.log.runs():
        studio.delete_run(run.id)
    page = open_page("home")
    assert [each.label for each in page.expander] == ["Open a run from another studio (run archive)", "Trash (100)"]
    assert sum(each.label == "Restore" for each in page.button) == 20
    button(page, "Show more").click().run()
    assert sum(each.label == "Restore" for each in page.button) == 40
    button(page, "Empty the trash").click().run()
    assert "This deletes everything in the trash (100 items). You cannot undo it." in texts(page)
    assert len(studio.trash.entries()) == 100, "it asks first"
    answer(page, "Empty it")
    assert studio.trash.entries() == []
    assert not any(each.label.startswith("Trash") for each in open_page("home").expander)


def test_a_trash_that_cannot_be_emptied_says_why(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    add_runs(studio, 1, RunStatus.COMPLETED)
    studio.delete_run("other-0")

    def refuse() -> int:
        raise StorageError("The disk refused.")

    monkeypatch.setattr(studio, "empty_trash", refuse)
    page = open_page("home")
    button(page, "Empty the trash").click().run()
    answer(page, "Empty it")
    assert "The disk refused" in texts(page)


def test_why_no_waiting_run_begins_is_said(
    studio: RunManager, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> bool:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr(studio.log, "claim", refuse)
    studio.start(tiny_config, "mine", ["m"])
    assert "No queued run can start now. The disk is full" in texts(open_page("home"))

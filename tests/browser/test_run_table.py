"""The table of all runs on Home, which is drawn on a canvas: open, tick, tag, compare, save and delete."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cognate_core.config.presets import PRESETS
from cognate_core.contracts import RunStatus
from cognate_core.runs import database_path
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import NewRun
from tests.browser.studio import (
    Studio,
    download,
    let_in,
    new_context,
    open_run,
    running_studio,
    tick_run,
    wait_until_idle,
)
from tests.waiting import until

pytestmark = pytest.mark.browser
RUNS = 8


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    home = tmp_path / "home"
    home.mkdir()
    log = ProgressLog(database_path(home))
    for number in range(RUNS):
        log.create_runs([NewRun(f"{number:012x}", f"Run {number}", PRESETS["first-run"].config, ["m"], home / "runs")])
        log.claim(f"{number:012x}")
        log.set_status(f"{number:012x}", RunStatus.FAILED, error="The disk is full.")
    log.close()
    with running_studio(home) as studio:
        yield studio


@pytest.fixture
def page(chromium: Browser, studio: Studio) -> Iterator[Page]:
    context = new_context(chromium, viewport={"width": 1280, "height": 900})
    let_in(context, studio)
    page = context.new_page()
    page.goto(studio.url)
    wait_until_idle(page)
    yield page
    context.close()


def id_of(row: int) -> str:
    """The run in this row: the newest comes first."""
    return f"{RUNS - 1 - row:012x}"


def test_a_name_opens_its_run(page: Page) -> None:
    open_run(page, 2)
    expect(page).to_have_url(re.compile(rf"/monitor\?run={id_of(2)}$"))
    expect(page.get_by_role("heading", name="Run 5")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()


def test_ticked_runs_are_tagged_found_and_compared(page: Page, studio: Studio) -> None:
    for row in (0, 3):
        tick_run(page, row)
    expect(page.get_by_role("button", name="Compare 2")).to_be_enabled()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_role("combobox", name="Tags").fill("thesis")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add", exact=True).click()
    log = ProgressReader(database_path(studio.home))
    until(lambda: {run.id for run in log.runs() if run.tags == ["thesis"]} == {id_of(0), id_of(3)}, "both are tagged")
    page.keyboard.press("Escape")
    page.get_by_label("Find a run").fill("thesis")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"2 of {RUNS} runs.")).to_be_visible()
    for row in (0, 1):
        tick_run(page, row)
    page.get_by_role("button", name="Compare 2").click()
    expect(page).to_have_url(re.compile(f"/compare.runs={id_of(0)}%2C{id_of(3)}$"))


def test_a_run_is_opened_with_the_keyboard_alone(page: Page) -> None:
    page.get_by_test_id("stDataFrame").locator("canvas").first.focus()
    for key in ("ArrowDown", "Shift+Space"):  # from the first row to the second, ticked
        page.keyboard.press(key)
    page.get_by_role("link", name="Open", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/monitor.run={id_of(1)}$"))


def test_ticked_runs_are_saved_and_deleted(page: Page, studio: Studio, tmp_path: Path) -> None:
    tick_run(page, 1)
    expect(page.get_by_role("button", name=re.compile("^Compare"))).to_have_count(0)
    saved = download(page, "Save as CSV", tmp_path / "runs.csv")
    with saved.open(encoding="utf-8-sig", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [id_of(1)]
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert id_of(1) not in [run.id for run in ProgressReader(database_path(studio.home)).runs()]
    expect(page.get_by_text("Trash (1)")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Compare"))).to_have_count(0)  # none is ticked now

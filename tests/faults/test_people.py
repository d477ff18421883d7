"""What people do to a studio, in a real browser: close, reload, press twice, open twice, come back after a crash."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from cognate_core.config import TrainingConfig
from cognate_core.runs import database_path
from cognate_core.runs.process import workers
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from tests.browser.studio import let_in, new_context, running_studio, wait_until_idle
from tests.faults.studios import log_steps, small_config
from tests.faults.times import Tally, times
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(1800)]
RUN_ID = "0123456789ab"


def a_waiting_run(home: Path, config: TrainingConfig, run_id: str = RUN_ID) -> ProgressReader:
    """The next studio on this folder begins with it."""
    home.mkdir(exist_ok=True)
    log = ProgressLog(database_path(home))
    log.create_run(run_id, f"run {run_id[:2]}", config, ["model"], home / "runs" / run_id, None)
    log.close()
    return ProgressReader(database_path(home))


def badge(page: Page, status: str) -> Locator:
    """The status as the page's head shows it."""
    return page.locator(".stMarkdownBadge").filter(has_text=status).first


def test_after_a_crash_the_page_says_why_and_resumes(tmp_path: Path, chromium: Browser) -> None:
    home = tmp_path / "home"
    reader = a_waiting_run(home, small_config(max_steps=150))
    page = new_context(chromium).new_page()
    with running_studio(home) as studio:
        let_in(page.context, studio)
        page.goto(f"{studio.url}/monitor?run={RUN_ID}")
        until(lambda: len(log_steps(home, RUN_ID)) > 30, "training")
        os.kill(workers()[RUN_ID], signal.SIGKILL)
        expect(badge(page, "crashed")).to_be_visible()
        expect(page.get_by_text("killed or crashed (SIGKILL)").first).to_be_visible()
        page.get_by_text("The last steps and details").click()
        expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
        page.get_by_role("button", name="Resume after step").click()
        expect(badge(page, "completed")).to_be_visible()
    assert [row["step"] for row in reader.metrics(RUN_ID)] == list(range(1, 151))
    page.context.close()


def test_a_studio_that_was_killed_offers_to_go_on(tmp_path: Path, chromium: Browser) -> None:
    home = tmp_path / "home"
    reader = a_waiting_run(home, small_config(max_steps=150))
    page = new_context(chromium).new_page()
    with running_studio(home) as studio:
        until(lambda: len(log_steps(home, RUN_ID)) > 30, "training")
        studio.process.kill()
        studio.process.wait()
    with running_studio(home) as studio:
        let_in(page.context, studio)
        page.goto(studio.url)
        expect(page.get_by_role("heading", name="Runs to resume")).to_be_visible()
        page.get_by_role("button", name="Resume after step").click()
        until(lambda: reader.run(RUN_ID).status.value == "completed", "the run is trained")
    page.context.close()


def test_reloading_and_closing_the_page_does_nothing_to_the_run(
    tmp_path: Path, chromium: Browser, tally: Tally
) -> None:
    rounds = times(4, 50)
    home = tmp_path / "home"
    reader = a_waiting_run(home, small_config(max_steps=100_000))
    context = new_context(chromium)
    with running_studio(home) as studio:
        let_in(context, studio)
        until(lambda: len(log_steps(home, RUN_ID)) > 10, "training")
        worker = workers()[RUN_ID]
        for number in range(rounds):
            page = context.new_page()
            page.goto(f"{studio.url}/monitor?run={RUN_ID}")
            if number % 2:
                page.reload()
            else:
                page.get_by_role("button", name="Stop and save").wait_for()
            page.close()
        before = log_steps(home, RUN_ID)[-1]["step"]
        until(lambda: log_steps(home, RUN_ID)[-1]["step"] > before + 5, "training after that")
        assert workers()[RUN_ID] == worker
        assert reader.run(RUN_ID).status.value == "training"
        assert len(reader.runs()) == 1
    context.close()
    tally("reload and close", tried=rounds, survived=rounds)


def test_start_pressed_twice_is_one_run(tmp_path: Path, chromium: Browser, tally: Tally) -> None:
    rounds, home = times(2, 10), tmp_path / "home"
    with running_studio(home) as studio:
        reader = ProgressReader(database_path(home))
        for number in range(rounds):
            page = new_context(chromium).new_page()
            let_in(page.context, studio)
            page.goto(
                f"{studio.url}/new-run?preset=First+language+model&first-run.max_steps=2&first-run.dataset_sources=Synthetic"
            )
            wait_until_idle(page)
            page.get_by_role("button", name="Start training").dblclick()
            page.get_by_role("button", name="Stop and save").or_(page.get_by_text("Remove from the queue")).wait_for()
            page.context.close()
            assert len(reader.runs()) == number + 1
    tally("Start pressed twice", tried=rounds, survived=rounds)


def test_a_second_studio_shows_who_owns_the_folder_and_changes_nothing(tmp_path: Path, chromium: Browser) -> None:
    home = tmp_path / "home"
    a_waiting_run(home, small_config(max_steps=100_000))
    page = new_context(chromium).new_page()
    with running_studio(home) as first, running_studio(home) as second:
        let_in(page.context, first)  # and the second, which has the same folder
        until(lambda: len(log_steps(home, RUN_ID)) > 3, "training")
        page.goto(f"{second.url}/monitor?run={RUN_ID}")
        expect(page.get_by_text(f"process {first.process.pid}")).to_be_visible()
        for name in ("Pause", "Stop and save", "Cancel"):
            expect(page.get_by_role("button", name=name)).to_be_disabled()
        page.goto(f"{second.url}/new-run")
        expect(page.get_by_role("button", name="Start training")).to_be_disabled()
        page.goto(f"{first.url}/monitor?run={RUN_ID}")
        page.get_by_role("button", name="Pause").click()
        expect(badge(page, "paused")).to_be_visible()
    page.context.close()

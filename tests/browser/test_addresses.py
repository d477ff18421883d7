"""Addresses and tabs, in real Chromium: Back leads to what one came from, and tabs tell what is in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus, StepMetrics
from cognate_core.runs import RunManager
from tests.browser.studio import Studio, page_on, running_studio, wait_until_idle

pytestmark = pytest.mark.browser

OLDER, NEWER = "0123456789ab", "ba9876543210"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig) -> Iterator[Studio]:
    """A studio with two runs that have ended."""
    home = tmp_path_factory.mktemp("addresses") / "home"
    manager = RunManager(home, executor="thread")
    for run_id, name in ((OLDER, "The older"), (NEWER, "The newer")):
        manager.log.create_run(run_id, name, tiny_config, ["m"], home / "runs" / run_id, None)
        for step in range(1, 6):
            manager.log.record(run_id, StepMetrics("m", step, 6 - step, 0.3, 1, 1, 100, 0.1, step / 10))
        manager.log.claim(run_id)
        manager.log.set_status(run_id, RunStatus.COMPLETED, step=5, total_steps=5)
    manager.close()
    with running_studio(home) as studio:
        yield studio


@pytest.fixture
def page(context: BrowserContext, known: Studio) -> Iterator[Page]:
    with page_on(context, known) as page:
        yield page


def arrived(page: Page, heading: str) -> None:
    expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible()
    wait_until_idle(page)


@pytest.mark.slow
def test_back_leads_to_the_run_that_one_came_from(page: Page, known: Studio) -> None:
    address = f"{known.url}/monitor?run={OLDER}"
    page.goto(address)
    arrived(page, "The older")
    page.get_by_role("link", name="Compare").click()
    arrived(page, "Compare")
    page.get_by_role("link", name="The newer").first.click()
    arrived(page, "The newer")
    page.go_back()
    arrived(page, "Compare")
    expect(page.get_by_role("link", name="The older").first).to_be_visible()
    page.go_back()
    arrived(page, "The older")
    assert page.url == address


def test_a_link_within_the_page_is_kept_in_the_address(page: Page, known: Studio) -> None:
    page.goto(f"{known.url}/monitor?run={OLDER}")
    arrived(page, "The older")
    page.get_by_text("Other runs").click()
    page.get_by_role("link", name="The newer").click()
    arrived(page, "The newer")
    expect(page).to_have_url(f"{known.url}/monitor?run={NEWER}")


def test_tabs_are_called_after_what_they_show(page: Page, known: Studio) -> None:
    for address, title in (
        ("", "Cognate Studio"),
        ("compare", "Compare - Cognate Studio"),
        (f"monitor?run={OLDER}", "The older - Cognate Studio"),
        (f"monitor?run={NEWER}", "The newer - Cognate Studio"),
    ):
        page.goto(f"{known.url}/{address}")
        expect(page).to_have_title(title)

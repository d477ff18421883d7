"""What a person meets beside our own words: nobody's advertisement, and a console that has nothing to say.

The studio runs as on a person's own computer: there is a screen, and in the home the folder of an agent, for which
Streamlit recommends its skills.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.studio import RUN, Studio, let_in, new_context, running_studio, wait_until_idle
from tests.waiting import until

pytestmark = pytest.mark.browser

ADDRESSES = ("", "new-run", "monitor", "compare", "models", "datasets", "lab", "glossary", "api")
ADVERTISING = """
import sys, app
app.app.run(config={"server.port": int(sys.argv[-1]), "logger.hideWelcomeMessage": False})
"""


@contextmanager
def own_computer(folder: Path, *command: str) -> Iterator[Studio]:
    """A studio whose browser only notes what it is to open."""
    (folder / "person" / ".claude").mkdir(parents=True)
    browser = f"""sh -c 'echo "$0" > {folder / "opened"}' %s"""
    with running_studio(folder / "home", command, HOME=str(folder / "person"), BROWSER=browser, DISPLAY=":0") as studio:
        yield studio


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with own_computer(tmp_path_factory.mktemp("person"), *RUN) as studio:
        yield studio


def watched(page: Page) -> list[str]:
    """What goes wrong in a page from now on, without being seen."""
    trouble: list[str] = []
    page.on(
        "console",
        lambda message: (
            trouble.append(f"{message.text} ({message.location['url']})")
            if message.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "response",
        lambda answer: trouble.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
    )
    page.on(
        "requestfailed",  # a reload cuts off what was asked for
        lambda asked: trouble.append(f"{asked.failure} {asked.url}") if asked.failure != "net::ERR_ABORTED" else None,
    )
    return trouble


def foreign_words(page: Page) -> list[str]:
    """The lines on a page that name another product."""
    lines = [page.title(), *page.locator("body").inner_text().splitlines()]
    return [line for line in lines if "streamlit" in line.lower()]


@pytest.mark.slow
def test_no_page_advertises_and_the_console_is_silent(page: Page, studio: Studio) -> None:
    trouble = watched(page)
    for address in ADDRESSES:
        for reloaded in (False, True):
            page.reload() if reloaded else page.goto(f"{studio.url}/{address}")
            if address == "api":
                expect(page.get_by_role("heading", name="Cognate Studio 1")).to_be_visible()
            else:
                wait_until_idle(page)
            trouble += foreign_words(page)
    assert trouble == []


def test_the_browser_is_opened_and_the_terminal_names_the_studio_alone(studio: Studio) -> None:
    opened = studio.home.parent / "opened"
    until(lambda: opened.exists() and opened.read_text().endswith("\n"), "opening the browser")
    link = opened.read_text().strip()
    assert link.startswith(f"{studio.url}/login?key=")
    told = (studio.home.parent / f"{studio.home.name}.log").read_text()
    assert f"{studio.url}/login?key=" in told and link not in told
    assert "streamlit" not in told.lower()


@pytest.mark.slow
def test_the_measurement_sees_what_is_wrong(chromium: Browser, tmp_path: Path) -> None:
    """So that the tests above cannot pass by not looking: this is where Streamlit advertises when it may."""
    with own_computer(tmp_path, sys.executable, "-c", ADVERTISING) as studio:
        page = new_context(chromium).new_page()
        let_in(page.context, studio)
        trouble = watched(page)
        page.goto(studio.url)
        wait_until_idle(page)
        expect(page.get_by_test_id("stSkillsNudge")).to_be_visible()
        assert any("Streamlit skills" in line for line in foreign_words(page))
        with page.expect_response("**/glossary/_stcore/health"):
            page.evaluate("fetch('/glossary/_stcore/health')")
        assert any("/glossary/_stcore/health" in each for each in trouble)
        page.context.close()

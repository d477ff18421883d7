"""A file of one's own, in real Chromium: add it, look at it, train on it, remove it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from cognate_core.labels import WORD_JOINER
from pages.components.token_view import BLANK, MAY_BREAK
from tests.browser.studio import Studio, choose_file, wait_until_idle

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[r] $x$ [a](b) \\] `c`  --> 日é :material/home:"
CSV = "question,answer\n" + "".join(f'"{HOSTILE} {n} plus one?","{n + 1}"\n' for n in range(60))


def add_file(page: Page, name: str, content: str) -> None:
    choose_file(page, {"name": name, "mimeType": "text/csv", "buffer": content.encode()})


def choose(page: Page, section: str) -> None:
    page.get_by_role("button", name=section, exact=True).or_(
        page.get_by_role("radio", name=section, exact=True)
    ).click()
    wait_until_idle(page)


@pytest.mark.slow
def test_from_a_file_to_a_run_that_reads_it(page: Page, studio: Studio) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.goto(f"{studio.url}/datasets?dataset=Own+file")
    wait_until_idle(page)
    add_file(page, "broken.csv", "text,y\n1,2\n3,4,5\n")
    expect(page.get_by_text("more cells than there are columns")).to_be_visible()
    add_file(page, "my **shop**.csv", CSV)
    expect(page.get_by_text("Row 1 of 57")).to_be_visible()
    expect(page).to_have_url(re.compile(r"file=[0-9a-f]{32}\.csv"))
    expect(page.locator("[data-testid=stText]").first).to_contain_text(HOSTILE)

    page.get_by_text("Show tokens").click()
    wait_until_idle(page)
    row = page.get_by_test_id("stMarkdown").filter(has_text="plus one?").first
    expect(row).to_contain_text("end of row")
    drawn = row.inner_text().replace(WORD_JOINER, "").replace(MAY_BREAK, "").replace(BLANK, " ")
    assert HOSTILE in drawn and "↵\nSolution:" in drawn

    choose(page, "Lengths")
    expect(page.get_by_text("Every training row fits")).to_be_visible()
    columns = page.locator(".js-plotly-plot").evaluate("plot => plot.data[0].customdata.map(each => each[1])")
    assert sum(columns) == 57

    choose(page, "Mixture and batch")
    batch = page.get_by_test_id("stMarkdown").filter(has_text="plus one?").first
    expect(batch).to_be_visible()
    assert " ".join(HOSTILE.split()) in batch.inner_text().replace(WORD_JOINER, "")

    page.reload()  # the address keeps what was looked at
    expect(page.get_by_text("The first batch")).to_be_visible()
    page.get_by_role("button", name="Train on this").click()
    expect(page).to_have_url(re.compile(r"/new-run\?upload=[0-9a-f]{32}\.csv"))
    expect(page.get_by_text("60 usable rows")).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    page.get_by_role("textbox", name="Training steps").fill("7")
    page.get_by_role("textbox", name="Training steps").press("Enter")
    wait_until_idle(page)
    expect(page.get_by_text("60 usable rows")).to_be_visible()
    page.get_by_role("button", name="Use the datasets instead").click()
    expect(page.get_by_text("60 usable rows")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("upload"))

    page.goto(f"{studio.url}/datasets?dataset=Own+file")
    page.get_by_role("button", name="Remove this file").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("There are no files yet")).to_be_visible()
    assert list((studio.home / "uploads").iterdir()) == []
    assert dialogs == []

"""A sweep in real Chromium: what is typed outlives a reload, wrong or right, and all its runs are there at once."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.studio import Studio

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_from_what_is_varied_to_the_runs_side_by_side(page: Page, studio: Studio) -> None:
    page.goto(f"{studio.url}/new-run?sweep=true&sweep_settings=Learning+rate")
    values = page.get_by_role("textbox", name="Learning rate: values to try")
    values.fill("1e-3, fast")
    values.press("Enter")
    sentence = page.get_by_text("Learning rate must be a number")
    expect(sentence).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    page.reload()
    expect(values).to_have_value("1e-3, fast")
    expect(sentence).to_be_visible()
    values.fill("1e-3, 2e-3")
    values.press("Enter")
    page.get_by_role("button", name="Start 2 runs").click()
    expect(page).to_have_url(re.compile(r"/compare\?.*group=[0-9a-f]{12}"))
    expect(page.get_by_text("2 of 2 have not ended yet.")).to_be_visible()
    page.get_by_role("button", name="Cancel the remaining runs").click()
    expect(page.get_by_text("2 of 2 ended without a comparable result")).to_be_visible()

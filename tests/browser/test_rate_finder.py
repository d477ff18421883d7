"""Finding a learning rate in real Chromium: one press searches, one fills the field, and a reload keeps it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.studio import Studio, wait_until_idle

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_from_the_button_to_the_filled_field(page: Page, studio: Studio) -> None:
    small = {"n_layers": 1, "d_model": 32, "batch_size": 2, "max_train_samples": 300, "act_enabled": "false"}
    page.goto(
        f"{studio.url}/new-run?preset=First+language+model&"
        + "&".join(f"first-run.{name}={value}" for name, value in small.items())
    )
    wait_until_idle(page)
    field = page.get_by_role("textbox", name="Learning rate", exact=True)
    page.get_by_role("button", name="Find a learning rate").click()
    use = page.get_by_role("button", name=re.compile("^Use [0-9]"))
    use.wait_for()
    rate = use.inner_text().split()[-1]
    expect(page.get_by_text(f"suggestion {float(rate):.1e}")).to_be_visible()
    use.click()
    expect(field).to_have_value(rate)
    expect(page).to_have_url(re.compile(rf"first-run\.learning_rate={re.escape(rate)}"))
    page.reload()
    expect(field).to_have_value(rate)

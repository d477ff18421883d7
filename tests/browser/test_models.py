"""Models, in real Chromium: describe one, go back to a checkpoint, set two side by side, measure right answers."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.studio import Studio, wait_until_idle
from tests.browser.test_journey import type_into

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_a_model_is_described_tried_at_a_checkpoint_and_measured(page: Page, studio: Studio) -> None:
    small = {"max_steps": 12, "save_steps": 4, "n_layers": 1, "d_model": 32, "batch_size": 2, "max_train_samples": 300}
    page.goto(
        f"{studio.url}/new-run?preset=First+language+model&"
        + "&".join(f"first-run.{name}={value}" for name, value in small.items())
    )
    wait_until_idle(page)
    type_into(page, "Name", "Examined")
    page.get_by_role("button", name="Start training").click()
    try_it = page.get_by_role("link", name="Try Examined")
    try_it.wait_for()
    wait_until_idle(page)  # the page is drawn anew for the new status
    try_it.click()
    page.wait_for_url(re.compile("/models"))
    expect(page.get_by_role("heading", name="Examined")).to_be_visible()

    page.get_by_role("button", name="Describe").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Name").fill("Best so far")
    dialog.get_by_role("textbox", name="Note").fill("Good at <b>sums</b>")
    tags = dialog.get_by_role("combobox")
    tags.fill("demo")
    tags.press("Enter")
    tags.press("Tab")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Best so far")).to_be_visible()
    page.reload()
    wait_until_idle(page)
    expect(page.get_by_role("heading", name="Best so far")).to_be_visible()
    expect(page.get_by_text("Good at <b>sums</b>")).to_be_visible()
    expect(page.locator(".stMarkdownBadge").filter(has_text="demo")).to_be_visible()

    page.get_by_role("button", name="Write").click()
    text = page.locator(".lens").get_by_role("listbox")
    expect(text).to_contain_text("Maria")
    finished = text.inner_text()
    page.get_by_role("slider", name="As it was after step").press("Home")
    expect(page.get_by_text("Best so far, after step 4")).to_be_visible()
    expect(text).not_to_have_text(finished)

    page.get_by_text("Beside another model").click()
    page.get_by_role("combobox", name="The other model").click()
    page.get_by_role("option", name=re.compile("Best so far")).click()
    expect(page.locator(".lens")).to_have_count(2)
    expect(page.locator(".lens").nth(1).get_by_role("listbox")).to_contain_text("Maria")
    expect(page.locator(".lens").nth(1).get_by_role("listbox")).to_have_text(finished, use_inner_text=True)

    questions = page.get_by_role("spinbutton", name="Questions of each dataset")
    questions.fill("3")
    questions.press("Enter")
    wait_until_idle(page)
    page.get_by_role("button", name="Measure", exact=True).click()
    chart = page.get_by_role("figure", name="Share of right answers for each dataset")
    expect(chart).to_be_visible()
    expect(page.get_by_text("at most 3 questions of each dataset")).to_be_visible()
    expect(chart).to_have_class(re.compile("js-plotly-plot"))
    names = chart.evaluate("place => place.data.map(trace => trace.name)")
    assert names == ["always the commonest answer", "this model"]

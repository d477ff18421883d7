"""What a person does in the Grokking lab, in real Chromium: start a race, watch it, open a model's table."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.studio import Studio, wait_until_idle

pytestmark = pytest.mark.browser

# A table of 11 x 10 that is learned in seconds.
SMALL = {"arithmetic_modulus": 11, "max_steps": 60}


@pytest.mark.slow
def test_a_race_is_started_watched_and_its_model_tried(page: Page, studio: Studio) -> None:
    page.goto(studio.url)
    page.get_by_role("link", name="Open the lab").click()
    page.get_by_role("button", name="Start the race").wait_for()
    settings = "&".join(f"grokking.{name}={value}" for name, value in SMALL.items())
    page.goto(f"{studio.url}/lab?{settings}")
    page.get_by_role("button", name="Start the race").click()
    # Both variants race, each with its own line, and the page follows them to their end by itself.
    for variant in ("GrokFast, × mod 11, seed 0", "No filter, × mod 11, seed 0"):
        page.get_by_role("link", name=variant).wait_for()
    expect(page.get_by_text("step 60 of 60")).to_have_count(2)
    expect(page.get_by_role("button", name="Stop and save")).to_have_count(0)
    drawn = "document.querySelector('.js-plotly-plot').data"
    page.wait_for_function(f"{drawn}.length === 4 && {drawn}.every(t => t.x.length > 1)")
    assert page.evaluate("document.querySelector('.js-plotly-plot').layout.xaxis.type") == "log"
    assert page.evaluate(f"{drawn}.map(t => t.name)")[:2] == [
        "GrokFast, × mod 11, seed 0, unseen",
        "No filter, × mod 11, seed 0, unseen",
    ]
    page.reload()
    page.get_by_text("step 60 of 60").first.wait_for()  # the race is in the address
    page.get_by_role("link", name="GrokFast, × mod 11, seed 0").click()
    page.get_by_role("link", name="Try GrokFast").click()
    page.get_by_text("Of the problems that it never saw").wait_for()
    wait_until_idle(page)
    page.get_by_role("spinbutton", name="x").fill("3")
    page.keyboard.press("Tab")
    page.get_by_text("3 × 10 modulo 11").wait_for()


def test_a_number_that_is_no_prime_is_told_at_its_field(page: Page, studio: Studio) -> None:
    page.goto(f"{studio.url}/lab?grokking.arithmetic_modulus=91")
    page.get_by_text("91 is not a prime number").wait_for()
    expect(page.get_by_role("textbox", name="Prime")).to_have_value("91")

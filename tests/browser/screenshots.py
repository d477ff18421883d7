"""Refresh the README's pictures: `make screenshots` starts the studio, really trains, and photographs each page."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.browser.studio import ROOT, Studio, launch_chromium, let_in, running_studio, wait_until_idle

PICTURES = ROOT / "docs" / "pictures"
WIDE: ViewportSize = {"width": 1280, "height": 900}
NARROW: ViewportSize = {"width": 400, "height": 860}
STEPS = 100  # of the first-run preset: enough for a curve worth looking at
LAB_STEPS = 1_300  # with GrokFast it has understood by then, as published
PATIENCE_MS = 1_200_000  # a run on a computer that has other things to do


def photograph(page: Page, name: str) -> None:
    wait_until_idle(page)
    page.wait_for_timeout(1500)  # fonts and charts settle; there is no event for "looks finished"
    page.screenshot(path=PICTURES / f"{name}.png")


def show_run(page: Page) -> None:
    page.wait_for_function(
        "document.querySelector('.js-plotly-plot')?.data?.find(t => t.name === 'training')?.x.length > 2",
        timeout=PATIENCE_MS,
    )


def start(page: Page, studio: Studio, **settings: Any) -> str:
    """Start the first-run preset with these settings; the run's address."""
    page.goto(
        f"{studio.url}/new-run?preset=First+language+model&"
        + "&".join(f"first-run.{name}={value}" for name, value in settings.items())
    )
    page.get_by_text("of memory are free").wait_for()
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Stop and save").wait_for()
    return page.url


def wait_for_the_end(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("link", name="Try First language model").wait_for(timeout=PATIENCE_MS)


def tour(page: Page, studio: Studio) -> dict[str, str]:
    """Take the pictures of a first visit in light; the addresses of what was photographed."""
    page.goto(studio.url)
    photograph(page, "home")
    page.get_by_role("button", name="Skip the tour").click()
    wait_until_idle(page)
    page.goto(f"{studio.url}/new-run?preset=First+language+model&first-run.max_steps={STEPS}")
    page.get_by_text("of memory are free").wait_for()
    page.get_by_role("button", name="How long will it take?").click()
    page.get_by_text("Time to train").wait_for(timeout=120_000)
    photograph(page, "new-run")
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Stop and save").wait_for()
    addresses = {"monitor": page.url}
    show_run(page)
    page.wait_for_function(
        f"document.querySelector('.js-plotly-plot').data.find(t => t.name === 'training').x.at(-1) > {STEPS // 2}",
        timeout=PATIENCE_MS,
    )
    photograph(page, "monitor")
    page.get_by_role("link", name="Try First language model").wait_for(timeout=PATIENCE_MS)
    wait_until_idle(page)  # drawn anew for a run that has ended
    page.get_by_role("button", name="More").first.click()
    page.get_by_role("button", name="Start its twin without GrokFast").click()
    page.get_by_role("heading", name="Results").wait_for()
    addresses["compare"] = page.url
    twin = f"{studio.url}/monitor?run={page.url.split('%2C')[-1].split(',')[-1]}"
    wait_for_the_end(page, twin)
    page.goto(addresses["compare"])
    show_run_lines(page)
    photograph(page, "compare")
    # A learning rate that is too high, for a caption on its curve.
    captions = start(page, studio, max_steps=60, learning_rate=0.6, max_grad_norm=0, act_enabled="false")
    wait_for_the_end(page, captions)
    show_run(page)
    page.locator(".live-findings").evaluate("captions => captions.scrollIntoView({block: 'end'})")
    photograph(page, "captions")
    page.goto(addresses["monitor"])
    page.get_by_role("link", name="Try First language model").click(timeout=PATIENCE_MS)
    page.get_by_role("button", name="Write").click()
    words = page.locator(".lens .text span")
    words.first.wait_for(timeout=120_000)
    words.last.click()
    page.locator(".lens").evaluate("lens => lens.scrollIntoView({block: 'end'})")
    photograph(page, "models")
    addresses["models"] = page.url
    page.goto(f"{studio.url}/datasets")
    photograph(page, "datasets")
    sweep(page, studio)
    page.goto(f"{studio.url}/lab?grokking.max_steps={LAB_STEPS}")
    page.get_by_role("button", name="Start the race").click()
    page.get_by_text(f"step {LAB_STEPS:,} of {LAB_STEPS:,}").nth(1).wait_for(timeout=PATIENCE_MS)
    photograph(page, "lab")
    return addresses


def sweep(page: Page, studio: Studio) -> None:
    """Four learning rates tried one after the other, and what they came to."""
    small = f"preset=First+language+model&first-run.max_steps={STEPS}&first-run.d_model=64&first-run.n_heads=4"
    small += "&first-run.act_enabled=false"
    page.goto(f"{studio.url}/new-run?{small}&sweep=true&sweep_settings=Learning+rate")
    values = page.get_by_role("textbox", name="Learning rate: values to try")
    values.fill("5e-4, 2e-3, 8e-3, 3e-2")
    values.press("Enter")
    page.get_by_role("button", name="Start 4 runs").click()
    unfinished = page.get_by_text(re.compile("ha(s|ve) not ended yet"))
    unfinished.wait_for()
    unfinished.wait_for(state="hidden", timeout=PATIENCE_MS)
    page.locator(".js-plotly-plot").first.wait_for()
    page.locator(".js-plotly-plot").first.evaluate("chart => chart.scrollIntoView({block: 'end'})")
    photograph(page, "sweep")


def other_programs(page: Page, studio: Studio) -> None:
    """The API's own page."""
    page.goto(f"{studio.url}/api/v1/")
    page.screenshot(path=PICTURES / "api.png")


def show_run_lines(page: Page) -> None:
    page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.every(t => t.x.length > 2)")


def page_in(browser: Browser, studio: Studio, **look: Any) -> Page:
    """A page in a browser that the studio knows; wide and light unless `look` says otherwise."""
    page = browser.new_page(**{"viewport": WIDE, "color_scheme": "light", **look})
    let_in(page.context, studio)
    return page


def other_looks(browser: Browser, studio: Studio, addresses: dict[str, str]) -> None:
    """Some of them in the dark and on a phone."""
    dark = page_in(browser, studio, color_scheme="dark")
    narrow = page_in(browser, studio, viewport=NARROW, color_scheme="dark", device_scale_factor=2)
    for page, suffix in ((dark, "dark"), (narrow, "narrow")):
        page.goto(addresses["monitor"])
        show_run(page)
        photograph(page, f"monitor-{suffix}")


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    samples = ROOT.parent / "shared" / "data"  # real rows, when this is a workplace that has them
    environment = {"COGNATE_DATASETS_DIR": str(samples)} if samples.is_dir() else {}
    environment = {**environment, **{k: v for k, v in os.environ.items() if k == "COGNATE_DATASETS_DIR"}}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch_chromium(playwright)
        with running_studio(Path(folder) / "home", **environment) as studio:
            other_looks(browser, studio, tour(page_in(browser, studio), studio))
            other_programs(page_in(browser, studio), studio)
        browser.close()


if __name__ == "__main__":
    main()

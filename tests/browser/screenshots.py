"""Refresh the README's pictures: `make screenshots` starts the studio, really trains, and photographs each page."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.studio import ROOT, Studio, launch_chromium, running_studio, wait_until_idle

PICTURES = ROOT / "docs" / "pictures"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 860}
STEPS = 200  # of the first-run preset: enough for a curve worth looking at


def photograph(page: Page, name: str) -> None:
    wait_until_idle(page)
    page.wait_for_timeout(1500)  # fonts and charts settle; there is no event for "looks finished"
    page.screenshot(path=PICTURES / f"{name}.png")


def show_run(page: Page) -> None:
    page.wait_for_function(
        "document.querySelector('.js-plotly-plot')?.data?.find(t => t.name === 'training')?.x.length > 2",
        timeout=120_000,
    )


def tour(page: Page, studio: Studio) -> tuple[str, str]:
    """Take the pictures of a first visit in light; the addresses of the run and its model."""
    page.goto(studio.url)
    photograph(page, "home")
    page.goto(f"{studio.url}/new-run?first-run.max_steps={STEPS}")
    page.get_by_role("button", name="Start training").wait_for()
    page.get_by_text("are free on this computer").wait_for()
    photograph(page, "new-run")
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Stop and save").wait_for()
    run = page.url
    show_run(page)
    page.wait_for_function(
        f"document.querySelector('.js-plotly-plot').data.find(t => t.name === 'training').x.at(-1) > {STEPS // 2}",
        timeout=300_000,
    )
    photograph(page, "monitor")
    page.get_by_role("link", name="Try First language model").click(timeout=300_000)
    page.get_by_role("button", name="Write").click()
    words = page.locator(".lens .text span")
    words.first.wait_for(timeout=120_000)
    words.last.click()
    page.locator(".lens").evaluate("lens => lens.scrollIntoView({block: 'end'})")
    photograph(page, "models")
    return run, page.url


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    samples = ROOT.parent / "shared" / "data"  # real rows, when this is a workplace that has them
    environment = {"COGNATE_DATASETS_DIR": str(samples)} if samples.is_dir() else {}
    environment = {**environment, **{k: v for k, v in os.environ.items() if k == "COGNATE_DATASETS_DIR"}}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch_chromium(playwright)
        with running_studio(Path(folder) / "home", **environment) as studio:
            run, model = tour(browser.new_page(viewport=WIDE, color_scheme="light"), studio)
            dark = browser.new_page(viewport=WIDE, color_scheme="dark")
            narrow = browser.new_page(viewport=NARROW, color_scheme="dark", device_scale_factor=2)
            for page, suffix in ((dark, "dark"), (narrow, "narrow")):
                page.goto(run)
                show_run(page)
                photograph(page, f"monitor-{suffix}")
            dark.goto(model)
            photograph(dark, "models-dark")
        browser.close()


if __name__ == "__main__":
    main()

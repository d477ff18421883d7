"""How the dashboard feels, in Chromium: each page on a cold server, a step on its way to the screen, a long run."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from cognate_core.runs import database_path
from cognate_core.storage.progress_reader import ProgressReader
from tests.bench.pages import start_run, wait_for_status
from tests.bench.timing import heading, line
from tests.browser.studio import Studio, cancel, launch_chromium, let_in, running_studio, wait_until_idle
from tests.faults.large_home import LONG_RUN, LONG_RUN_NAME, make_large_home

PAGES = {
    "": "Cognate Studio",
    "new-run": "New run",
    "monitor": LONG_RUN_NAME,
    "compare": "Compare",
    "models": "Models",
    "datasets": "Datasets",
    "glossary": "Glossary",
}
SEEN_STEPS = 40
LONG_STEPS, RUNS = 1_000_000, 500


def newest_step(page: Page) -> int:
    return page.evaluate(
        "Math.max(0, ...(document.querySelector('.js-plotly-plot')?.data ?? [])"
        ".filter(t => t.name.startsWith('training')).flatMap(t => t.x.slice(-1)))"
    )


def cold_pages(browser: Browser, folder: Path) -> None:
    """Each page as the first that a server just started is asked for, and the same again."""
    for path, title in PAGES.items():
        with running_studio(folder / f"home-{path}") as studio:
            page = browser.new_page()
            let_in(page.context, studio)
            times = []
            for _ in range(2):
                start = time.perf_counter()
                page.goto(f"{studio.url}/{path}")
                name = title if path != "monitor" else "Monitor"
                page.get_by_role("heading", name=name, level=1).wait_for()
                times.append(time.perf_counter() - start)
            wait_until_idle(page)
            page.close()
        line(f"{path or 'home'}: its title, cold server", f"{times[0]:.2f} s", f"again {times[1]:.2f} s; below 2 s")


def steps_to_the_screen(browser: Browser, folder: Path) -> None:
    """How long a step that was trained needs to be a point on the curve."""
    with running_studio(folder / "home") as studio:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        let_in(page.context, studio)
        reader = ProgressReader(database_path(studio.home))
        start_run(page, studio, 100_000)
        wait_for_status(reader, "training")
        delays = sorted(delays_to_the_screen(page, studio, reader, SEEN_STEPS))
        cancel(page)
        wait_for_status(reader, "cancelled")
    line("a trained step on the screen, median", f"{statistics.median(delays):.2f} s", f"{len(delays)} steps")
    line("a trained step on the screen, 19 of 20", f"{delays[int(0.95 * len(delays))]:.2f} s", "below 1.5 s")


def delays_to_the_screen(page: Page, studio: Studio, reader: ProgressReader, steps: int) -> list[float]:
    """From the log to the curve on the page, of so many steps of the newest run; of fewer after two minutes."""
    page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.some(t => t.name === 'training')")
    log = next((studio.home / "runs" / reader.runs(1)[0].id).glob("*/training_log.jsonl"))
    written: dict[int, float] = {}
    seen: dict[int, float] = {}
    deadline = time.perf_counter() + 120
    with log.open(encoding="utf-8") as lines:
        lines.seek(0, 2)
        while len(seen) < steps and time.perf_counter() < deadline:
            for text in lines:
                if '"StepMetrics"' in text:
                    written[int(text.split('"step": ')[1].split(",")[0])] = time.perf_counter()
            shown = newest_step(page)
            for step in [step for step in written if step <= shown and step not in seen]:
                seen[step] = time.perf_counter() - written[step]
            time.sleep(0.02)
    return list(seen.values())


def long_run(browser: Browser, folder: Path) -> None:
    """A run of a million steps, beside 500 others."""
    make_large_home(folder / "large", LONG_STEPS, RUNS)
    with running_studio(folder / "large") as studio:
        for path, what in ((f"monitor?run={LONG_RUN}", "a million steps, to the curve"), ("", "Home with 500 runs")):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            let_in(page.context, studio)
            times = []
            for _ in range(4):
                start = time.perf_counter()
                page.goto(f"{studio.url}/{path}")
                if path:
                    page.wait_for_function("document.querySelector('.js-plotly-plot .main-svg .scatterlayer path')")
                else:
                    page.get_by_role("heading", name="Runs", exact=True).wait_for()
                times.append(time.perf_counter() - start)
            line(what, f"{statistics.median(times[1:]):.2f} s", f"the first {times[0]:.2f} s; below 1 s")
            page.close()


def main() -> None:
    heading("How it feels, in Chromium on this machine")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch_chromium(playwright)
        for part in (cold_pages, steps_to_the_screen, long_run):
            part(browser, Path(folder))
        browser.close()

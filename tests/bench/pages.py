"""What a person waits for: the first page, the first point; and what an open page costs the training."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from cognate_core.config.presets import PRESETS
from cognate_core.runs import database_path
from cognate_core.storage.progress_reader import ProgressReader
from tests.bench.timing import heading, line
from tests.browser.studio import Studio, launch_chromium, let_in, running_studio, wait_until_idle

ROUNDS = 2  # with and without a page, in turns
STEPS = 120
SKIPPED_STEPS = 10  # while memory and caches warm up


def first_page(page: Page, studio: Studio) -> float:
    start = time.perf_counter()
    page.goto(studio.url)
    page.get_by_role("heading", name="Cognate Studio").wait_for()
    wait_until_idle(page)
    return time.perf_counter() - start


def start_run(page: Page, studio: Studio, steps: int) -> str:
    """Start the first-run preset on built-in text; its address."""
    page.goto(
        f"{studio.url}/new-run?preset=First+language+model&first-run.max_steps={steps}&first-run.dataset_sources=Synthetic"
    )
    wait_until_idle(page)
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Stop and save").wait_for()
    return page.url


def wait_for_status(reader: ProgressReader, *statuses: str) -> None:
    while reader.runs(1)[0].status not in statuses:
        time.sleep(0.05)


def median_step(reader: ProgressReader) -> float:
    """Seconds from step to step of the newest run, checks left out."""
    rows = reader.metrics(reader.runs(1)[0].id)[SKIPPED_STEPS:]
    return statistics.median(row["seconds"] for row in rows)


def main() -> None:
    heading("Pages, in Chromium on this machine")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch_chromium(playwright)
        with running_studio(Path(folder) / "home") as studio:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            let_in(page.context, studio)
            line("server ready", f"{studio.ready_seconds:.2f} s")
            line("first page, cold server, cold browser", f"{first_page(page, studio):.2f} s", "must stay below 2 s")
            line("the same page again", f"{first_page(page, studio):.2f} s")
            reader = ProgressReader(database_path(studio.home))

            start_run(page, studio, STEPS)
            start = time.perf_counter()
            wait_for_status(reader, "training")
            began = time.perf_counter()
            page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.some(t => t.name === 'training')")
            seen = time.perf_counter()
            line("from Start until training begins", f"{began - start:.2f} s", "data and torch are loaded")
            line("from then to the first point on the screen", f"{seen - began:.2f} s", "must stay below 5 s")
            wait_for_status(reader, "completed")

            watched, alone, headless = [], [], []
            for _ in range(ROUNDS):
                headless.append(headless_step(Path(folder)))
                start_run(page, studio, STEPS)
                page.goto("about:blank")
                wait_for_status(reader, "completed")
                alone.append(median_step(reader))
                start_run(page, studio, STEPS)
                wait_for_status(reader, "completed")
                watched.append(median_step(reader))
            base = statistics.median(headless)
            line("a training step, `cognate train`, no page", f"{base * 1000:.1f} ms", _each(headless))
            for what, times in (("in the studio, nobody watching", alone), ("in the studio, Monitor open", watched)):
                took = statistics.median(times)
                line(f"a training step, {what}", f"{took * 1000:.1f} ms", f"{took / base - 1:+.1%}  {_each(times)}")
            open_cost = statistics.median(w / a for w, a in zip(watched, alone, strict=True)) - 1
            line("what the open page costs", f"{open_cost:+.1%}", "must stay below +5 %")
        browser.close()


def _each(times: list[float]) -> str:
    return "each round: " + ", ".join(f"{time * 1000:.0f}" for time in times)


def headless_step(folder: Path) -> float:
    """The same run from the command line, in a process of its own."""
    home, config = folder / "headless", folder / "config.toml"
    config.write_text(
        PRESETS["first-run"].config.with_overrides({"max_steps": STEPS, "dataset_sources": "Synthetic"}).to_toml()
    )
    subprocess.run(
        [sys.executable, "-m", "cognate_core.cli", "train", str(config), "--json"],
        env={**os.environ, "COGNATE_HOME": str(home)},
        check=True,
        capture_output=True,
    )
    return median_step(ProgressReader(database_path(home)))

"""From Start to the first point: each part of the way, with a worker that starts anew and with a spare one, on built-in
data that nobody has prepared yet. On a busy machine the processor's seconds say more than the clock's.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from cognate_core.config.presets import PRESETS
from cognate_core.contracts import DataReport, Evaluation, Event, Record, Sample, StepMetrics
from cognate_core.runs import RunManager, database_path
from cognate_core.storage.progress_reader import ProgressReader
from tests.bench.pages import wait_for_status
from tests.bench.timing import heading, line
from tests.browser.studio import cancel, launch_chromium, let_in, running_studio, wait_until_idle

SETTLE_SECONDS = 20.0  # a spare worker has loaded its libraries, also on a busy machine
STEPS = 1000  # more than there is time for


def part_of(record: Record) -> str | None:
    """What has been done once this is recorded."""
    match record:
        case DataReport():
            return "the data is prepared"
        case Event(message=message) if message.startswith("Using"):
            return "the number format is chosen"
        case Evaluation():
            return "the model is made, the held-out text is read"
        case Sample():
            return "the model has written a sample"
        case StepMetrics():
            return "the first step is done"
    return None


def trace(home: Path, spare: bool) -> list[tuple[str, float, float]]:
    """(what is done, seconds since Start, the worker's processor seconds since then), in their order."""
    studio = RunManager(home)
    marks: list[tuple[str, float, float]] = []
    done = threading.Event()
    start, before = 0.0, 0.0

    def processor() -> float:
        times = [child.cpu_times() for child in psutil.Process().children()]
        return sum(each.user + each.system for each in times) - before

    def mark(what: str) -> None:
        if what not in [each for each, _, _ in marks]:
            marks.append((what, time.perf_counter() - start, processor()))

    def watched_record(run_id: str, record: Record, kept: Callable[..., object] = studio.log.record) -> None:
        kept(run_id, record)
        what = part_of(record)
        if what is not None:
            mark(what)
        if isinstance(record, StepMetrics):
            done.set()

    def watched_message(run_id: str, message: str, shown: Callable[..., object] = studio.log.set_message) -> None:
        shown(run_id, message)
        if message.startswith("Training the tokenizer"):
            mark("the worker is there, the problems are made")
        elif message.startswith("Turning"):
            mark("the tokenizer is trained")

    studio.log.record = watched_record  # type: ignore[method-assign]
    studio.log.set_message = watched_message  # type: ignore[method-assign]
    try:
        if spare:
            studio.prepare_worker()
            time.sleep(SETTLE_SECONDS)
        config = PRESETS["first-run"].config.with_overrides({"dataset_sources": "Synthetic", "max_steps": STEPS})
        before, start = processor(), time.perf_counter()
        run_id = studio.start(config, "Bench", ["bench"])
        done.wait()
        while not studio.log.metrics(run_id):
            time.sleep(0.01)
        mark("the step is in the database")
        studio.cancel(run_id)
        studio.wait(run_id)
    finally:
        studio.close()
    return marks


def on_the_page(folder: Path) -> None:
    """From pressing Start on New run to the first point in Chromium."""
    with sync_playwright() as playwright, running_studio(folder / "page") as studio:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        let_in(page.context, studio)
        page.goto(
            f"{studio.url}/new-run?preset=First+language+model&first-run.max_steps={STEPS}&first-run.dataset_sources=Synthetic"
        )
        wait_until_idle(page)
        time.sleep(SETTLE_SECONDS)
        start = time.perf_counter()
        page.get_by_role("button", name="Start training").click()
        drawn = "document.querySelector('.js-plotly-plot')?.data?.some(t => t.name === 'training')"
        page.wait_for_function(drawn, polling=100)  # by default at each frame, which takes processor time, too
        seen = time.perf_counter() - start
        line("from pressing Start to the first point on the screen", f"{seen:.2f} s", "below 4 s on two idle cores")
        cancel(page)
        wait_for_status(ProgressReader(database_path(studio.home)), "cancelled")
        browser.close()


def first_visit(folder: Path) -> None:
    """From an empty Home to a run that is going, by what is on the screen."""
    with sync_playwright() as playwright, running_studio(folder / "first") as studio:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        let_in(page.context, studio)
        start = time.perf_counter()
        page.goto(studio.url)
        page.get_by_role("link", name="Choose").first.click()
        page.get_by_role("button", name="Start training").click()
        page.get_by_role("button", name="Stop and save").wait_for()
        took = time.perf_counter() - start
        line("from an empty Home to a run that is going, two clicks", f"{took:.1f} s", "below 20 s")
        cancel(page)
        wait_for_status(ProgressReader(database_path(studio.home)), "cancelled")
        browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for spare in (False, True):
            heading(f"From Start to the first step, {'a spare worker waits' if spare else 'the worker starts anew'}")
            last, last_processor = 0.0, 0.0
            for what, seconds, processor in trace(Path(folder) / f"spare-{spare}", spare):
                parts = (
                    f"+{seconds - last:.2f} s; processor +{processor - last_processor:.2f}, in all {processor:.2f} s"
                )
                line(what, f"{seconds:.2f} s", parts)
                last, last_processor = seconds, processor
        heading("From Start to the first point, in Chromium")
        on_the_page(Path(folder))
        first_visit(Path(folder))

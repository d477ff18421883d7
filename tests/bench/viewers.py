"""What twenty people who watch one run wait for, and what they cost the training and the server.

A studio as a user starts it, one viewer in Chromium, the others by HTTP as a page asks. Alone and watched in turns.
"""

from __future__ import annotations

import http.client
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import psutil
from playwright.sync_api import Browser, sync_playwright

from cognate_core.runs import database_path
from cognate_core.storage.progress_reader import ProgressReader
from tests.bench.pages import start_run, wait_for_status
from tests.bench.timing import heading, line
from tests.browser.studio import Studio, launch_chromium, let_in, running_studio

VIEWERS = 20  # one of them in Chromium
ROUNDS, SECONDS, SETTLE_SECONDS = 3, 100.0, 5.0  # the first pages, and until the rows from before are written
STEPS = 100_000  # more than there is time for


def ask_for_news(
    connection: http.client.HTTPConnection, address: str, seen: str, shown: Mapping[str, str]
) -> str | None:
    """Ask `/live` as a page does: the new word for what was seen, None when there is nothing new."""
    connection.request("GET", f"{address}&after={seen}", headers=shown)
    reply = connection.getresponse()
    news = reply.read()
    if reply.status != 200:
        raise ConnectionError(f"status {reply.status}")
    return re.findall(rb'"seen":"([0-9a-f]+)"', news[:100])[0].decode() if b'"charts"' in news else None


class Viewer(threading.Thread):
    """Asks for new points as often as a page; its updates' seconds, from asking to the last byte."""

    def __init__(self, studio: Studio, address: str, delay: float) -> None:
        super().__init__(daemon=True)
        self._server, self._address, self._delay = studio.url.removeprefix("http://"), address, delay
        self._shown = studio.shown
        self._ended = threading.Event()
        self.updates: list[float] = []
        self.failures = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._server, timeout=30)
        seen, due = "", time.perf_counter() + self._delay
        while not self._ended.wait(max(0.0, due - time.perf_counter())):
            start = time.perf_counter()
            try:
                news = ask_for_news(connection, self._address, seen, self._shown)
            except OSError:
                self.failures += 1
                connection.close()
                news = None
            if news is not None:
                self.updates.append(time.perf_counter() - start)
                seen = news
            due = max(due + 0.5, time.perf_counter())
        connection.close()

    def end(self) -> None:
        self._ended.set()
        self.join()


def step_seconds(reader: ProgressReader, run_id: str, first: int) -> list[float]:
    """How long each training step took after step `first`."""
    return [row["seconds"] for row in reader.last_metrics(run_id, newest_step(reader, run_id) - first)]


def newest_step(reader: ProgressReader, run_id: str) -> int:
    return int(reader.last_metrics(run_id, 1)[0]["step"])


def processor_share(process: psutil.Process) -> float:
    """How much of one processor a process takes, without its children, over the next SECONDS."""
    before = process.cpu_times()
    time.sleep(SECONDS)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system) / SECONDS


def measure(browser: Browser, home: Path) -> None:
    alone, watched, idle, busy = list[float](), list[float](), list[float](), list[float]()
    updates, memory, failures = list[float](), list[int](), 0
    with running_studio(home) as studio:
        server, reader = psutil.Process(studio.process.pid), ProgressReader(database_path(home))
        page = browser.new_page()
        let_in(page.context, studio)
        monitor = start_run(page, studio, STEPS)
        (run,) = reader.runs()
        address = "/live?" + urlencode({"run": run.id, "model": run.model_names[0], "dark": 0})
        wait_for_status(reader, "training")
        page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.some(t => t.name === 'training')")
        for _ in range(ROUNDS):
            page.goto("about:blank")
            time.sleep(SETTLE_SECONDS)
            begin = newest_step(reader, run.id)
            idle.append(processor_share(server))
            alone += step_seconds(reader, run.id, begin)

            page.goto(monitor)
            viewers = [Viewer(studio, address, number / VIEWERS) for number in range(1, VIEWERS)]
            for viewer in viewers:
                viewer.start()
            time.sleep(SETTLE_SECONDS)
            begin = newest_step(reader, run.id)
            memory.append(server.memory_info().rss)
            busy.append(processor_share(server))
            memory.append(server.memory_info().rss)
            watched += step_seconds(reader, run.id, begin)
            for viewer in viewers:
                viewer.end()
                updates += viewer.updates
                failures += viewer.failures
            asked = "performance.getEntriesByType('resource').filter(entry => entry.name.includes('/live?'))"
            updates += [each / 1000 for each in page.evaluate(f"{asked}.map(entry => entry.duration)")]
        page.close()
    slower = statistics.median(watched) / statistics.median(alone) - 1
    line("an update, 19 of 20", f"{np.quantile(updates, 0.95) * 1000:.0f} ms", f"{len(updates):,}; below 500 ms")
    line("refused or lost", f"{failures}", "must be 0")
    line("a training step, alone", f"{statistics.median(alone) * 1000:.0f} ms")
    line("a training step, watched", f"{slower:+.1%}", "must stay below +5 %")
    line("the server's share of a processor, alone", f"{statistics.mean(idle):.1%}")
    line("the server's share of a processor, watched", f"{statistics.mean(busy):.1%}")
    line("the server's memory grows by", f"{(memory[-1] - memory[0]) / 1e6:.0f} MB", "must stay below 50 MB")


def main() -> None:
    heading(f"{VIEWERS} viewers of one run, {ROUNDS} x {SECONDS:.0f} s")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch_chromium(playwright)
        measure(browser, Path(folder) / "home")
        browser.close()

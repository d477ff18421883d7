"""Twenty people watch one run: their pages stay quick, the training does not notice, and the server does not grow."""

from __future__ import annotations

import http.client
import json
import re
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import psutil
import pytest
from playwright.sync_api import Browser, Page
from starlette.requests import Request

from cognate_core.charts_of_runs import run_charts
from cognate_core.config import TrainingConfig
from cognate_core.contracts import StepMetrics
from cognate_core.runs import close_manager, current_manager, database_path
from cognate_core.storage.progress_log import ProgressLog, ProgressReader
from pages.components import live_charts
from tests.bench.pages import start_run, wait_for_status
from tests.browser.studio import running_studio
from tests.faults.times import Tally, times

VIEWERS = 20  # one of them in Chromium
ROUNDS, SECONDS = times(1, 3), times(10, 100)  # alone and watched in turns, each so long
STEPS = 100_000  # more than there is time for
UPDATE_SECONDS, SLOWER, GROWTH_MB = 0.5, 0.05, 50.0
NOISE = 3.0  # the machines that run this have other work; the figures are in the table
SLOWER_WITH_NOISE = 0.5
SETTLE_SECONDS = 5.0  # for the first pages, and until the rows from before are written


class Viewer(threading.Thread):
    """Asks for new points each second, as a page does; its updates' seconds, from asking to the last byte."""

    def __init__(self, url: str, address: str, delay: float) -> None:
        super().__init__(daemon=True)
        self._server, self._address, self._delay = url.removeprefix("http://"), address, delay
        self._ended = threading.Event()
        self.updates: list[float] = []
        self.failures = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._server, timeout=30)
        seen = ""
        due = time.perf_counter() + self._delay
        while not self._ended.wait(max(0.0, due - time.perf_counter())):
            start = time.perf_counter()
            connection.request("GET", f"{self._address}&after={seen}")
            reply = connection.getresponse()
            news = reply.read()
            if reply.status != 200:
                self.failures += 1
            elif b'"charts"' in news:
                self.updates.append(time.perf_counter() - start)
                seen = re.findall(rb'"seen":"([0-9a-f]+)"', news[:100])[0].decode()
            due = max(due + 0.5, time.perf_counter())  # as often as the page asks
        connection.close()

    def end(self) -> None:
        self._ended.set()
        self.join(30)


def newest_step(reader: ProgressReader, run_id: str) -> int:
    return int(reader.last_metrics(run_id, 1)[0]["step"])


def step_seconds(reader: ProgressReader, run_id: str, first: int) -> list[float]:
    """How long each training step took after step `first`."""
    rows = reader.last_metrics(run_id, newest_step(reader, run_id) - first)
    return [row["seconds"] for row in rows]


def processor_share(process: psutil.Process, seconds: float) -> float:
    """How much of one processor a process takes, without its children, over the next `seconds`."""
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system) / seconds


def watch(page: Page, url: str, monitor: str, address: str) -> list[Viewer]:
    page.goto(monitor)
    viewers = [Viewer(url, address, number / VIEWERS) for number in range(1, VIEWERS)]
    for viewer in viewers:
        viewer.start()
    return viewers


@pytest.fixture
def log() -> Iterator[ProgressLog]:
    """The progress log of this process's studio."""
    yield current_manager().log
    close_manager()


def ask(**query: str) -> dict[str, Any]:
    """What `/live` answers."""
    headers = [(b"host", b"localhost")]
    asked = urlencode(query).encode()
    scope = {"type": "http", "method": "GET", "path": "/live", "headers": headers, "query_string": asked}
    endpoint = next(route.endpoint for route in live_charts.routes if route.path == "/live")
    answer: dict[str, Any] = json.loads(endpoint(Request(scope)).body)
    return answer


def test_viewers_of_one_run_share_its_charts(
    log: ProgressLog, tiny_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    draw = run_charts
    monkeypatch.setattr(live_charts, "REST", 0)

    def counted(*args: Any, **more: Any) -> Any:
        built.append(args)
        return draw(*args, **more)

    monkeypatch.setattr(live_charts, "run_charts", counted)
    log.create_run("run", "watched", tiny_config, ["m"], tmp_path, None)
    seen = ""
    for step in (1, 2):
        log.record("run", StepMetrics("m", step, 5.0, 0.1, 1.0, 1.0, 10, 0.1, 0.1))
        log.raise_refused("run")
        with ThreadPoolExecutor(VIEWERS) as pool:
            answers = list(pool.map(lambda after: ask(run="run", model="m", after=after), [seen] * VIEWERS))
        assert len(built) == step
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["charts"][0]["figure"]["data"][0]["y"] == [5.0] * step
        seen = answers[0]["seen"]
        assert set(ask(run="run", model="m", after=seen)) == {"alive"}
    assert ask(run="run", model="m", dark="1")["charts"] != answers[0]["charts"]
    assert len(built) == 3

    monkeypatch.setattr(live_charts, "REST", 1e6)
    for step in (3, 4):
        log.record("run", StepMetrics("m", step, 5.0, 0.1, 1.0, 1.0, 10, 0.1, 0.1))
        log.raise_refused("run")
        seen = ask(run="run", model="m", after=seen).get("seen", seen)
    assert len(built) == 4, "while it rests, nothing is built"
    assert set(ask(run="run", model="m", after=seen)) == {"alive"}
    for number in range(2 * live_charts.MOST_KEPT):
        ask(run="run", model=f"m{number}")
    assert len(live_charts._kept) == live_charts.MOST_KEPT


@pytest.mark.browser
@pytest.mark.timeout(120 + 2 * ROUNDS * (SECONDS + 60))
def test_twenty_viewers(chromium: Browser, tmp_path: Path, tally: Tally) -> None:
    alone: list[float] = []
    watched: list[float] = []
    updates: list[float] = []
    failures = 0
    idle = busy = 0.0
    memory = []
    with running_studio(tmp_path / "home") as studio:
        server = psutil.Process(studio.process.pid)
        reader = ProgressReader(database_path(studio.home))
        page = chromium.new_page()
        page.set_default_timeout(60_000)
        monitor = start_run(page, studio, STEPS)
        run = reader.runs(1)[0]
        address = "/live?" + urlencode({"run": run.id, "model": run.model_names[0], "dark": 0})
        wait_for_status(reader, "training")
        while len(reader.last_metrics(run.id, 10)) < 10:
            time.sleep(0.2)  # another process writes them
        for _ in range(ROUNDS):
            page.goto("about:blank")
            time.sleep(SETTLE_SECONDS)
            begin = newest_step(reader, run.id)
            idle += processor_share(server, SECONDS) / ROUNDS
            alone += step_seconds(reader, run.id, begin)

            viewers = watch(page, studio.url, monitor, address)
            time.sleep(SETTLE_SECONDS)
            begin = newest_step(reader, run.id)
            memory.append(server.memory_info().rss)
            busy += processor_share(server, SECONDS) / ROUNDS
            memory.append(server.memory_info().rss)
            watched += step_seconds(reader, run.id, begin)
            for viewer in viewers:
                viewer.end()
                updates += viewer.updates
                failures += viewer.failures
            asked = "performance.getEntriesByType('resource').filter(entry => entry.name.includes('/live?'))"
            updates += [each / 1000 for each in page.evaluate(f"{asked}.map(entry => entry.duration)")]
        page.close()
    p95 = float(np.quantile(updates, 0.95))
    slower = statistics.median(watched) / statistics.median(alone) - 1
    growth = (memory[-1] - memory[0]) / 1e6
    kept = failures == 0 and p95 < UPDATE_SECONDS and slower < SLOWER and growth < GROWTH_MB
    figures = (
        f"{len(updates)} updates, p95 {p95 * 1000:.0f} ms (goal: 500); a step {statistics.median(alone) * 1000:.0f} ms "
        f"alone, watched {slower:+.1%} (goal: 5 %); the server's share of a processor {idle:.1%}, watched {busy:.1%}; "
        f"memory {growth:+.0f} MB (goal: 50)"
    )
    tally(f"{VIEWERS} viewers at 1 s, {ROUNDS} x {SECONDS} s", tried=1, survived=int(kept), lost=figures)
    assert failures == 0
    assert len(updates) > VIEWERS * ROUNDS, "there was something new to show, again and again"
    slow_day = statistics.median(alone)  # a step then takes longer as well
    assert p95 < NOISE * max(UPDATE_SECONDS, slow_day), figures
    assert slower < SLOWER_WITH_NOISE, figures
    assert growth < NOISE * GROWTH_MB, figures

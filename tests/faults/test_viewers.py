"""Twenty people watch one run, one of them in a browser: everybody gets new points again and again, nobody an error.

How quick they are, and what it costs the training, tests/bench/viewers.py measures.
"""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page

from cognate_core.runs import database_path
from cognate_core.storage.progress_reader import ProgressReader
from tests.bench.pages import start_run
from tests.bench.viewers import VIEWERS, ask_for_news
from tests.browser.studio import Studio, cancel, let_in, new_context, running_studio
from tests.faults.times import Tally, times
from tests.waiting import LONG, until

pytestmark = pytest.mark.slow
STEPS = 100_000  # more than there is time for
UPDATES = times(3, 50)  # that everybody waits for


def updates_of(studio: Studio, address: str) -> int:
    """Ask for new points until there were some so many times; how many."""
    seen = ""
    with closing(http.client.HTTPConnection(urlsplit(studio.url).netloc, timeout=LONG)) as connection:
        for _ in range(UPDATES):
            seen = until(partial(ask_for_news, connection, address, seen, studio.shown), "something new") or ""
    return UPDATES


def points(page: Page) -> int:
    drawn = "document.querySelector('.js-plotly-plot')?.data?.find(trace => trace.name === 'training')"
    return int(page.evaluate(f"{drawn}?.x.length ?? 0"))


@pytest.mark.browser
def test_twenty_viewers_all_see_a_run_go_on(chromium: Browser, tmp_path: Path, tally: Tally) -> None:
    with running_studio(tmp_path / "home") as studio, closing(new_context(chromium)) as context:
        let_in(context, studio)
        page = context.new_page()
        start_run(page, studio, STEPS)
        until(lambda: points(page), "the first point")
        (run,) = ProgressReader(database_path(studio.home)).runs()
        address = "/live?" + urlencode({"run": run.id, "model": run.model_names[0], "dark": 0})
        before = points(page)
        with ThreadPoolExecutor(VIEWERS) as pool:
            asked = [pool.submit(updates_of, studio, address) for _ in range(VIEWERS - 1)]
            heard = [each.result() for each in asked]
        until(lambda: points(page) > before, "a new point")
        cancel(page)
    tally(f"{VIEWERS} viewers", tried=VIEWERS, survived=len(heard) + 1, lost=f"{sum(heard)} updates, no error")
    assert heard == [UPDATES] * (VIEWERS - 1)

"""A run of a million steps and a list of 500 runs: the pages open, few rows are read, the worst step is on the curve.

How long a page takes, tests/bench/feel.py measures.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from cognate_core.insight.drawing import MAX_POINTS
from cognate_core.runs import database_path
from cognate_core.storage.curves import SPAN_STEPS, read_curves
from cognate_core.storage.progress_reader import ProgressReader
from tests.browser.studio import Studio, let_in, new_context, open_run, running_studio, wait_until_idle
from tests.faults.large_home import (
    LONG_RUN,
    MISSING_STEP,
    MODEL,
    RUNS,
    SPIKE_LOSS,
    SPIKE_STEP,
    STEPS,
    make_large_home,
)
from tests.faults.times import Tally

pytestmark = pytest.mark.slow
OPENINGS = 3

DRAWN = "document.querySelector('.js-plotly-plot')?.data?.some(trace => trace.name === 'training, each step')"


@pytest.fixture(scope="module")
def large_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio that has just been started on a large data folder."""
    home = tmp_path_factory.mktemp("large") / "home"
    make_large_home(home)
    with running_studio(home) as studio:
        yield studio


@pytest.fixture(scope="module")
def page(chromium: Browser, large_studio: Studio) -> Iterator[Page]:
    """A browser in which the studio is open, and another run has been looked at: the chart library is loaded."""
    context = new_context(chromium, viewport={"width": 1280, "height": 900})
    let_in(context, large_studio)
    page = context.new_page()
    page.goto(f"{large_studio.url}/monitor?run={1:012x}")
    page.wait_for_function(DRAWN)
    wait_until_idle(page)
    yield page
    context.close()


def go_home(page: Page) -> None:
    page.get_by_role("link", name="Home").click()
    page.get_by_role("heading", name="Runs", exact=True).wait_for()
    wait_until_idle(page)


@pytest.mark.browser
def test_home_lists_500_runs(page: Page, large_studio: Studio, tally: Tally) -> None:
    assert len(ProgressReader(database_path(large_studio.home)).runs()) == RUNS
    go_home(page)
    rows = page.locator("[role=grid]").first.get_attribute("aria-rowcount")
    listed = int(rows or 0) - 1  # less the names of the columns
    tally(f"{RUNS} runs", tried=1, survived=1, lost=f"{RUNS - listed} not listed")
    assert listed == RUNS


@pytest.mark.browser
def test_a_million_steps_open_with_their_spike(page: Page, tally: Tally) -> None:
    for _ in range(OPENINGS):
        go_home(page)
        open_run(page)
        page.wait_for_function(DRAWN)
        wait_until_idle(page)
    traces = page.locator(".js-plotly-plot").first.evaluate(
        "plot => Object.fromEntries(plot.data.map(trace => [trace.name, {x: trace.x, y: trace.y}]))"
    )
    steps, losses = traces["training, each step"]["x"], traces["training, each step"]["y"]
    tally(f"{STEPS:,} steps", tried=OPENINGS, survived=OPENINGS, lost=f"{len(steps):,} points drawn")
    assert losses[steps.index(SPIKE_STEP)] == SPIKE_LOSS
    assert traces["not a number (NaN)"]["x"] == [MISSING_STEP]
    assert steps[0] <= 100 and steps[-1] > STEPS - 100, "from end to end"
    assert len(steps) <= MAX_POINTS


@pytest.mark.browser  # for the data folder that the others have made
def test_of_a_million_steps_few_rows_are_read(large_studio: Studio) -> None:
    curves = read_curves(database_path(large_studio.home), LONG_RUN, MODEL)
    assert curves.mean_counts.sum() == STEPS - 1
    assert len(curves.mean_counts) < STEPS / SPAN_STEPS + 2 * SPAN_STEPS, "one for each row that was read"

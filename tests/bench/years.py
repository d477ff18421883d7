"""After years: 1,000 runs with 10,000 events each, and 500 deleted ones, beside a studio with ten of each.

"server" is a page's script, run by Streamlit's AppTest; "browser" is from the address until the page is at rest.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from streamlit.testing.v1 import AppTest

from cognate_core.runs import RunManager, close_manager, current_manager, database_path
from tests.bench.timing import heading, line, seconds
from tests.browser.studio import launch_chromium, let_in, running_studio, wait_until_idle
from tests.faults.large_home import LONG_RUN, LONG_RUN_NAME, MODEL, make_large_home

RUNS, EVENTS, DELETED = 1_000, 10_000, 500
FEW = 10  # runs, events and deleted runs of the studio that all is compared with
STEPS = 500
VISITS = 5
TARGETS = {"Home, server": "must stay below 500 ms", "Monitor, server": "must stay below 2,000 ms"}
PAGES = Path(__file__).parents[2] / "pages"


def make_home(home: Path, runs: int, events: int, deleted: int) -> None:
    """A data folder with so many runs, so many events of each, and so many deleted runs."""
    make_large_home(home, STEPS, runs + deleted)
    connection = sqlite3.connect(database_path(home))
    with connection:  # each run has its own folder, so that no two have the same settings
        connection.execute("UPDATE runs SET config = json_set(config, '$.output_dir', 'runs/' || id)")
    connection.close()
    manager = RunManager(home, max_parallel=0)
    for number in range(1, deleted + 1):
        manager.delete_run(f"{number:012x}")
    manager.close()
    connection = sqlite3.connect(database_path(home))
    connection.execute("PRAGMA synchronous = OFF")
    with connection:
        connection.execute(
            "CREATE TEMP TABLE happened AS WITH RECURSIVE each(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM each "
            "WHERE step < ?) SELECT step, 'Checkpoint of step ' || step || ' written' AS message FROM each",
            [events],
        )
        for (run_id,) in connection.execute("SELECT id FROM runs").fetchall():
            connection.execute(
                "INSERT INTO events (run_id, model_name, step, level, message, created_at) "
                "SELECT ?, ?, step, 'info', message, '2026-01-01T00:00:00+00:00' FROM happened ORDER BY step",
                [run_id, MODEL],
            )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def on_the_server(home: Path) -> dict[str, float]:
    """Seconds of each page's script, and of what an open Home asks each two seconds."""
    os.environ["COGNATE_HOME"] = str(home)
    manager = current_manager()
    page = AppTest.from_file(PAGES / "navigation.py", default_timeout=600)
    visits = {"Home": ("home", {}), "Monitor": ("monitor", {"run": LONG_RUN}), "Compare": ("compare", {})}
    found = {}
    for title, (name, query) in visits.items():
        page.run()
        page.switch_page(f"{name}.py")
        for key, value in query.items():
            page.query_params[key] = value
        found[f"{title}, server"] = seconds(page.run, VISITS)
        if page.exception:
            raise RuntimeError(f"{title} shows an error: {page.exception}")
    reads: dict[str, Callable[[], object]] = {
        "what is going on, asked each two seconds": manager.log.unfinished_runs,
        "all runs with their settings": lambda: [run.config for run in manager.log.runs()],
        "the trash": manager.trash.entries,
    }
    found |= {what: seconds(read, VISITS) for what, read in reads.items()}
    close_manager()
    return found


def in_a_browser(browser: Browser, home: Path) -> dict[str, float]:
    """Seconds from the address until each page is at rest, and how many elements it has."""
    found = {}
    pages = {"Home": ("", "Cognate Studio"), "Monitor": (f"monitor?run={LONG_RUN}", LONG_RUN_NAME)}
    with running_studio(home) as studio:
        for name, (path, title) in pages.items():
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            let_in(page.context, studio)
            page.set_default_timeout(600_000)
            times = []
            for _ in range(VISITS + 1):
                start = time.perf_counter()
                page.goto(f"{studio.url}/{path}")
                page.get_by_role("heading", name=title, level=1).wait_for()
                wait_until_idle(page)
                times.append(time.perf_counter() - start)
            found[f"{name}, browser"] = statistics.median(times[1:])
            found[f"{name}, elements"] = float(page.evaluate("document.querySelectorAll('*').length"))
            page.close()
    return found


def emptying(home: Path) -> dict[str, float]:
    """Seconds until all that was deleted is gone for good."""
    manager = RunManager(home, max_parallel=0)
    start = time.perf_counter()
    manager.empty_trash()
    took = time.perf_counter() - start
    manager.close()
    return {"emptying the trash": took}


def main() -> None:
    heading(f"{RUNS:,} runs with {EVENTS:,} events each, {DELETED} deleted ones, beside {FEW} of each")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch_chromium(playwright)
        few, many = Path(folder) / "few", Path(folder) / "many"
        make_home(few, FEW, FEW, FEW)
        make_home(many, RUNS, EVENTS, DELETED)
        before = on_the_server(few) | in_a_browser(browser, few) | emptying(few)
        after = on_the_server(many) | in_a_browser(browser, many) | emptying(many)
        browser.close()
    for what, took in after.items():
        figure = f"{took:,.0f}" if what.endswith("elements") else f"{took * 1000:,.0f} ms"
        line(what, figure, f"{took / before[what]:.1f} times that of {FEW}  {TARGETS.get(what, '')}")

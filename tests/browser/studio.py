"""A studio started as a user starts it, and the Chromium that looks at it. For tests, benchmarks and screenshots."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, FilePayload, Locator, Page, Playwright, expect

from cognate_core.api.security.login import session_cookie
from tests.waiting import LONG, until

ROOT = Path(__file__).parents[2]
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # the tests may run as root; they open pages of this studio alone
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LONG_MS = 1000 * LONG
expect.set_options(timeout=LONG_MS)  # what is right comes at once; no wait has a limit of its own

RUN = (sys.executable, "-m", "cognate_core.cli", "run")
AT_REST = """() => document.getAnimations().every(
  each => each.playState !== "running" || each.effect.getComputedTiming().endTime === Infinity)"""
NAMES, TICKS, HEADER, ROW = 65, 18, 36, 35  # pixels of the table of runs


@dataclass(frozen=True)
class Studio:
    """A running server. `ready_seconds`: from the start of the process until it answered."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    ready_seconds: float

    @property
    def token(self) -> str:
        return (self.home / "token").read_text()

    @property
    def shown(self) -> dict[str, str]:
        """The header that shows the token."""
        return {"Authorization": f"Bearer {self.token}"}


def free_port() -> int:
    """A port of this computer at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_studio(
    home: Path, command: Sequence[str | Path] = (*RUN, "--no-browser"), folder: Path = ROOT, /, **environment: str
) -> Iterator[Studio]:
    """Start `cognate run` on a free port and stop it, with its own data folder, at the end.

    Args:
        command: what starts it; `--port` and a number are added.
        folder: where it is given.
    """
    port = free_port()
    variables = {**os.environ, "COGNATE_HOME": str(home), "HF_HUB_OFFLINE": "1", **environment}
    log = home.parent / f"{home.name}.log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: process.poll() is not None or _answers(url), "that the studio answers")
            if process.poll() is not None:
                raise RuntimeError(f"The studio did not start:\n{log.read_text(errors='replace')}")
            yield Studio(url, home, process, time.perf_counter() - started)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(LONG)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def launch_chromium(playwright: Playwright) -> Browser:
    """Debian's Chromium or Chrome when there is one, else Playwright's own."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return playwright.chromium.launch(executable_path=found, args=CHROMIUM_ARGUMENTS)


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A browser as of another person, whose pages are waited for as long as all else."""
    context = browser.new_context(**options)
    context.set_default_timeout(LONG_MS)
    return context


def let_in(context: BrowserContext, studio: Studio) -> None:
    """Have the studio know this browser, as if one of its links had been followed there."""
    name, value = session_cookie(studio.token)
    context.add_cookies([{"name": name, "value": value, "url": studio.url, "httpOnly": True, "sameSite": "Lax"}])


@contextmanager
def page_on(context: BrowserContext, studio: Studio) -> Iterator[Page]:
    """A page that remembers nothing of those before it, but need not fetch and compile the studio's files again."""
    let_in(context, studio)
    page = context.new_page()
    yield page
    if page.url.startswith(studio.url):
        page.evaluate("localStorage.clear()")
    context.clear_cookies()
    for each in context.pages:
        each.close()


def wait_until_idle(page: Page) -> None:
    """Until Streamlit has finished drawing the page."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()


def cancel(page: Page) -> None:
    """Cancel the run that Monitor shows."""
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_role("button", name="Cancel this run").click()


def listed_runs(page: Page) -> Locator:
    """The names in the table on Home, as a screen reader finds them; of many runs, those in view."""
    return page.locator("[id^='glide-cell-1-']")


def open_run(page: Page, row: int = 0) -> None:
    """Click the name of a run in the table on Home, which is drawn on a canvas."""
    _click_in_table(page, NAMES, row)


def tick_run(page: Page, row: int = 0) -> None:
    """Tick a run in the table on Home."""
    _click_in_table(page, TICKS, row)


def _click_in_table(page: Page, across: int, row: int) -> None:
    table = page.get_by_test_id("stDataFrame").first
    table.click(position={"x": across, "y": HEADER + ROW * row + ROW // 2})


def choose_file(page: Page, file: Path | FilePayload, place: int = 0) -> None:
    """Choose a file in the page's field number `place`. A field that does not listen yet forgets what it is given."""
    field = page.locator("input[type=file]").nth(place)
    field.wait_for(state="attached")
    wait_until_idle(page)
    wait_until_still(page)
    field.set_input_files(file)


def download(page: Page, button: str, file: Path) -> Path:
    """Save what a button gives. A page that is being drawn anew forgets for which of its files it was pressed."""
    wait_until_idle(page)
    with page.expect_download() as given:
        page.get_by_role("button", name=button).click()
    given.value.save_as(file)
    return file


def wait_until_still(page: Page) -> None:
    """Until what began to move or to change its colour has come to its end."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # it has begun
    page.wait_for_function(AT_REST)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=LONG):
            return True
    except OSError:
        return False

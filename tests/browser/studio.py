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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

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
START_SECONDS = 60.0


@dataclass(frozen=True)
class Studio:
    """A running server. `ready_seconds`: from the start of the process until it answered."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    ready_seconds: float


@contextmanager
def running_studio(home: Path, module: str = "cognate_core.cli", **environment: str) -> Iterator[Studio]:
    """Start `cognate run`, or what `module` makes of it, on a free port with its own data folder; stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**os.environ, "COGNATE_HOME": str(home), "HF_HUB_OFFLINE": "1", **environment}
    log = home.parent / f"{home.name}.log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", module, "run", "--no-browser", "--port", str(port)],
            cwd=ROOT,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_it_answers(url, process, log)
            yield Studio(url, home, process, time.perf_counter() - started)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def launch_chromium(playwright: Playwright) -> Browser:
    """Debian's Chromium or Chrome when there is one, else Playwright's own."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return playwright.chromium.launch(executable_path=found, args=CHROMIUM_ARGUMENTS)


@contextmanager
def page_on(context: BrowserContext, studio: Studio) -> Iterator[Page]:
    """A page that remembers nothing of those before it, but need not fetch and compile the studio's files again."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    if page.url.startswith(studio.url):
        page.evaluate("localStorage.clear()")
    context.clear_cookies()
    for each in context.pages:
        each.close()


def wait_until_idle(page: Page) -> None:
    """Until Streamlit has finished drawing the page."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible(timeout=30_000)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.05)  # a process that starts has no event to wait for
    raise RuntimeError(f"The studio did not start:\n{log.read_text(errors='replace')}")

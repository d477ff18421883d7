"""How long reading through the API takes while a model is being trained in its worker."""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.timing import heading, line
from tests.browser.studio import Studio, running_studio
from tests.faults.large_home import LONG_RUN, MODEL, make_large_home

ROWS, RUNS = 20_000, 200
CALLS, AT_ONCE, CALLS_AT_ONCE = 60, 8, 8
REST_SECONDS = 5.0  # until as many may be asked again (cognate_core.api.security.guard)
TARGET = "p95 must stay below 50 ms"
READS = {
    "health": "/health",
    "runs": "/runs",
    "one run": f"/runs/{LONG_RUN}",
    f"metrics, 500 points of {ROWS:,}": f"/runs/{LONG_RUN}/metrics?points=500&model={MODEL}",
    "metrics, a part of 500": f"/runs/{LONG_RUN}/metrics?limit=500&after_step=10000",
    "events": f"/runs/{LONG_RUN}/events",
    f"findings in {ROWS:,} steps": f"/runs/{LONG_RUN}/findings?model={MODEL}",
    "models": "/models",
}
SETTINGS = {"dataset_sources": ["Synthetic"], "max_steps": 100_000}


class Client:
    """One connection that is kept."""

    def __init__(self, studio: Studio) -> None:
        self._connection = http.client.HTTPConnection(str(urlsplit(studio.url).netloc), timeout=60)
        self._headers = studio.shown

    def ask(self, path: str, body: dict[str, object] | None = None) -> tuple[float, bytes]:
        """Seconds until the whole answer was there, and the answer."""
        start = time.perf_counter()
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        content = None if body is None else json.dumps(body)
        self._connection.request("GET" if body is None else "POST", f"/api/v1{path}", content, headers)
        answer = self._connection.getresponse()
        told = answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{path} was answered with {answer.status}: {told[:200]!r}")
        return time.perf_counter() - start, told


def of_reads(studio: Studio, what: str) -> None:
    """Measure every read, over one connection and over several at once."""
    client = Client(studio)
    for name, path in READS.items():
        client.ask(path)
        _tell(f"{name}, {what}", [client.ask(path)[0] for _ in range(CALLS)])
        time.sleep(CALLS / 100)
    time.sleep(REST_SECONDS)
    for name, path in READS.items():
        with ThreadPoolExecutor(AT_ONCE) as threads:
            found = threads.map(lambda _, path=path: _several(studio, path), range(AT_ONCE))
            _tell(f"{name}, {AT_ONCE} at once, {what}", [seconds for several in found for seconds in several])
        time.sleep(AT_ONCE * CALLS_AT_ONCE / 100)


def _several(studio: Studio, path: str) -> list[float]:
    client = Client(studio)
    client.ask(path)
    return [client.ask(path)[0] for _ in range(CALLS_AT_ONCE)]


def _tell(what: str, seconds: list[float]) -> None:
    p95 = statistics.quantiles(seconds, n=20)[-1]
    beside = TARGET if "at once" not in what else ""
    if what.startswith("findings"):
        beside = "worked out of all steps, not only read"
    line(what, f"{1000 * statistics.median(seconds):.1f} / {1000 * p95:.1f} ms", beside)


def main() -> None:
    heading("Reads of the API, p50 / p95")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        make_large_home(home, steps=ROWS, runs=RUNS)
        with running_studio(home) as studio:
            of_reads(studio, "nothing trains")
            client = Client(studio)
            _, told = client.ask("/runs", {"name": "beside", "preset": "first-run", "settings": SETTINGS})
            started = json.loads(told)["id"]
            while json.loads(client.ask(f"/runs/{started}")[1])["status"] != "training":
                time.sleep(0.5)
            time.sleep(REST_SECONDS)
            of_reads(studio, "while training")
            client = Client(studio)  # the first one's connection has rested too long
            step = json.loads(client.ask(f"/runs/{started}")[1])["step"]
            line("steps that were trained meanwhile", f"{step:,}")
            client.ask(f"/runs/{started}/cancel", {})


if __name__ == "__main__":
    main()

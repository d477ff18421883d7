"""How the benchmarks measure and print."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(function: Callable[[], object], repeats: int = 5, warmups: int = 1) -> float:
    """Median wall-clock time of a call."""
    for _ in range(warmups):
        function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def heading(text: str) -> None:
    print(f"\n== {text}", flush=True)


def line(what: str, figure: str, beside: str = "") -> None:
    print(f"{what:<58} {figure:>16}   {beside}", flush=True)

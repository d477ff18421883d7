"""How the benchmarks measure and print."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

import torch


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


def in_turns(
    builders: Mapping[str, Callable[[], Callable[[], object]]], rounds: int, threads: int
) -> dict[str, list[float]]:
    """Seconds of each call of what each builder makes, one call of each in turn; the first calls do not count.

    Each has a process of its own: what one sets for its process is nothing to the others.
    """
    spawn = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for name, build in builders.items():
        ends[name], other = spawn.Pipe()
        processes.append(spawn.Process(target=_called, args=(other, build, threads), daemon=True))
        processes[-1].start()
    took: dict[str, list[float]] = {name: [] for name in builders}
    for _ in range(rounds + 1):
        for name, end in ends.items():
            end.send(True)
            took[name].append(end.recv())
    for end in ends.values():
        end.send(False)
    for process in processes:
        process.join()
    return {name: times[1:] for name, times in took.items()}


def _called(end: Connection, build: Callable[[], Callable[[], object]], threads: int) -> None:
    torch.set_num_threads(threads)
    function = build()
    while end.recv():
        start = time.perf_counter()
        function()
        end.send(time.perf_counter() - start)


def heading(text: str) -> None:
    print(f"\n== {text}", flush=True)


def line(what: str, figure: str, beside: str = "") -> None:
    print(f"{what:<58} {figure:>16}   {beside}", flush=True)

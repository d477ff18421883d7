"""How much of the processor the parts of the studio may use."""

from __future__ import annotations

import os

import psutil


def usable_cores() -> int:
    """Physical cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable))


def worker_threads(task: str = "text") -> int:
    """Threads of a training process. One core is left to the dashboard.

    A model of the Grokking lab is too small to be shared out between threads, and others race beside it.
    """
    return 1 if task == "arithmetic" else max(1, usable_cores() - 1)

"""How much of the processor the parts of the studio may use."""

from __future__ import annotations

import os

import psutil

from cognate_core.config import TrainingConfig


def usable_cores() -> int:
    """Physical cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable))


def worker_threads(config: TrainingConfig | None = None) -> int:
    """Threads of a process that trains with `config`, or that asks a trained model. One core is left to the dashboard.

    A model of the Grokking lab is too small to be shared out between threads, and others race beside it.
    """
    if config is not None and config.threads:
        return config.threads
    return 1 if config is not None and config.task == "arithmetic" else max(1, usable_cores() - 1)

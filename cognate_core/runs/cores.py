"""How much of the processor each part of the studio may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from cognate_core.config import TrainingConfig


def usable_cores(system: Path = Path("/")) -> int:
    """The number of physical cores this process may use, by its affinity and its container's quota; at least 1."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    physical = min(psutil.cpu_count(logical=False) or usable, usable)
    return max(1, int(min([physical, *_quotas(system)])))


def worker_threads(config: TrainingConfig | None = None) -> int:
    """The threads for training with `config`: its setting; else one for the Grokking lab, whose models are too small
    for more and race; else all usable cores, at most OMP_NUM_THREADS.

    Without `config`: for a process that uses a trained model, which leaves one core to the pages.
    """
    if config is None:
        return max(1, usable_cores() - 1)
    if config.threads:
        return config.threads
    bound = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    cores = min(usable_cores(), int(bound)) if bound.isdecimal() and int(bound) else usable_cores()
    return 1 if config.task == "arithmetic" else cores


def _quotas(system: Path) -> Iterator[float]:
    """The cores that each control group around this process allows; nothing where the system has no such groups."""
    groups: list[str] = []
    with suppress(OSError):
        groups = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    root = system / "sys/fs/cgroup"
    for _, kinds, name in (group.split(":", 2) for group in groups):
        if kinds and "cpu" not in kinds.split(","):
            continue
        below = Path(name.lstrip("/"))
        for folder in (below, *below.parents):
            with suppress(OSError, ValueError):
                if kinds:  # version 1
                    quota, period = (
                        (root / "cpu" / folder / f"cpu.cfs_{what}_us").read_text(encoding="ascii")
                        for what in ("quota", "period")
                    )
                else:
                    quota, period = (root / folder / "cpu.max").read_text(encoding="ascii").split()
                if float(quota) > 0:  # neither "max" nor -1
                    yield float(quota) / float(period)

"""How long the studio waits for what, and by which clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, but for the clock.

    Attributes:
        heartbeat: between two signs of life of the studio.
        retry: between two tries to write how a run ended.
        close: how long closing waits for checkpoints; then it is done by force.
        killed: how long closing waits until the end of a killed worker is noticed.
        orphan: what a worker of a studio that is gone may take to write its checkpoint.
        cancel: what a cancelled worker may take to end by itself; nothing of it is kept.
        spare: how long a spare worker waits for a run.
        clock: never goes back.
    """

    heartbeat: float = 10.0
    retry: float = 1.0
    close: float = 8.0
    killed: float = 0.5
    orphan: float = 10.0
    cancel: float = 8.0
    spare: float = 600.0
    clock: Callable[[], float] = time.monotonic

"""How long the studio waits for what, and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, except for the clock.

    Attributes:
        heartbeat: between two heartbeats of the studio.
        retry: between two attempts to write how a run ended.
        close: how long closing waits for checkpoints before it kills the workers.
        killed: how long closing waits for the end of a killed worker.
        orphan: how long a worker of a dead studio may take to write its checkpoint.
        cancel: how long a cancelled worker may take to end by itself.
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

"""How long a test waits for another process or thread: only here, and only here by looking again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LONG = 120.0  # seconds that a wait for another process or thread may take: only a hang lasts so, on a busy machine too


def until(condition: Callable[[], T], what: str = "it") -> T:
    """Poll until `condition()` is true, and return its value; AssertionError naming `what` after LONG."""
    end, pause = time.monotonic() + LONG, threading.Event()
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {LONG:.0f} s"
        pause.wait(0.01)
    return value

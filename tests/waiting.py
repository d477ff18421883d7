"""How long a test waits for another process or thread: only here, and only here by looking again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

MOMENT = 0.1  # seconds given to what must not happen: on a busy machine that hides a defect, and never invents one
LONG = 120.0  # seconds that a wait for another process or thread may take: only a hang lasts so, on a busy machine too


def until(condition: Callable[[], T], what: str = "it") -> T:
    """Poll until `condition()` is true, and return its value; AssertionError naming `what` after LONG."""
    end, pause = time.monotonic() + LONG, threading.Event()
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {LONG:.0f} s"
        pause.wait(0.01)
    return value


def beside(function: Callable[[], T]) -> Future[T]:
    """What `function` gives, in a thread of its own: when it hangs, the tests end all the same."""
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001  (handed to the test)
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return outcome

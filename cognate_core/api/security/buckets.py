"""Rate limits by client."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST_CLIENTS = 10_000  # a client with very many addresses must not fill the memory


class Buckets:
    """A token bucket for each client: `most` at once, refilled at `rate` a second."""

    def __init__(self, rate: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # client -> what is left, when

    def has(self, client: str) -> bool:
        """Whether there is a permission left."""
        return self._left(client) >= 1.0

    def take(self, client: str) -> bool:
        """Take one permission, if there is one."""
        left = self._left(client)
        self._buckets.pop(client, None)
        self._buckets[client] = (left - 1.0 if left >= 1.0 else left, self._clock())
        if len(self._buckets) > MOST_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        return left >= 1.0

    def _left(self, client: str) -> float:
        now = self._clock()
        left, then = self._buckets.get(client, (self._most, now))
        return min(self._most, left + (now - then) * self._rate)

"""How many threads to use: the number that makes a step fastest now, found by trying several in turns.

On an idle computer these are all cores. Beside other programs, fewer may be faster, because each small operation waits
for its slowest thread.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable

import torch

TRIAL_SECONDS, FEWEST_ROUNDS, MOST_ROUNDS = 2.0, 2, 5
LEAD = 1.1  # how much faster another number must be: each change affects the last bits of what follows
HOPELESS = 2.0  # a number this many times slower than the fastest is not tried again
PACE_STEPS = 5  # the pace is their median
OVERHEAD = 1.5  # a step may take this many times as long as a pass: updates, records, the page
SLOWER = 2.0  # a pace this many times slower is a reason to try again
AGAIN_SECONDS = 300.0  # wait after a trial that left cores idle
REST = 100.0  # wait after any trial, in its durations: trials take at most a hundredth of the time
SOON = 3.0  # the same if several threads are slow: beside other programs, two were measured ten times as slow as one


class ThreadChoice:
    """The number of threads of this process, chosen again when there is a reason.

    Args:
        most: the most threads to try.
        chosen: an earlier choice; without it, there is a trial after the first step.

    Attributes:
        now: the number in use.
        chosen: the same, once a trial chose it.
    """

    def __init__(self, most: int, chosen: int | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._most, self._clock = most, clock
        self.now = min(chosen or most, most)
        self._untried = chosen is None
        self._last: deque[float] = deque(maxlen=PACE_STEPS)  # seconds of steps since the last trial
        self._pace = float("inf")  # seconds of a step at the best pace since then
        self._tried_at, self._took = clock(), 0.0
        torch.set_num_threads(self.now)

    @property
    def chosen(self) -> int | None:
        return None if self._untried else self.now

    def is_due(self, seconds: float) -> bool:
        """Whether a trial is due, after a step that took `seconds` for each of its batches."""
        if self._most == 1 or self._untried:
            return self._most > 1
        self._last.append(seconds)
        rested = self._clock() - self._tried_at
        if len(self._last) == PACE_STEPS:
            pace = statistics.median(self._last)
            if pace > SLOWER * self._pace:
                return rested >= (REST if self.now == 1 else SOON) * self._took
            self._pace = min(self._pace, pace)
        return self.now < self._most and rested > AGAIN_SECONDS and rested >= REST * self._took

    def choose(self, calculate: Callable[[], object]) -> dict[int, float]:
        """Call `calculate()` with several numbers of threads in turns, and choose the fastest.

        Returns:
            number of threads -> seconds of its fastest turn.
        """
        numbers = sorted({self.now, *(max(1, self._most >> halved) for halved in range(self._most.bit_length()))})[::-1]
        best: dict[int, float] = {}
        began = self._clock()
        try:
            for done in range(MOST_ROUNDS):
                if done >= FEWEST_ROUNDS and self._clock() - began > TRIAL_SECONDS:
                    break
                for number in numbers:
                    torch.set_num_threads(number)
                    start = self._clock()
                    calculate()
                    best[number] = min(best.get(number, float("inf")), self._clock() - start)
                    if best[number] > HOPELESS * min(best.values()):
                        break  # fewer are slower still
                numbers = [each for each in numbers if best.get(each, float("inf")) <= HOPELESS * min(best.values())]
            quickest = min(best, key=best.__getitem__)
            if best.get(self.now, float("inf")) > LEAD * best[quickest]:
                self.now = quickest
        finally:
            torch.set_num_threads(self.now)
        self._untried, self._pace = False, OVERHEAD * best[self.now]
        self._last.clear()
        self._tried_at = self._clock()
        self._took = self._tried_at - began
        return best

"""How many threads calculate: as many as make a step quickest now, found by trying several numbers in turns.

On a computer that is free these are all its cores. Beside other programs fewer may be quicker, because each small
operation waits for its slowest thread. What a step is stands elsewhere.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable

import torch

TRIAL_SECONDS, FEWEST_ROUNDS, MOST_ROUNDS = 2.0, 2, 5
LEAD = 1.1  # by as much another number must be quicker: with each change, the last bits of what follows are others
HOPELESS = 2.0  # times as slow as the quickest: not tried a second time
PACE_STEPS = 5  # whose median is the pace
OVERHEAD = 1.5  # times as long as a pass a step may take: updates, records, the page
SLOWER = 2.0  # times as slow a pace is a reason to try again
AGAIN_SECONDS = 300.0  # after a trial that left cores idle
REST = 100.0  # times as long as it took, after any trial: they cost a hundredth of the time at most
SOON = 3.0  # the same where several threads are slow: beside other programs two were measured ten times as slow as one


class ThreadChoice:
    """The number of threads of the calling thread's process, chosen anew when there is reason to.

    Args:
        most: threads to try at most.
        chosen: what was chosen before; without it, there is a trial after the first step.

    Attributes:
        now: how many calculate.
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
        """Whether to try, after a step that took `seconds` for each of its batches."""
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
        """Have `calculate()` done with several numbers of threads in turns, and choose the quickest.

        Returns:
            number of threads -> seconds of its quickest turn.
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

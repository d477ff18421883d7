"""Random numbers that follow from a seed, even though all threads of a process share torch's global generator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_one_at_a_time = threading.Lock()


@contextmanager
def seeded(seed: int | None = None) -> Iterator[None]:
    """Seed the global generator for this block, which alone may draw from it; afterwards it is as it was.

    Args:
        seed: None where the numbers do not matter, such as for weights that are loaded next.
    """
    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        yield

"""What is drawn from a seed is the same, whatever other threads of the process draw meanwhile."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import torch

from cognate_core.seeded import seeded


def drawn(seed: int) -> list[float]:
    with seeded(seed):
        return [float(torch.rand(1)) for _ in range(200)]


def test_threads_that_draw_at_once_do_not_disturb_each_other() -> None:
    alone, interval = [drawn(seed) for seed in range(32)], sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads take turns between any two draws
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(drawn, range(32))) == alone
    finally:
        sys.setswitchinterval(interval)


def test_the_generator_is_left_as_it_was() -> None:
    torch.manual_seed(3)
    first = torch.get_rng_state()
    drawn(4)
    assert torch.equal(torch.get_rng_state(), first)

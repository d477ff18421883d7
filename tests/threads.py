"""One thread of arithmetic for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def with_one_thread() -> Iterator[None]:
    """Let torch have one thread until the block ends."""
    import torch  # here, because most tests need none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

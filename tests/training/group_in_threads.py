"""Workers that are threads of one process: the same seam as that of torch.distributed, without starting anything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from cognate_core.training.process_group import ProcessGroup
from tests.waiting import LONG

T = TypeVar("T")


class ThreadPeers(ProcessGroup):
    """Sums are taken in the order of ranks, by each for itself."""

    def __init__(self, rank: int, board: list[Tensor | str], barrier: threading.Barrier) -> None:
        self.rank, self.size, self._board, self._barrier = rank, len(board), board, barrier

    def sum_(self, x: Tensor) -> Tensor:
        return x.copy_(torch.stack([each for each in self._exchanged(x.clone()) if isinstance(each, Tensor)]).sum(0))

    def tell(self, text: str) -> str:
        return str(self._exchanged(text)[0])

    def _exchanged(self, own: Tensor | str) -> list[Tensor | str]:
        self._board[self.rank] = own
        self._barrier.wait(timeout=LONG)
        everybodys = list(self._board)
        self._barrier.wait(timeout=LONG)
        return everybodys


def thread_peers(size: int) -> list[ProcessGroup]:
    board: list[Tensor | str] = [""] * size
    barrier = threading.Barrier(size)
    return [ThreadPeers(rank, board, barrier) for rank in range(size)]


def together(works: Sequence[Callable[[], T]]) -> list[T]:
    """Do them all at the same time; the first error is raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]

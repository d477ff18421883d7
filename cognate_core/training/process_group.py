"""The processes that train one model together, each on its rows of every batch.

The loops know only this interface. All workers draw the same batches and decide alike; they exchange sums (gradients,
figures) and what only rank 0 knows. Nothing here knows Ray.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.distributed
from torch import Tensor

from cognate_core.errors import CancelRequested, Interruption, PauseRequested, StopRequested, TrainingError

BUCKET_NUMBERS = 2**23
"""How many numbers of the gradients are sent together: 32 MiB in fp32."""

TOLD_BYTES = 4096  # the most that rank 0 can send at once: room for a path
INTERRUPTIONS = {kind.__name__: kind for kind in (PauseRequested, StopRequested, CancelRequested)}


class WorkerLost(TrainingError):
    """Another process that trains the same model is gone."""


class ProcessGroup(ABC):
    """The processes that train a model together, seen from one of them.

    Every method is called by all of them, in the same order.

    Attributes:
        rank: the number of this one, from 0. Rank 0 checks, records and saves.
        size: how many there are.
    """

    rank: int
    size: int

    @abstractmethod
    def sum_(self, x: Tensor) -> Tensor:
        """Replace `x` by the sum over all workers, bit-identical on each; returns `x`.

        Raises:
            WorkerLost: one of them is gone.
        """

    @abstractmethod
    def tell(self, text: str) -> str:
        """Send rank 0's `text` to all and return it; the others' `text` is ignored.

        Raises:
            WorkerLost: one of them is gone.
        """

    def rows(self, count: int) -> slice:
        """This worker's rows of `count`: split as evenly as possible, in order of rank."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def first(self, work: Callable[[], object]) -> None:
        """Let rank 0 do something while the others wait.

        Raises:
            Interruption: on all workers, if it ended the work.
        """
        asked: Interruption | None = None
        if self.rank == 0:
            try:
                work()
            except Interruption as interruption:
                asked = interruption
        told = self.tell(type(asked).__name__ if asked else "")
        if told:
            raise asked or INTERRUPTIONS[told]

    def sum_gradients_(self, parameters: Sequence[Tensor]) -> None:
        """Sum the gradients over all workers. A parameter without a gradient on any worker keeps none."""
        present = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int64)
        for parameter, count in zip(parameters, self.sum_(present).tolist(), strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
            total = self.sum_(torch.cat([gradient.flatten() for gradient in bucket]))
            for gradient, part in zip(bucket, total.split_with_sizes([each.numel() for each in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))


class Alone(ProcessGroup):
    """A single process: it copies nothing and waits for nothing."""

    rank = 0
    size = 1

    def sum_(self, x: Tensor) -> Tensor:
        return x

    def tell(self, text: str) -> str:
        return text

    def sum_gradients_(self, parameters: Sequence[Tensor]) -> None:
        """They are already the sum."""


ALONE = Alone()


class TorchProcessGroup(ProcessGroup):
    """The members of torch.distributed's process group, which must have been set up."""

    def __init__(self) -> None:
        self.rank, self.size = torch.distributed.get_rank(), torch.distributed.get_world_size()

    def sum_(self, x: Tensor) -> Tensor:
        try:
            torch.distributed.all_reduce(x)
        except RuntimeError as error:
            raise WorkerLost("Another worker of this model is gone.") from error
        return x

    def tell(self, text: str) -> str:
        content = text.encode()
        if len(content) > TOLD_BYTES:
            raise ValueError(f"At most {TOLD_BYTES} bytes can be sent at once; got {len(content)}.")
        buffer = torch.zeros(TOLD_BYTES, dtype=torch.uint8)
        buffer[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else 0
        try:
            torch.distributed.broadcast(buffer, src=0)
        except RuntimeError as error:
            raise WorkerLost("Another worker of this model is gone.") from error
        return bytes(buffer.tolist()).rstrip(b"\0").decode()


def _buckets(gradients: Sequence[Tensor]) -> list[list[Tensor]]:
    """Gradients in order; each bucket has one type and at most BUCKET_NUMBERS numbers, or a single tensor."""
    buckets: list[list[Tensor]] = []
    room = 0
    for gradient in gradients:
        room -= gradient.numel()
        if not buckets or room < 0 or buckets[-1][-1].dtype != gradient.dtype:
            buckets.append([])
            room = BUCKET_NUMBERS - gradient.numel()
        buckets[-1].append(gradient)
    return buckets

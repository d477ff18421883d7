"""What attention has seen of a text: keys and values that grow with it. Tensors and positions only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class _Buffer:
    """Room for keys and values, of which the first `filled` positions are taken."""

    room: Tensor
    filled: int


@dataclass(frozen=True, slots=True)
class KeyValueCache:
    """Keys and values of consecutive positions, in one layer at one ponder step.

    `tensor`: (batch, positions, 2, n_heads, head_dim). `end`: where it ends in the buffer that it lies in, if any.
    """

    tensor: Tensor
    buffer: _Buffer | None = None
    end: int = 0

    def followed_by(self, own: Tensor, before: int) -> KeyValueCache:
        """The last `before` positions of these, and those of `own` after them, (batch, time, 2, n_heads, head_dim).

        Outside the graph a single position is written behind the others, into a buffer with room for as many again.
        """
        past = self.tensor[:, -before:]
        if torch.is_grad_enabled() or own.shape[1] > 1:
            return KeyValueCache(torch.cat((past, own), dim=1))
        buffer, end = self.buffer, self.end
        # What was written behind the end by another who went on from here is theirs.
        if buffer is None or buffer.filled > end or end == buffer.room.shape[1]:
            buffer, end = _Buffer(own.new_empty(len(own), 2 * (before + 1), *own.shape[2:]), before), before
            buffer.room[:, :before] = past
        buffer.room[:, end] = own[:, 0]
        buffer.filled = end + 1
        return KeyValueCache(buffer.room[:, end - before : end + 1], buffer, end + 1)

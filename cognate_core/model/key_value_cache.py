"""The key-value cache of attention, which grows with the text. Tensors and positions only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class _Buffer:
    """Room for keys and values; the first `filled` positions are in use."""

    room: Tensor
    filled: int


@dataclass(frozen=True, slots=True)
class KeyValueCache:
    """Keys and values of consecutive positions, in one layer at one ponder step.

    `tensor`: (batch, positions, 2, n_heads, head_dim). `end`: where it ends in its buffer, if it has one.
    """

    tensor: Tensor
    buffer: _Buffer | None = None
    end: int = 0

    def followed_by(self, own: Tensor, before: int) -> KeyValueCache:
        """The last `before` positions, followed by those of `own`, (batch, time, 2, n_heads, head_dim).

        Outside the graph, a single position is appended in a buffer with room for as many again.
        """
        past = self.tensor[:, -before:]
        if torch.is_grad_enabled() or own.shape[1] > 1:
            return KeyValueCache(torch.cat((past, own), dim=1))
        buffer, end = self.buffer, self.end
        # Another cache may have continued from here: what it wrote after the end is its own.
        if buffer is None or buffer.filled > end or end == buffer.room.shape[1]:
            buffer, end = _Buffer(own.new_empty(len(own), 2 * (before + 1), *own.shape[2:]), before), before
            buffer.room[:, :before] = past
        buffer.room[:, end] = own[:, 0]
        buffer.filled = end + 1
        return KeyValueCache(buffer.room[:, end - before : end + 1], buffer, end + 1)

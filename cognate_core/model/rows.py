"""Which tokens are computed: a chunk of text, and its rows that still ponder. Tensors and positions only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def rotary_angles(positions: Tensor, head_dim: int, theta: float = 1e4) -> Tensor:
    """Rotation angle of each position and feature pair, (positions, head_dim / 2), in fp32."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device)
    return torch.outer(positions.float(), theta ** (-pairs / head_dim))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens that go through the layers together.

    Attributes:
        batch, time: its shape.
        start: position of its first token in the text.
        before: how many earlier positions its attention still sees.
        window: how far back a token sees, including itself.
        since: (batch, time), the position at which each token's document begins: what is before it is hidden.
            None: attention sees only one document.
    """

    batch: int
    time: int
    start: int
    before: int
    window: int
    head_dim: int
    device: torch.device
    since: Tensor | None = None

    def rows(self, index: Tensor | None = None) -> Rows:
        """The tokens at these flat positions of batch * time, ascending; None: all."""
        every = torch.arange(self.time, device=self.device)
        times = every.repeat(self.batch) if index is None else index % self.time
        angles = rotary_angles(self.start + times, self.head_dim)[:, None]  # (rows, 1, head_dim / 2)
        cos, sin = angles.cos(), angles.sin()
        if index is None:
            plain = self.since is None and (self.time == 1 or (self.before == 0 and self.time <= self.window))
            mask = None if plain else self._visible(every[None], self.since)  # (1 or batch, time, seen)
            return Rows(self, None, None, self.time, cos, sin, mask)
        since = None if self.since is None else self.since.flatten()[index]
        if self.batch == 1:
            own = None if since is None else since[None]
            return Rows(self, index, None, len(index), cos, sin, self._visible(times[None], own))
        row = index // self.time
        counts = torch.bincount(row, minlength=self.batch)
        widest = int(counts.max())
        places = row * widest + torch.arange(len(index), device=self.device) - (counts.cumsum(0) - counts)[row]

        def spread(x: Tensor) -> Tensor:
            return x.new_zeros(self.batch * widest).index_copy(0, places, x).view(self.batch, widest)

        visible = self._visible(spread(times), None if since is None else spread(since))
        return Rows(self, index, places, widest, cos, sin, visible)

    def _visible(self, times: Tensor, since: Tensor | None) -> Tensor:
        """Which positions each of `times`, (1 or batch, n), attends to: (1 or batch, n, before + time)."""
        first_seen = self.start - self.before
        own = self.start + times[..., None]
        seen = first_seen + torch.arange(self.before + self.time, device=self.device)
        visible = (seen <= own) & (seen > own - self.window)
        return visible if since is None else visible & (seen >= since[..., None])


@dataclass(frozen=True, slots=True)
class Rows:
    """The tokens of a chunk that are computed: all, or only those that still ponder. A halted token costs nothing.

    Layers work on (rows, features). To keep texts apart, `spread` arranges the rows as (batch, widest, features), and
    `gather` reverses it.

    Attributes:
        index: (rows,) flat positions in batch * time, or None for all.
        places: (rows,) flat positions in batch * widest, or None if the rows need not be moved.
        cos, sin: (rows, 1, head_dim / 2)
        mask: (1 or batch, widest, seen), or None: each token sees everything up to itself.
    """

    chunk: Chunk
    index: Tensor | None
    places: Tensor | None
    widest: int
    cos: Tensor
    sin: Tensor
    mask: Tensor | None

    def spread(self, x: Tensor) -> Tensor:
        """(rows, *features) as (batch, widest, *features); places without a row hold zeros."""
        shape = (self.chunk.batch, self.widest, *x.shape[1:])
        if self.places is None:
            return x.reshape(shape)
        return x.new_zeros(self.chunk.batch * self.widest, *x.shape[1:]).index_copy(0, self.places, x).view(shape)

    def gather(self, x: Tensor) -> Tensor:
        """The reverse of `spread`."""
        flat = x.reshape(self.chunk.batch * self.widest, *x.shape[2:])
        return flat if self.places is None else flat[self.places]

    def of(self, x: Tensor) -> Tensor:
        """These rows of a tensor with all tokens of the chunk, (batch * time, *features)."""
        return x if self.index is None else x[self.index]

    def put(self, x: Tensor, all_tokens: Tensor) -> Tensor:
        """`all_tokens`, (batch * time, *features), with these rows in place of its own."""
        return x if self.index is None else all_tokens.index_copy(0, self.index, x)

"""The parts of the decoder: RMSNorm, rotary positions, windowed causal attention, SwiGLU.

They handle only tensors. Sources: RMSNorm (arXiv 1910.07467), RoPE (arXiv 2104.09864), SwiGLU (arXiv 2002.05202).
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cognate_core.model.key_value_cache import KeyValueCache
from cognate_core.model.memory import MemoryReader, MemoryView, Read
from cognate_core.model.rows import Rows


class _Rotation(torch.autograd.Function):
    """Written by hand: autograd would keep and add up a tensor for each of the four products (docs/experiments.md)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(gradient, cos, sin, -1), None, None  # a rotation's transpose turns it back


def _turned(x: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    turned = torch.empty_like(x)
    (a, b), (first, second) = x.chunk(2, dim=-1), turned.chunk(2, dim=-1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-direction)
    torch.mul(b, cos, out=second).addcmul_(a, sin, value=direction)
    return turned


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each feature pair (i, i + head_dim / 2) of x by its position's angle.

    Args:
        x: (..., head_dim)
        cos, sin: (..., head_dim / 2), outside the graph
    """
    return cast(Tensor, _Rotation.apply(x, cos, sin))  # type: ignore[no-untyped-call]


class Attention(nn.Module):
    """Causal self-attention with n_heads heads and rotary positions."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Tensor, rows: Rows, past: KeyValueCache | None = None, previous: KeyValueCache | None = None
    ) -> tuple[Tensor, KeyValueCache]:
        """Attend from the rows to everything that they may see.

        Args:
            x: (rows, d_model).
            past: keys and values of earlier chunks, at least `before` positions.
            previous: the cache returned for the same chunk at the previous ponder step: tokens that are not among the
                rows keep its keys and values.

        Returns:
            the output, (rows, d_model), and keys and values of before + time positions.
        """
        d_model = x.shape[1]
        batch, time = rows.chunk.batch, rows.chunk.time
        qkv = self.qkv(x).view(len(x), 3, self.n_heads, d_model // self.n_heads)
        cos, sin = rows.cos[:, None].to(qkv.dtype), rows.sin[:, None].to(qkv.dtype)
        query, key = rotate(qkv[:, :2], cos, sin).unbind(1)  # each (rows, heads, head_dim)
        own = torch.stack((key, qkv[:, 2]), dim=1)  # (rows, 2, heads, head_dim)
        if previous is not None and rows.index is not None:
            own = rows.put(own, previous.tensor[:, -time:].reshape(batch * time, *own.shape[1:]))
        own = own.view(batch, time, *own.shape[1:])
        cache = KeyValueCache(own) if past is None else past.followed_by(own, rows.chunk.before)
        keys, values = cache.tensor.transpose(1, 3).unbind(2)  # each (batch, heads, before + time, head_dim)
        queries = rows.spread(query).transpose(1, 2)  # (batch, heads, widest, head_dim)
        if rows.mask is None:  # a single token sees everything, and is_causal would hide all but the first key
            mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=time > 1)
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=rows.mask[:, None])
        mixed = rows.gather(mixed.transpose(1, 2)).reshape(len(x), d_model)
        return cast(Tensor, self.out(mixed)), cache


class FeedForward(nn.Module):
    """SwiGLU: silu(x W_gate) * (x W_up), then W_down; inner width 4 d_model."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 8 * d_model, bias=False)
        self.down = nn.Linear(4 * d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # each (rows, 4 d_model)
        return cast(Tensor, self.down(F.silu(gate) * up))


class Block(nn.Module):
    """One layer: x + attention(norm x), then x + memory(norm x) if it has one, then x + feed_forward(norm x)."""

    def __init__(self, d_model: int, n_heads: int, d_mem: int | None = None) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(d_model)
        self.attention = Attention(d_model, n_heads)
        self.memory = MemoryReader(d_model, d_mem) if d_mem is not None else None
        self.feed_forward_norm = nn.RMSNorm(d_model)
        self.feed_forward = FeedForward(d_model)

    def forward(
        self,
        x: Tensor,
        rows: Rows,
        past: KeyValueCache | None = None,
        previous: KeyValueCache | None = None,
        view: MemoryView | None = None,
    ) -> tuple[Tensor, KeyValueCache, Read | None]:
        """x: (rows, d_model). Arguments and second result as in Attention; the third is what was read from memory."""
        mixed, cache = self.attention(self.attention_norm(x), rows, past, previous)
        x = x + mixed
        read = None
        if self.memory is not None and view is not None:
            recalled, read = self.memory(x, rows, view)
            x = x + recalled
        return x + cast(Tensor, self.feed_forward(self.feed_forward_norm(x))), cache, read

"""The parts of the decoder: RMSNorm, rotary positions, causal attention with a key-value cache, SwiGLU.

They know tensors only. Sources: RMSNorm (arXiv 1910.07467), RoPE (arXiv 2104.09864), SwiGLU (arXiv 2002.05202).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rotary_angles(length: int, head_dim: int, theta: float = 1e4) -> Tensor:
    """Rotation angle of each position and feature pair, (length, head_dim / 2), in fp32."""
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    return torch.outer(torch.arange(length, dtype=torch.float32), frequencies)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each feature pair (i, i + head_dim / 2) of x by its position's angle.

    Args:
        x: (batch, heads, time, head_dim)
        cos, sin: (time, head_dim / 2)
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class KeyValueCache:
    """Keys and values of the positions seen so far, for one layer; memory for `capacity` positions is taken once."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, heads, new, head_dim) each; everything so far, (batch, heads, length, head_dim) each."""
        if self._keys is None or self._values is None:
            batch, heads, _, head_dim = keys.shape
            self._keys = keys.new_empty(batch, heads, self.capacity, head_dim)
            self._values = values.new_empty(batch, heads, self.capacity, head_dim)
        end = self.length + keys.shape[2]
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]


class Attention(nn.Module):
    """Causal self-attention over n_heads views, with rotary positions."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        batch, time, d_model = x.shape
        qkv = self.qkv(x).view(batch, time, 3, self.n_heads, d_model // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, time, head_dim)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        first_call = cache is None or cache.length == 0
        if cache is not None:
            k, v = cache.extend(k, v)
        if first_call:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:  # is_causal would align the mask with the first key instead of the last
            seen = k.shape[2]
            mask = torch.ones(time, seen, dtype=torch.bool, device=x.device).tril(seen - time)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(batch, time, d_model)
        return cast(Tensor, self.out(mixed))


class FeedForward(nn.Module):
    """SwiGLU: silu(x W_gate) * (x W_up), then W_down; inner width 4 d_model."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 8 * d_model, bias=False)
        self.down = nn.Linear(4 * d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # each (batch, time, 4 d_model)
        return cast(Tensor, self.down(F.silu(gate) * up))


class Block(nn.Module):
    """One layer: x + attention(norm x), then x + feed_forward(norm x)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(d_model)
        self.attention = Attention(d_model, n_heads)
        self.feed_forward_norm = nn.RMSNorm(d_model)
        self.feed_forward = FeedForward(d_model)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin, cache)
        return x + cast(Tensor, self.feed_forward(self.feed_forward_norm(x)))

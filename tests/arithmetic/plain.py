"""The published model as a plain transformer over all positions: what ArithmeticModel must agree with."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PlainBlock(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = nn.MultiheadAttention(d_model, n_heads)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x: Tensor) -> Tensor:
        """(time, batch, d_model) -> the same."""
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        x = self.ln_1(x)
        x = x + self.attn(x, x, x, attn_mask=future, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class PlainModel(nn.Module):
    def __init__(self, modulus: int, d_model: int, n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.modulus = modulus
        self.token_embeddings = nn.Embedding(modulus + 2, d_model)
        self.position_embeddings = nn.Embedding(5, d_model)
        self.layers = nn.ModuleList(PlainBlock(d_model, n_heads) for _ in range(n_layers))
        self.ln_f = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, modulus + 2, bias=False)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Logits after the last of `left operation right =`, (n, modulus + 2)."""
        equals = torch.full_like(left, self.modulus)
        tokens = torch.stack((left, equals + 1, right, equals))  # (4, n)
        x = self.token_embeddings(tokens) + self.position_embeddings(torch.arange(4)).unsqueeze(1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln_f(x))[-1]

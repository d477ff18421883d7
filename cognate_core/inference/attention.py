"""Which positions each position of a text looks at, recomputed beside a forward pass: the pass itself stays as it is.

It handles only tensors. Scaled dot-product attention (arXiv 1706.03762) does not tell its weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from cognate_core.model import CognateModel
from cognate_core.model.key_value_cache import KeyValueCache
from cognate_core.model.layers import Attention, Block, rotate
from cognate_core.model.rows import Rows


@torch.no_grad()
def attention_weights(model: CognateModel, ids: Sequence[int]) -> Tensor:
    """Each layer's attention weights, the mean over its heads, (layers, time, time): row t is what position t looks at.

    A token that ponders looks several times; its last time counts.
    """
    looks = torch.zeros(len(model.blocks), len(ids), len(ids))
    # The modules are copied, the weights shared: a text that another thread reads passes no hook.
    shared: dict[int, Any] = {id(each): each for each in (*model.parameters(), *model.buffers())}
    watched = copy.deepcopy(model, shared)
    for layer, block in enumerate(watched.blocks):

        def keep(
            attention: Attention, given: tuple[Any, ...], result: tuple[Tensor, KeyValueCache], layer: int = layer
        ) -> None:
            x, rows = given[:2]
            weights = layer_weights(attention, x, rows, result[1])[0].mean(0)  # (rows, seen)
            chunk = rows.chunk
            index = torch.arange(chunk.time) if rows.index is None else rows.index
            first_seen = chunk.start - chunk.before
            looks[layer, chunk.start + index, first_seen : first_seen + weights.shape[1]] = weights

        cast(Block, block).attention.register_forward_hook(keep)
    watched(torch.tensor([ids]))
    return looks


def layer_weights(attention: Attention, x: Tensor, rows: Rows, cache: KeyValueCache) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)), (batch, heads, widest, seen), of one layer's attention.

    Args:
        x, rows: what the layer was given.
        cache: what it returned: the keys and values that the rows could see.
    """
    heads = attention.n_heads
    query = attention.qkv(x).view(len(x), 3, heads, -1)[:, 0]  # (rows, heads, head_dim)
    query = rotate(query, rows.cos.to(query.dtype), rows.sin.to(query.dtype))
    queries = rows.spread(query).transpose(1, 2)  # (batch, heads, widest, head_dim)
    keys = cache.tensor[:, :, 0].transpose(1, 2)  # (batch, heads, seen, head_dim)
    scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])
    if rows.mask is not None:
        scores = scores.masked_fill(~rows.mask[:, None], -math.inf)
    elif rows.chunk.time > 1:
        scores = scores.masked_fill(scores.new_ones(scores.shape[-2:]).triu(1).bool(), -math.inf)
    return scores.softmax(-1)

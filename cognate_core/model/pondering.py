"""Adaptive computation time: how often each token goes through the core layers.

In reading and writing, each token halts by itself. In training, all tokens of a batch take the same number of steps:
keys and values of halted tokens need not be copied from step to step.

Based on Graves 2016 (arXiv 1603.08983) and the Universal Transformer (arXiv 1807.03819). It handles only tensors; the
computation of a step is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FIRST_HALTING_PROBABILITY = 0.25
SURE = 100.0  # a bias larger than any weight's effect: the halting probability is 1


@dataclass(frozen=True, slots=True)
class Pondered:
    """Result of pondering.

    Attributes:
        states: (tokens, d_model).
        steps: (tokens,), how often each went through the core.
        cost: (tokens,), N + R of the paper.
        asked: (tokens,), how many steps each asked for by its halting probabilities: one more than it got if those
            were not enough. None if each token halts by itself.
    """

    states: Tensor
    steps: Tensor
    cost: Tensor
    asked: Tensor | None = None


class Pondering(nn.Module):
    """s_n = core(s_(n-1) + e + step_embedding_n), halted at the first n where h_1 + ... + h_n reaches the threshold.

    The result is sum p_n s_n with p_n = h_n, except the last p_n, which is the remainder to 1.
    """

    def __init__(self, d_model: int, max_steps: int, threshold: float) -> None:
        super().__init__()
        self.max_steps, self.threshold = max_steps, threshold
        self.norm = nn.RMSNorm(d_model)
        self.halting = nn.Linear(d_model, 1)
        self.step_embedding = nn.Parameter(torch.empty(max_steps, d_model))

    def initialise(self) -> None:
        """Start with about the same halting probability for every token."""
        nn.init.constant_(self.halting.bias, math.log(FIRST_HALTING_PROBABILITY / (1 - FIRST_HALTING_PROBABILITY)))

    def suspend(self) -> None:
        """Let every token halt after its first step, until `resume`. This is stored in the weights."""
        nn.init.constant_(self.halting.bias, SURE)

    def resume(self) -> None:
        """Start to ponder, if it was suspended."""
        if float(self.halting.bias.detach()) == SURE:
            self.initialise()

    def forward(self, e: Tensor, core: Callable[[Tensor, Tensor | None], Tensor], limit: int) -> Pondered:
        """Ponder until no token is active.

        Args:
            e: (tokens, d_model), the input.
            core: core(x, index) returns the next states of the tokens at `index` (None: of all), (rows, d_model).
            limit: the most steps of a token; max_steps limits them, too.
        """
        limit = min(limit, self.max_steps)
        tokens = len(e)
        index: Tensor | None = None
        state, entry = e, e
        halted_sum = e.new_zeros(tokens, dtype=torch.float32)  # h_1 + ... + h_(n-1) of the active tokens
        every = torch.arange(tokens, device=e.device)
        rows: list[Tensor] = []
        shares: list[Tensor] = []  # p_n s_n; `rows` has their tokens
        ended: list[Tensor] = []
        costs: list[Tensor] = []
        steps = torch.zeros(tokens, dtype=torch.long, device=e.device)
        for n in range(1, limit + 1):
            state = core(state + entry + self.step_embedding[n - 1], index)
            active = every if index is None else index
            probability = torch.sigmoid(self.halting(self.norm(state)).float()).squeeze(-1)
            remainder = 1 - halted_sum
            total = halted_sum + probability
            halts = total >= self.threshold if n < limit else torch.ones_like(total, dtype=torch.bool)
            rows.append(active)
            shares.append(torch.where(halts, remainder, probability)[:, None] * state)
            ended.append(active[halts])
            costs.append(n + remainder[halts])
            steps[ended[-1]] = n
            if len(ended[-1]) == len(active):
                break
            if not len(ended[-1]):  # none halted: all rows stay
                halted_sum = total
                continue
            going = ~halts
            index, state, entry, halted_sum = active[going], state[going], entry[going], total[going]
        states = torch.zeros_like(shares[0]).index_add(0, torch.cat(rows), torch.cat(shares))
        cost = halted_sum.new_zeros(tokens).index_copy(0, torch.cat(ended), torch.cat(costs))
        return Pondered(states, steps, cost)

    def together(self, e: Tensor, core: Callable[[Tensor, Tensor | None], Tensor], depth: int) -> Pondered:
        """Take all tokens through `depth` steps, at most max_steps.

        A token's result and cost are as if it had halted by itself, at `depth` at the latest: its later steps affect
        only the keys and values that other tokens see.
        """
        depth = min(depth, self.max_steps)
        state, result = e, torch.zeros_like(e)
        halted_sum = e.new_zeros(len(e), dtype=torch.float32)
        cost, active = torch.zeros_like(halted_sum), torch.ones_like(halted_sum, dtype=torch.bool)
        asked = torch.ones_like(active, dtype=torch.long)
        for n in range(1, depth + 1):
            state = core(state + e + self.step_embedding[n - 1], None)
            probability = torch.sigmoid(self.halting(self.norm(state)).float()).squeeze(-1)
            remainder, halted_sum = 1 - halted_sum, halted_sum + probability
            going = active & (halted_sum < self.threshold)
            halts = active & ~going if n < depth else active
            share = torch.where(halts, remainder, probability).where(active, 0.0)
            result = torch.addcmul(result, share[:, None], state)
            cost = (n + remainder).where(halts, cost)
            asked, active = asked + going, going
        return Pondered(result, torch.full_like(asked, depth), cost, asked)

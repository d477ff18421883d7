"""Choosing the next token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cognate_core.model.memory import MemoryReads


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """A token that the model wrote, and how it chose it.

    Attributes:
        id: the token.
        probability: the model's probability for it, before temperature and top_p.
        ponder_steps: how often it went through the core; None without pondering.
        memory_reads: what it read, for one text and one position; None without memory.
    """

    id: int
    probability: float
    ponder_steps: int | None
    memory_reads: MemoryReads | None


def choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Draw a token id from logits, (vocab_size,). Temperature 0 takes the likeliest; top_p as in arXiv 1904.09751."""
    if temperature == 0:
        return int(logits.argmax())
    probabilities = F.softmax(logits / temperature, dim=-1)
    if top_p < 1:
        # Tokens below this have less than (1 - top_p) / 2 together: none is kept, and only the others need sorting.
        # The half allows for rounding.
        least = (1 - top_p) / 2 / len(probabilities)
        candidates = (probabilities >= least).nonzero().squeeze(1)
        ordered, order = probabilities[candidates].sort(descending=True)
        # Keep a token if those before it have less than top_p together; always keep the likeliest.
        left_out = ordered.cumsum(0) - ordered >= top_p
        left_out[:1] = False
        ordered[left_out] = 0
        probabilities = torch.zeros_like(probabilities).scatter(0, candidates[order], ordered)
    return int(torch.multinomial(probabilities, 1, generator=generator))

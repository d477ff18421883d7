"""Long-term memory: a bank of notes for each row of a batch, read by some or all layers, written after each segment.

Based on Memorizing Transformers (arXiv 2203.08913); surprise, as in Titans (arXiv 2501.00663), decides what is kept.
A segment reads only what earlier segments of the same text wrote. This module handles only tensors; CognateModel
decides when a segment ends and what surprised the model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cognate_core.model.rows import Rows

NOTHING = -1  # a slot number or position where nothing was read
EARLIER = -2  # the position of a note from a text before this one
SAME = 0.95  # notes more similar than this (mean cosine of keys and of values) are merged
LEAST_NOVELTY = 1e-4
USAGE_KEPT = 0.9  # the share of a note's usage kept at each segment
MAX_SURPRISE = 4.0  # standard deviations
FIRST_GATE_BIAS = -2.0
FIRST_SCALE = 10.0  # of the cosine, before the softmax


@dataclass(frozen=True, slots=True)
class MemoryBank:
    """The notes of each row of a batch. A slot with log_weights of -inf is empty.

    Attributes:
        keys: (batch, slots, d_mem) of length 1.
        values: (batch, slots, d_mem).
        log_weights: (batch, slots), how strongly each was written; in the graph within one text.
        usage: (batch, slots), the attention it received, decaying.
        age: (batch, slots), segments since it was written.
        positions: (batch, slots), those of the tokens that wrote them.
        tokens: (batch, slots), the id of that token.
    """

    keys: Tensor
    values: Tensor
    log_weights: Tensor
    usage: Tensor
    age: Tensor
    positions: Tensor
    tokens: Tensor

    @classmethod
    def empty(cls, batch: int, d_mem: int, device: torch.device) -> MemoryBank:
        """A bank without slots."""
        features = torch.zeros(batch, 0, d_mem, device=device)
        numbers = torch.zeros(batch, 0, device=device)
        counts = torch.zeros(batch, 0, dtype=torch.long, device=device)
        return cls(features, features, numbers, numbers, counts, counts, counts)

    @property
    def slots(self) -> int:
        return self.keys.shape[1]

    @property
    def filled(self) -> Tensor:
        """(batch, slots), True where there is a note."""
        return self.log_weights > -torch.inf

    def carried(self) -> MemoryBank:
        """The same notes for another text, where their positions have no meaning."""
        return dataclasses.replace(self, positions=torch.full_like(self.positions, EARLIER))

    def take(self, index: Tensor) -> MemoryBank:
        """The slots at `index`, (batch, kept), of each row."""

        def of(x: Tensor) -> Tensor:
            return x.gather(1, index if x.dim() == 2 else index[..., None].expand(-1, -1, x.shape[-1]))

        return MemoryBank(*(of(getattr(self, field.name)) for field in dataclasses.fields(self)))


@dataclass(frozen=True, slots=True)
class MemoryView:
    """What one layer sees of the bank during one chunk.

    Attributes:
        keys: (batch, slots, d_mem) of length 1, in this layer's projection.
        readable: (batch * time,) False for tokens of a later text than the one that wrote the bank; None: there are
            no such tokens.
    """

    bank: MemoryBank
    keys: Tensor
    readable: Tensor | None
    topk: int


@dataclass(frozen=True, slots=True)
class Read:
    """What the rows of one layer read, outside the graph.

    Attributes:
        slots: (rows, topk) slot numbers, NOTHING if there were fewer.
        weights: (rows, topk) their shares of the attention.
        null: (rows,) the share that went to no note.
        gate: (rows,) mean of the gate: 0 closed, 1 open.
    """

    slots: Tensor
    weights: Tensor
    null: Tensor
    gate: Tensor

    def updated(self, rows: Rows, newer: Read) -> Read:
        """A copy with what some of the rows read later."""
        return Read(
            rows.put(newer.slots, self.slots),
            rows.put(newer.weights, self.weights),
            rows.put(newer.null, self.null),
            rows.put(newer.gate, self.gate),
        )


class MemoryReader(nn.Module):
    """One layer's cross-attention to the bank: sigmoid(gate(h)) * W_o W_v sum(a v) over the best notes."""

    def __init__(self, d_model: int, d_mem: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(d_model)
        self.query = nn.Linear(d_model, d_mem, bias=False)
        self.key = nn.Linear(d_mem, d_mem, bias=False)
        self.value = nn.Linear(d_mem, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.gate = nn.Linear(d_model, d_model)
        self.null_key = nn.Parameter(torch.empty(d_mem))
        self.null_value = nn.Parameter(torch.empty(d_mem))
        self.log_scale = nn.Parameter(torch.empty(()))

    def initialise(self, writer: MemoryWriter) -> None:
        """Start with the gate nearly closed, an empty null slot, and queries that find similar contexts."""
        self.query.weight.data.copy_(writer.key.weight)
        nn.init.eye_(self.key.weight)
        nn.init.normal_(self.value.weight, std=self.value.in_features**-0.5)
        nn.init.constant_(self.gate.bias, FIRST_GATE_BIAS)
        nn.init.normal_(self.null_key)
        nn.init.zeros_(self.null_value)
        nn.init.constant_(self.log_scale, math.log(FIRST_SCALE))

    def keys(self, bank: MemoryBank) -> Tensor:
        """The bank's keys in this layer's projection: (batch, slots, d_mem) of length 1."""
        return F.normalize(self.key(bank.keys).float(), dim=-1, eps=1e-6)

    def forward(self, x: Tensor, rows: Rows, view: MemoryView) -> tuple[Tensor, Read]:
        """x: (rows, d_model). Returns what to add to it, (rows, d_model), and what was read."""
        normed = self.norm(x)
        query = self.query(normed).float()
        with torch.autocast(x.device.type, enabled=False):  # cosines near 1 need more precision than bf16 has
            recalled, slots, shares = self._look_up(query, rows, view)
        gate = torch.sigmoid(self.gate(normed))  # (rows, d_model)
        return gate * self.out(self.value(recalled)), _read(slots, shares.detach(), gate.detach(), view.topk)

    def _look_up(self, query: Tensor, rows: Rows, view: MemoryView) -> tuple[Tensor, Tensor, Tensor]:
        """What was recalled, (rows, d_mem), the slots, (rows, k), and shares, (rows, k + 1), the null slot's last."""
        query = self.log_scale.exp() * F.normalize(query, dim=-1, eps=1e-6)
        null = (query @ F.normalize(self.null_key, dim=0, eps=1e-6))[:, None]  # (rows, 1)
        k = min(view.topk, view.bank.slots)
        if not k:
            slots = torch.zeros(len(query), 0, dtype=torch.long, device=query.device)
            return self.null_value.expand(len(query), -1), slots, torch.ones_like(null)
        scores = rows.spread(query) @ view.keys.transpose(1, 2) + view.bank.log_weights[:, None]
        scores = rows.gather(scores)  # (rows, slots)
        if view.readable is not None:
            scores = scores.masked_fill(~rows.of(view.readable)[:, None], -torch.inf)
        best, slots = scores.topk(k, dim=-1)
        found = slots.where(best > -torch.inf, NOTHING)
        shares = torch.cat((best, null), dim=-1).softmax(-1)
        attention = torch.zeros_like(scores).scatter(1, slots, shares[:, :k])
        recalled = rows.gather(rows.spread(attention) @ view.bank.values)
        return recalled + shares[:, k:] * self.null_value, found, shares


def _read(slots: Tensor, shares: Tensor, gate: Tensor, topk: int) -> Read:
    """`shares` has the null slot last."""
    k = slots.shape[1]
    missing = (0, topk - k)
    return Read(
        F.pad(slots, missing, value=NOTHING), F.pad(shares[:, :k], missing), shares[:, k].clone(), gate.mean(-1)
    )


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """The tokens read so far of a segment.

    Attributes:
        contexts: (batch, time, d_model), early states (after the prelude) at the token before each.
        states: (batch, time, d_model), early states at each token.
        surprise: (batch, time), how unexpected each token was, in nats; NaN where unknown.
        tokens: (batch, time).
        opens: (batch, time), True where a new text starts.
    """

    contexts: Tensor
    states: Tensor
    surprise: Tensor
    tokens: Tensor
    opens: Tensor


class MemoryWriter(nn.Module):
    """Chooses the tokens of a segment to note: largest w = sigmoid(slope * surprise + offset) * novelty.

    A note's key is the context before a token and its value describes that token, as in kNN language models
    (arXiv 1911.00172). Both come from early states: final states are similar wherever the same token is expected next
    (docs/experiments.md).

    `surprise_mean` and `surprise_variance` follow the model's own loss in training, and are fixed afterwards.

    Attributes:
        over_all: turns sums over the rows of this process, (3,), into sums over all rows of the batch, if several
            processes share it.
    """

    def __init__(self, d_model: int, d_mem: int, writes: int, capacity: int, first_surprise: float) -> None:
        super().__init__()
        self.writes, self.capacity = writes, capacity
        self.over_all: Callable[[Tensor], Tensor] = lambda sums: sums
        self.norm = nn.RMSNorm(d_model)
        self.key = nn.Linear(d_model, d_mem, bias=False)
        self.value = nn.Linear(d_model, d_mem, bias=False)
        self.slope = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(()))
        self.surprise_mean: Tensor
        self.surprise_variance: Tensor
        self.register_buffer("surprise_mean", torch.tensor(first_surprise))
        self.register_buffer("surprise_variance", torch.tensor(1.0))

    def initialise(self) -> None:
        """Start with values as large as the states they come from."""
        nn.init.normal_(self.value.weight, std=self.value.in_features**-0.5)

    @torch.no_grad()
    def follow(self, surprise: Tensor, momentum: float = 0.05) -> None:
        """Update the running mean and variance with these losses (nats), (n,), unless one is not a number."""
        wide = surprise.double()
        sums = torch.stack((torch.tensor(len(wide), dtype=wide.dtype), wide.sum(), wide.square().sum()))
        count, total, squares = self.over_all(sums)
        if count and squares.isfinite():
            mean = total / count
            self.surprise_mean.lerp_(mean.to(self.surprise_mean.dtype), momentum)
            # The mean of (surprise - running mean)^2
            spread = squares / count - mean.square() + (mean - self.surprise_mean).square()
            self.surprise_variance.lerp_(spread.to(self.surprise_variance.dtype), momentum)

    def forward(
        self, bank: MemoryBank, segment: SegmentPart, usable: Tensor, positions: Tensor
    ) -> tuple[MemoryBank, Tensor]:
        """Write one segment: a note's key is the context before a token, its value the state at it.

        Args:
            usable: (batch, time), False for tokens that must not be noted.
            positions: (batch, time).

        Returns:
            the new bank, and the number of tokens noted in each row, (batch,).
        """
        keys = F.normalize(self.key(self.norm(segment.contexts)).float(), dim=-1, eps=1e-6)
        spread = (self.surprise_variance + 1e-6).sqrt()
        standard = ((segment.surprise - self.surprise_mean) / spread).nan_to_num(0.0).clamp(-MAX_SURPRISE, MAX_SURPRISE)
        values = self.value(self.norm(segment.states)).float()
        novelty = torch.ones_like(standard)
        if bank.slots:
            likeness = _likeness(keys, values, bank).masked_fill(~bank.filled[:, None], -1.0)
            novelty = 1 - likeness.amax(-1)
        log_weights = F.logsigmoid(self.slope * standard + self.offset) + novelty.clamp(LEAST_NOVELTY, 1).log()
        log_weights = log_weights.masked_fill(~usable, -torch.inf)
        chosen = log_weights.topk(min(self.writes, usable.shape[1]), dim=-1).indices  # (batch, new), best first
        older = dataclasses.replace(bank, usage=bank.usage * USAGE_KEPT, age=bank.age + 1)
        usual = older.usage.where(older.filled, 0.0).sum(-1) / older.filled.sum(-1).clamp_min(1)  # (batch,)
        candidates = MemoryBank(
            keys,
            values,
            log_weights,
            usual.clamp_min(1.0)[:, None].expand_as(standard),  # as if read as often as the others
            torch.zeros_like(positions),
            positions,
            segment.tokens,
        )
        new = candidates.take(chosen)
        noted = new.filled.sum(-1)
        return self._kept(_merged(joined((older, new)), older.slots)), noted

    def _kept(self, bank: MemoryBank) -> MemoryBank:
        """At most `capacity` notes, those with the largest usage * weight, without slots that are empty in all rows."""
        fullest = int(bank.filled.sum(-1).max()) if bank.slots else 0
        worth = bank.usage.log() + bank.log_weights.detach()
        best = worth.topk(min(fullest, self.capacity), dim=-1).indices
        return bank.take(best.sort(dim=-1).values)


@torch.no_grad()
def _likeness(keys: Tensor, values: Tensor, bank: MemoryBank) -> Tensor:
    """Mean of the cosines of keys and of values with each note: (batch, time, slots)."""
    with torch.autocast(keys.device.type, enabled=False):
        by_key = keys @ bank.keys.transpose(1, 2)
        by_value = F.normalize(values, dim=-1, eps=1e-6) @ F.normalize(bank.values, dim=-1, eps=1e-6).transpose(1, 2)
    return (by_key + by_value) / 2


def _merged(bank: MemoryBank, old: int) -> MemoryBank:
    """Merge each note from slot `old` on into the nearest earlier one if they are nearly the same.

    The merged note has their weighted mean as key and value, the larger weight, and the first one's position and token.
    """
    slots = torch.arange(bank.slots, device=bank.keys.device)
    earlier = slots < slots[old:, None]  # (new, slots)
    both_filled = bank.filled[:, None] & bank.filled[:, old:, None]
    likeness = _likeness(bank.keys[:, old:], bank.values[:, old:], bank).masked_fill(~(earlier & both_filled), -1.0)
    closest, nearest = likeness.max(-1)  # (batch, new)
    joins = closest > SAME
    if not joins.any():
        return bank
    heads = slots.repeat(len(bank.keys), 1)
    heads[:, old:] = nearest.where(joins, heads[:, old:])
    while not torch.equal(heads, heads.gather(1, heads)):  # a note merged into one that is itself merged
        heads = heads.gather(1, heads)
    weights = bank.log_weights.exp()
    totals = torch.zeros_like(weights).scatter_add(1, heads, weights).clamp_min(1e-20)

    def mean(x: Tensor) -> Tensor:
        index = heads[..., None].expand_as(x)
        return torch.zeros_like(x).scatter_add(1, index, weights[..., None] * x) / totals[..., None]

    largest = torch.full_like(weights, -torch.inf).scatter_reduce(1, heads, bank.log_weights, "amax")
    return dataclasses.replace(
        bank,
        keys=F.normalize(mean(bank.keys), dim=-1, eps=1e-6),
        values=mean(bank.values),
        log_weights=largest.masked_fill(heads != slots, -torch.inf),
    )


def used(bank: MemoryBank, slots: Tensor, weights: Tensor) -> MemoryBank:
    """The bank with these reads added to its usage. slots, weights: (batch, reads)."""
    mass = weights.where(slots >= 0, 0.0)
    usage = bank.usage.scatter_add(1, slots.clamp_min(0), mass.to(bank.usage.dtype)) if bank.slots else bank.usage
    return dataclasses.replace(bank, usage=usage)


def cleared(bank: MemoryBank, rows: Tensor) -> MemoryBank:
    """The bank without the notes of some rows. rows: (batch,), True where they are removed."""
    return dataclasses.replace(bank, log_weights=bank.log_weights.masked_fill(rows[:, None], -torch.inf))


@dataclass(frozen=True, slots=True)
class Source:
    """A note that a token read.

    Attributes:
        position: where in the text the note was written; EARLIER: in a text before this one.
        token: the id of the token that wrote it.
        share: mean over the layers of the note's share of the attention, perhaps times the layer's gate.
    """

    position: int
    token: int
    share: float


@dataclass(frozen=True, slots=True)
class MemoryReads:
    """What each token read in each layer, at its last ponder step.

    Attributes:
        positions: (batch, time, n_layers, topk), where in the text the note was written, NOTHING for none.
        tokens: (batch, time, n_layers, topk), the id of the token that wrote it, NOTHING for none.
        weights: (batch, time, n_layers, topk), its share of the attention.
        null: (batch, time, n_layers), the share that went to no note.
        gate: (batch, time, n_layers), how far the layer's gate was open, 0 to 1.
    """

    positions: Tensor
    tokens: Tensor
    weights: Tensor
    null: Tensor
    gate: Tensor

    def at(self, time: int) -> MemoryReads:
        """Those of one position; the dimension is kept."""
        return MemoryReads(*(getattr(self, field.name)[:, time][:, None] for field in dataclasses.fields(self)))

    def sources(self, row: int, time: int, *, gated: bool = True) -> list[Source]:
        """Which notes one token read, in all layers together, most read first. gated: closed layers count less."""
        weights = self.weights[row, time]  # (n_layers, topk)
        if gated:
            weights = weights * self.gate[row, time, :, None]
        shares: dict[tuple[int, int], float] = {}
        columns = (self.positions[row, time], self.tokens[row, time], weights / weights.shape[0])
        for position, token, share in zip(*(column.flatten().tolist() for column in columns), strict=True):
            if token != NOTHING:
                shares[position, token] = shares.get((position, token), 0.0) + share
        best = sorted(shares.items(), key=lambda item: -item[1])
        return [Source(position, token, share) for (position, token), share in best]


T = TypeVar("T", MemoryBank, SegmentPart, MemoryReads)


def joined(pieces: Sequence[T]) -> T:
    """Concatenate along the second dimension."""
    names = [field.name for field in dataclasses.fields(pieces[0])]
    return type(pieces[0])(*(torch.cat([getattr(piece, name) for piece in pieces], dim=1) for name in names))


def described(bank: MemoryBank, reads: list[Read], batch: int) -> MemoryReads:
    """The reads of all tokens of a chunk, one Read per layer, with the positions and tokens of the slots."""
    slots = torch.stack([read.slots for read in reads], dim=1)  # (batch * time, n_layers, topk)
    shape = (batch, -1, *slots.shape[1:])
    flat = slots.view(batch, -1)

    def of(x: Tensor) -> Tensor:
        found = x.gather(1, flat.clamp_min(0)) if bank.slots else torch.full_like(flat, NOTHING)
        return found.where(flat >= 0, NOTHING).view(shape)

    def stacked(name: str) -> Tensor:
        together = torch.stack([cast(Tensor, getattr(read, name)) for read in reads], dim=1)
        return together.view(batch, -1, *together.shape[1:])

    return MemoryReads(of(bank.positions), of(bank.tokens), stacked("weights"), stacked("null"), stacked("gate"))

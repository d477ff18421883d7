"""Takes a chunk through some of the model's layers, repeatedly through the core; keeps what the next chunk needs.

It handles only tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cognate_core.model.key_value_cache import KeyValueCache
from cognate_core.model.memory import MemoryBank, MemoryReader, MemoryView, Read, used
from cognate_core.model.pondering import Pondered
from cognate_core.model.rows import Chunk, Rows
from cognate_core.model.state import CognateState

if TYPE_CHECKING:
    from cognate_core.model.cognate import CognateModel

Ponder = Callable[[Tensor, Callable[[Tensor, Tensor | None], Tensor]], Pondered]
"""How tokens ponder: takes the input, (tokens, d_model), and the core, as in Pondering."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Tokens after some layers.

    Attributes:
        states: (batch, time, d_model).
        early: (batch, time, d_model), those after the prelude; None: it is not reached yet.
        steps, cost, asked: (batch, time), of pondering.
    """

    states: Tensor
    early: Tensor | None = None
    steps: Tensor | None = None
    cost: Tensor | None = None
    asked: Tensor | None = None

    def at(self, here: slice) -> Passed:
        """Those of a time slice."""
        parts = (self.early, self.steps, self.cost, self.asked)
        return Passed(self.states[:, here], *(None if part is None else part[:, here] for part in parts))


class Layers:
    """Takes one chunk through some of the blocks; leaves keys and values in the state for the next chunk."""

    def __init__(
        self, model: CognateModel, state: CognateState, opens: Tensor, since: Tensor | None, layers: range
    ) -> None:
        config = model.config
        batch, time = opens.shape
        before = min(state.position, config.attention_window - 1)
        if since is not None and int(since.max()) <= state.position - before:
            since = None  # attention sees only one document
        head_dim, device = config.d_model // config.n_heads, opens.device
        self._chunk = Chunk(batch, time, state.position, before, config.attention_window, head_dim, device, since)
        self._model, self._state, self._layers, self.opens = model, state, layers, opens
        self._caches: dict[int, list[KeyValueCache]] = {layer: [] for layer in layers}  # by ponder step
        self._reads: dict[int, Read] = {}
        self._views: dict[int, MemoryView] = {}
        bank = state.bank
        if bank is not None and layers.stop > model.readers.start:
            earlier = [part.opens.any(1) for part in state.segment]
            begun = torch.stack(earlier).any(0) if earlier else torch.zeros_like(opens[:, 0])
            later = ((opens.cumsum(1) > 0) | begun[:, None]).flatten()
            readable = ~later if later.any() else None
            if not state.memory_keys:
                readers = [cast(MemoryReader, model.blocks[layer].memory) for layer in model.readers]
                state.memory_keys = [reader.keys(bank) for reader in readers]
            self._views = {
                layer: MemoryView(bank, keys, readable, config.mem_topk)
                for layer, keys in zip(model.readers, state.memory_keys, strict=True)
            }

    @property
    def reads(self) -> list[Read]:
        """What each layer read, at the last ponder step of each token."""
        return [self._reads[layer] for layer in sorted(self._reads)]

    def run(self, passed: Passed, ponder: Ponder | None) -> Passed:
        """Take the results of earlier layers through these, repeatedly through the core if it is among them."""
        if not self._layers:
            return passed
        states, early, pondered = passed.states, passed.early, None
        x, core, every = states.flatten(0, 1), self._model.core, self._chunk.rows()
        behind = self._layers
        if core.start in self._layers:
            x = self._through(range(core.start), x, every)
            early = x.view_as(states)
            if ponder is None:
                x = self._through(core, x, every)
            else:

                def go_through(x: Tensor, index: Tensor | None) -> Tensor:
                    return self._through(core, x, every if index is None else self._chunk.rows(index))

                pondered = ponder(x, go_through)
                x = pondered.states
            behind = range(core.stop, self._layers.stop)
        x = self._through(behind, x, every)
        self._keep()
        figures = (passed.steps, passed.cost, passed.asked)
        if pondered is not None:
            figures = (pondered.steps, pondered.cost, pondered.asked)
        shape = states.shape[:2]
        return Passed(x.view_as(states), early, *(None if each is None else each.view(shape) for each in figures))

    def _through(self, layers: range, x: Tensor, rows: Rows) -> Tensor:
        """Take x, (rows, d_model), through some layers."""
        for layer in layers:
            x = self._block(layer, x, rows)
        return x

    def _block(self, layer: int, x: Tensor, rows: Rows) -> Tensor:
        block, own = self._model.blocks[layer], self._caches[layer]
        past = self._past(layer, len(own))
        arguments = (x, rows, past, own[-1] if own else None, self._views.get(layer))
        if self._model.training and self._model.config.gradient_checkpointing and torch.is_grad_enabled():
            x, cache, read = checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            x, cache, read = block(*arguments)
        own.append(cache)
        if read is not None:
            self._reads[layer] = self._reads[layer].updated(rows, read) if layer in self._reads else read
        return x

    def _past(self, layer: int, step: int) -> KeyValueCache | None:
        """What earlier chunks left for this ponder step; if they took fewer steps, what their last one left."""
        if not self._chunk.before:
            return None
        steps = self._state.cache[layer]
        return steps[min(step, len(steps) - 1)]

    def _keep(self) -> None:
        """Leave keys and values for the next chunk."""
        cache = list(self._state.cache)  # a copy of the earlier state does not change
        for layer, own in self._caches.items():
            for step in range(len(own), len(self._state.cache[layer]) if self._chunk.before else 0):
                past = cast(KeyValueCache, self._past(layer, step))
                own.append(past.followed_by(own[-1].tensor[:, -self._chunk.time :], self._chunk.before))
            cache[layer] = own
        self._state.cache = cache

    def used_bank(self) -> MemoryBank:
        """The bank, with these reads added to the usage of its notes."""
        reads, batch = self.reads, self._chunk.batch
        slots = torch.cat([read.slots.view(batch, -1) for read in reads], dim=1)
        weights = torch.cat([read.weights.view(batch, -1) for read in reads], dim=1)
        return used(cast(MemoryBank, self._state.bank), slots, weights)

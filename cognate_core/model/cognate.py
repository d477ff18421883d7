"""CognateModel: the decoder that reads tokens and predicts the next one, pondering and remembering as it goes.

It handles only tensors. Models are saved and loaded as safetensors and JSON; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.model.generation import GeneratedToken, choose
from cognate_core.model.head_loss import head_loss
from cognate_core.model.layers import Block
from cognate_core.model.memory import (
    MemoryBank,
    MemoryReader,
    MemoryReads,
    MemoryWriter,
    SegmentPart,
    cleared,
    described,
    joined,
)
from cognate_core.model.passing import Layers, Passed, Ponder
from cognate_core.model.pondering import Pondering
from cognate_core.model.shape import ARCHITECTURE_FIELDS, core_layers, read_shape, reading_layers
from cognate_core.model.state import CognateOutput, CognateState, LossCounts, MemoryFigures

IGNORED_TARGET = -100
"""A target with this value does not count in the loss (padding, prompt tokens)."""


class CognateModel(nn.Module):
    """A pre-norm decoder with rotary positions, SwiGLU and an untied head.

    With pondering (ACT), its layers are a prelude, a core that each token goes through as often as it needs, and a
    coda. With long-term memory (LTM), text goes in segments through the layers that read what earlier segments wrote,
    and through those after them.

    Weights start from N(0, 0.02^2); those that write to the residual stream from N(0, 0.02^2 / (2 n_layers)), as in
    GPT-2.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.core, self.readers = core_layers(config.n_layers), reading_layers(config)
        self.blocks = nn.ModuleList(
            Block(config.d_model, config.n_heads, config.d_mem if layer in self.readers else None)
            for layer in range(config.n_layers)
        )
        # The number of layers without segments: those before the first reader, if it is behind the core; else none.
        self.unsegmented = self.readers.start if self.readers.start >= self.core.stop else 0
        self.pondering = (
            Pondering(config.d_model, config.max_act_steps, config.act_threshold) if config.act_enabled else None
        )
        self.final_norm = nn.RMSNorm(config.d_model)
        self.writer = (
            MemoryWriter(
                config.d_model, config.d_mem, config.mem_writes, config.mem_capacity, math.log(config.vocab_size)
            )
            if config.ltm_enabled
            else None
        )
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        residual_std = 0.02 / (2 * self.config.n_layers) ** 0.5
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                writes_residual = name.endswith(
                    ("attention.out.weight", "memory.out.weight", "feed_forward.down.weight")
                )
                nn.init.normal_(weight, std=residual_std if writes_residual else 0.02)
        if self.pondering is not None:
            self.pondering.initialise()
        if self.writer is not None:
            self.writer.initialise()
            for layer in self.readers:
                cast(MemoryReader, self.blocks[layer].memory).initialise(self.writer)

    def forward(
        self,
        input_ids: Tensor,
        targets: Tensor | None = None,
        state: CognateState | None = None,
        *,
        max_ponder_steps: int | None = None,
        ponder_depth: int | None = None,
        ponder_weight: float | None = None,
        keep_logits: bool = True,
        loss_counts: LossCounts | None = None,
    ) -> CognateOutput:
        """Predict the token after each position.

        Args:
            input_ids: (batch, time) token ids; time is at least 1.
            targets: (batch, time) the id that should follow each position, already shifted. IGNORED_TARGET does not
                count; the loss is NaN if no target counts. A token's surprise is its loss against these.
            state: the state to continue from, if input_ids continue a text; it is changed.
            max_ponder_steps: the most ponder steps of a token; None: max_act_steps in training, else
                act_inference_steps.
            ponder_depth: the ponder steps of all tokens, at most max_act_steps; None: each token halts by itself.
            ponder_weight: cost of a ponder step in the loss; None: act_ponder_weight.
            keep_logits: False to compute only the losses, in less time and memory. No state can then be continued.
            loss_counts: those of the whole batch, if input_ids are some of its rows: the parts' losses then add up to
                the whole's. None: these are all rows.

        Raises:
            ValueError: the text is longer than max_seq_len, the ponder steps are below 1, the state has a memory but
                the model does not, or keep_logits is False with a state or without targets.
        """
        if not keep_logits and (state is not None or targets is None):
            raise ValueError("Without logits, targets are needed, and no state can be continued.")
        state = CognateState() if state is None else state
        batch, time = input_ids.shape
        start, end = state.position, state.position + time
        if end > self.config.max_seq_len:
            raise ValueError(
                f"The text has {end} tokens; this model reads at most {self.config.max_seq_len}. Shorten it."
            )
        if self.writer is None and state.bank is not None:
            raise ValueError("This model was built without a memory: it cannot use one.")
        if self.writer is not None and state.bank is None:
            state.bank = MemoryBank.empty(batch, self.config.d_mem, input_ids.device)
        if max_ponder_steps is None:
            max_ponder_steps = self.config.max_act_steps if self.training else self.config.act_inference_steps
        steps = max_ponder_steps if ponder_depth is None else ponder_depth
        if steps < 1:
            raise ValueError(f"A token needs at least 1 ponder step; got {steps}.")
        ponder: Ponder | None = None
        if self.pondering is not None and ponder_depth is None:
            ponder = partial(self.pondering, limit=steps)
        elif self.pondering is not None:
            ponder = partial(self.pondering.together, depth=steps)
        labels = None if targets is None else _labels(input_ids, targets)
        pieces: list[_Piece] = []
        while state.position < end:
            here = slice(state.position - start, min(end, self._chunk_end(state.position)) - start)
            wanted = None
            if targets is not None and labels is not None:
                wanted = _Wanted(labels[:, here], targets[:, here] != IGNORED_TARGET)
            pieces += self._read(input_ids[:, here], wanted, state, ponder, keep_logits)
        if self.writer is not None and self.training:
            surprise = torch.cat([piece.surprise for piece in pieces if piece.surprise is not None], dim=1)
            self.writer.follow(surprise[~surprise.isnan() & (input_ids != END_OF_TEXT_ID)])  # without padding
        return self._output(pieces, input_ids, targets, ponder_weight, loss_counts)

    def end_segment(self, state: CognateState) -> None:
        """Write what was read since the last full segment to the memory, for a later text."""
        if state.segment:
            self._write(state)

    def _chunk_end(self, position: int) -> int:
        """Where the chunk from `position` ends: at a full window, or a segment if all layers have segments."""
        return _next_multiple(position, self.config.attention_window if self.unsegmented else self.config.mem_segment)

    def _read(
        self, ids: Tensor, wanted: _Wanted | None, state: CognateState, ponder: Ponder | None, keep_logits: bool
    ) -> Iterator[_Piece]:
        """Take one chunk through all layers; it goes in segments through the layers that have them."""
        opens = ids == END_OF_TEXT_ID
        if state.position == 0:
            opens[:, 0] = False  # nothing precedes it, except a memory that was given on purpose
        state.cache = state.cache or [[] for _ in self.blocks]
        since = _since(opens, state)
        start, end = state.position, state.position + ids.shape[1]
        layers = Layers(self, state, opens, since, range(self.unsegmented))
        passed = layers.run(Passed(self.embedding(ids)), ponder)
        while state.position < end:
            stop = end if self.writer is None else min(end, _next_multiple(state.position, self.config.mem_segment))
            here = slice(state.position - start, stop - start)
            yield self._read_segment(
                ids[:, here],
                None if wanted is None else _Wanted(wanted.labels[:, here], wanted.counted[:, here]),
                passed.at(here),
                Layers(
                    self,
                    state,
                    opens[:, here],
                    None if since is None else since[:, here],
                    range(self.unsegmented, self.config.n_layers),
                ),
                state,
                ponder,
                keep_logits,
            )

    def _read_segment(
        self,
        ids: Tensor,
        wanted: _Wanted | None,
        passed: Passed,
        layers: Layers,
        state: CognateState,
        ponder: Ponder | None,
        keep_logits: bool,
    ) -> _Piece:
        """Take a segment, or its part in one chunk, through the last layers; write to memory if it ends here."""
        batch, time = ids.shape
        passed = layers.run(passed, ponder)
        piece = self._predict(self.final_norm(passed.states.flatten(0, 1)), wanted, keep_logits, batch)
        piece.steps, piece.cost, piece.asked = passed.steps, passed.cost, passed.asked
        state.position += time
        if state.bank is not None:
            piece.reads = described(state.bank, layers.reads, batch)
            state.bank = layers.used_bank()
            piece.surprise = _surprise(piece, ids, state)
            early = cast(Tensor, passed.early)
            before = torch.zeros_like(early[:, 0]) if state.last_state is None else state.last_state
            contexts = torch.cat((before[:, None], early[:, :-1]), dim=1)
            state.segment.append(SegmentPart(contexts, early, piece.surprise, ids, layers.opens))
            state.last_state = early[:, -1]
            if keep_logits:
                state.last_logits = piece.logits[:, -1].detach()
            elif piece.losses is not None:
                state.last_losses = piece.losses[:, -1]
            if state.position % self.config.mem_segment == 0:
                piece.notes, piece.noted, piece.usable = self._write(state)
        return piece

    def _predict(self, x: Tensor, wanted: _Wanted | None, keep_logits: bool, batch: int) -> _Piece:
        """The logits, or only the losses, of final states, (batch * time, d_model)."""
        if keep_logits or wanted is None:
            logits = self.head(x).view(batch, len(x) // batch, -1)  # (batch, time, vocab_size)
            piece = _Piece(logits)
            if wanted is not None:
                losses = _losses(logits, wanted.labels)
                piece.loss_sum, piece.losses = losses.where(wanted.counted, 0.0).sum(), losses.detach()
            return piece
        labels, counted = wanted.labels.flatten(), wanted.counted.flatten()
        losses = x.new_full(labels.shape, torch.nan, dtype=torch.float32)
        index = counted.nonzero().squeeze(1)
        loss_sum, losses[index] = head_loss(x[index], self.head.weight, labels[index])
        if self.writer is not None:  # the memory needs the surprise of each token except padding
            index = (~counted & (labels != END_OF_TEXT_ID)).nonzero().squeeze(1)
            with torch.no_grad():
                losses[index] = head_loss(x[index], self.head.weight, labels[index])[1]
        none = x.new_empty(batch, 0, len(self.head.weight))
        return _Piece(none, loss_sum, losses.view(batch, -1))

    def _write(self, state: CognateState) -> tuple[Tensor, Tensor, Tensor]:
        """Write the segment. Returns for each row: notes in its bank, tokens noted, tokens that could be noted."""
        segment = joined(state.segment)
        texts = segment.opens.cumsum(1)  # only the newest text continues: the others need no notes
        usable = (texts == texts[:, -1:]) & (segment.tokens != END_OF_TEXT_ID) & segment.surprise.isfinite()
        time = segment.tokens.shape[1]
        positions = torch.arange(state.position - time, state.position, device=usable.device).expand_as(texts)
        writer = cast(MemoryWriter, self.writer)  # only models with a memory have segments
        bank = cleared(cast(MemoryBank, state.bank), texts[:, -1] > 0)
        state.bank, noted = writer(bank, segment, usable, positions)
        state.memory_keys, state.segment = [], []
        return state.bank.filled.sum(-1), noted, usable.sum(-1)

    def _output(
        self,
        pieces: list[_Piece],
        input_ids: Tensor,
        targets: Tensor | None,
        ponder_weight: float | None,
        loss_counts: LossCounts | None,
    ) -> CognateOutput:
        """One output for all chunks."""
        loss = language_model_loss = ponder_loss = None
        if targets is not None:
            counts = loss_counts_of(input_ids, targets) if loss_counts is None else loss_counts
            loss_sums = [piece.loss_sum for piece in pieces if piece.loss_sum is not None]
            loss = language_model_loss = torch.stack(loss_sums).sum() / counts.targets
            costs = [piece.cost for piece in pieces if piece.cost is not None]
            if costs:
                cost = torch.cat(costs, dim=1).where(_is_read(input_ids, targets), 0.0).sum() / max(1, counts.read)
                ponder_loss = cost * (self.config.act_ponder_weight if ponder_weight is None else ponder_weight)
                loss = language_model_loss + ponder_loss
        steps = [piece.steps for piece in pieces if piece.steps is not None]
        asked = [piece.asked for piece in pieces if piece.asked is not None]
        reads = [piece.reads for piece in pieces if piece.reads is not None]
        return CognateOutput(
            logits=torch.cat([piece.logits for piece in pieces], dim=1) if len(pieces) > 1 else pieces[0].logits,
            loss=loss,
            language_model_loss=language_model_loss,
            ponder_loss=ponder_loss,
            ponder_steps=torch.cat(steps, dim=1) if steps else None,
            memory_reads=joined(reads) if reads else None,
            memory_figures=_figures(pieces) if reads else None,
            ponder_asked=torch.cat(asked, dim=1) if asked else None,
        )

    @torch.inference_mode()
    def generate(
        self,
        input_ids: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop_id: int | None = None,
        bank: MemoryBank | None = None,
    ) -> Iterator[GeneratedToken]:
        """Continue one text, token by token.

        Args:
            input_ids: (1, time) at least one token; only the last max_seq_len are read.
            max_new_tokens: the most tokens to generate.
            temperature: 0 always takes the likeliest token; higher is more adventurous.
            top_p: choose among the likeliest tokens that together have this probability (arXiv 1904.09751).
            seed: the same seed gives the same text.
            stop_id: generation ends before this token.
            bank: memory to start with, from an earlier text.
        """
        if temperature < 0:
            raise ValueError(f"The temperature must be 0 or more; got {temperature}.")
        limit = self.config.max_seq_len
        generator = torch.Generator(device=input_ids.device).manual_seed(seed)
        state = CognateState(bank=bank)
        pending = text = input_ids[:, -limit:]
        for _ in range(max_new_tokens):
            if state.position + pending.shape[1] > limit:
                # The text has reached its limit: continue from its newer half, with the memory of all of it.
                self.end_segment(state)
                pending = text[:, -(limit // 2) :]
                state = CognateState(bank=None if state.bank is None else state.bank.carried())
            output = self(pending, state=state)
            logits = output.logits[0, -1].float()  # (vocab_size,)
            token = choose(logits, temperature, top_p, generator)
            if token == stop_id:
                return
            pending = torch.tensor([[token]], device=input_ids.device)
            text = torch.cat((text, pending), dim=1)
            yield GeneratedToken(
                token,
                float(logits.softmax(-1)[token]),
                None if output.ponder_steps is None else int(output.ponder_steps[0, -1]),
                None if output.memory_reads is None else output.memory_reads.at(-1),
            )

    def save_pretrained(self, folder: Path) -> None:
        """Write model.safetensors and config.json into an existing folder."""
        weights = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        shape = {name: getattr(self.config, name) for name in ARCHITECTURE_FIELDS}
        text = json.dumps({"model_type": "cognate", **shape}, indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: Path, weights: Mapping[str, Tensor] | None = None) -> CognateModel:
        """The model that `save_pretrained` wrote, in evaluation mode. `weights`: use these instead, of the same shape.

        Raises:
            OSError: a file is missing.
            ValueError, KeyError, ConfigError: config.json is damaged.
            RuntimeError, SafetensorError: the weights are damaged or do not fit the config.
        """
        model = cls(read_shape(folder))
        model.load_state_dict(load_file(folder / "model.safetensors") if weights is None else weights)
        return model.eval()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What should follow in one chunk: labels, (batch, time), and which of them count as targets, (batch, time)."""

    labels: Tensor
    counted: Tensor


@dataclass(slots=True)
class _Piece:
    """The results of one chunk: logits (batch, time, vocab_size), figures (batch, time), the last three (batch,).

    loss_sum is a scalar over the targets that count; losses are outside the graph, NaN where unknown.
    """

    logits: Tensor
    loss_sum: Tensor | None = None
    losses: Tensor | None = None
    steps: Tensor | None = None
    cost: Tensor | None = None
    asked: Tensor | None = None
    reads: MemoryReads | None = None
    surprise: Tensor | None = None
    notes: Tensor | None = None
    noted: Tensor | None = None
    usable: Tensor | None = None


def _next_multiple(position: int, length: int) -> int:
    """The first multiple of `length` after `position`."""
    return (position // length + 1) * length


def loss_counts_of(input_ids: Tensor, targets: Tensor) -> LossCounts:
    """How many targets and tokens this batch's mean losses are over. Both arguments: (batch, time)."""
    return LossCounts(int((targets != IGNORED_TARGET).sum()), int(_is_read(input_ids, targets).sum()))


def _since(opens: Tensor, state: CognateState) -> Tensor | None:
    """Where each token's document begins, (batch, time); updates the state. None: there is only one document."""
    if state.since is None and not opens.any():
        return None
    positions = torch.arange(state.position, state.position + opens.shape[1], device=opens.device)
    since = positions.where(opens, 0).cummax(1).values
    if state.since is not None:
        since = torch.maximum(since, state.since[:, None])
    state.since = since[:, -1]
    return since


def _is_read(input_ids: Tensor, targets: Tensor) -> Tensor:
    """(batch, time), False for padding."""
    return (input_ids != END_OF_TEXT_ID) | (targets != IGNORED_TARGET)


def _labels(ids: Tensor, targets: Tensor) -> Tensor:
    """The targets; where one does not count, the next token instead: the memory needs its surprise."""
    following = F.pad(ids[:, 1:], (0, 1), value=END_OF_TEXT_ID)
    return targets.where(targets != IGNORED_TARGET, following)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each position in nats, (batch, time)."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none").view(labels.shape)


@torch.no_grad()
def _surprise(piece: _Piece, ids: Tensor, state: CognateState) -> Tensor:
    """How unexpected each token was in nats, (batch, time); NaN for the first of all."""
    first = torch.full_like(ids[:, :1], torch.nan, dtype=torch.float32)
    if state.last_losses is not None:
        first = state.last_losses[:, None]
    elif state.last_logits is not None:
        first = _losses(state.last_logits[:, None], ids[:, :1])
    rest = _losses(piece.logits[:, :-1], ids[:, 1:]) if piece.losses is None else piece.losses[:, :-1]
    return torch.cat((first, rest), dim=1)


def _figures(pieces: list[_Piece]) -> MemoryFigures:
    """Over the rows and segments that had something to note: padding tells nothing about memory."""
    ended = [piece for piece in pieces if piece.usable is not None]
    if not ended:
        return MemoryFigures(0, 0, 0, 0)
    notes, noted, usable = (
        torch.cat([cast(Tensor, getattr(piece, name)) for piece in ended]) for name in ("notes", "noted", "usable")
    )
    told = usable > 0
    return MemoryFigures(int(told.sum()), int(notes[told].sum()), int(usable.sum()), int(noted.sum()))


def tensor_shapes(config: TrainingConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the tensors in the weights file of a model with these settings."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in CognateModel(config).state_dict().items()}


def count_parameters(config: TrainingConfig) -> dict[str, int]:
    """Parameters by component, and "total": counted on the model itself, built without data ("meta" device)."""
    with torch.device("meta"):
        model = CognateModel(config)
    owners = {  # the first that is part of the name
        "pondering.": "pondering",
        "memory.": "memory",
        "writer.": "memory",
        "embedding.": "embedding",
        "attention.": "attention",
        "feed_forward.": "feed_forward",
        "norm.": "norms",
        "head.": "head",
    }
    counts = dict.fromkeys(("embedding", "attention", "feed_forward", "norms", "pondering", "memory", "head"), 0)
    for name, weight in model.named_parameters():
        counts[next(owner for part, owner in owners.items() if part in name)] += weight.numel()
    counts["total"] = sum(weight.numel() for weight in model.parameters())
    return {part: count for part, count in counts.items() if count}

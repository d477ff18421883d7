"""What a model gives and what it carries on: outputs of a forward pass, and the state between two stretches of text."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from cognate_core.model.key_value_cache import KeyValueCache
from cognate_core.model.memory import MemoryBank, MemoryReads, SegmentPart


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """How memory was used in one forward pass.

    Counts over the rows and segments that had something to note.

    Attributes:
        ends: how often a segment with text ended.
        notes: how many notes the banks held then, added up.
        usable: how many tokens could be noted.
        written: how many were.
    """

    ends: int
    notes: int
    usable: int
    written: int


@dataclass(frozen=True, slots=True)
class LossCounts:
    """Over what the means of the loss are taken.

    Attributes:
        targets: targets that count.
        read: tokens that were read, padding apart: what the ponder loss is the mean of.
    """

    targets: int
    read: int


@dataclass(frozen=True, slots=True)
class CognateOutput:
    """What a forward pass gave.

    Attributes:
        logits: (batch, time, vocab_size); none, (batch, 0, vocab_size), where only the losses were asked for.
        loss: scalar, language_model_loss + ponder_loss; None without targets.
        language_model_loss: scalar, mean cross-entropy in nats a counted target; None without targets.
        ponder_loss: scalar, the weighted price of the ponder steps; None without targets or pondering.
        ponder_steps: (batch, time), how often each token went through the core; None without pondering.
        ponder_asked: (batch, time), how often each token asked to, one more than its steps where they were not enough;
            None unless all went through equally often.
        memory_reads: what each token read; None without memory.
        memory_figures: None without memory.
    """

    logits: Tensor
    loss: Tensor | None
    language_model_loss: Tensor | None
    ponder_loss: Tensor | None
    ponder_steps: Tensor | None
    memory_reads: MemoryReads | None
    memory_figures: MemoryFigures | None
    ponder_asked: Tensor | None = None


@dataclass(slots=True)
class CognateState:
    """Everything that a model carries from one stretch of text to the next. A fresh one is the beginning of a text.

    Attributes:
        position: tokens read so far.
        caches: keys and values by layer and ponder step.
        bank: the memory; give the bank of an earlier text to begin with what it left.
        memory_keys: the bank's keys as each layer that reads looks for them.
        last_state: (batch, d_model), the early state (after the prelude) of the last token.
        last_logits: (batch, vocab_size), what was expected of the next token.
        last_losses: (batch,), how unexpected the next token is in nats, known instead where no logits are kept.
        segment: what was read of the segment that is not written yet.
        since: (batch,), where the newest document of each row begins; None: at the beginning, or before it.
    """

    position: int = 0
    cache: list[list[KeyValueCache]] = field(default_factory=list)
    bank: MemoryBank | None = None
    memory_keys: list[Tensor] = field(default_factory=list)
    last_state: Tensor | None = None
    last_logits: Tensor | None = None
    last_losses: Tensor | None = None
    segment: list[SegmentPart] = field(default_factory=list)
    since: Tensor | None = None

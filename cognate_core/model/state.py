"""The output of a forward pass, and the state that a model keeps from one piece of text to the next."""

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
        ends: how many segments with text ended.
        notes: the total number of notes in the banks then.
        usable: how many tokens could be noted.
        written: how many tokens were noted.
    """

    ends: int
    notes: int
    usable: int
    written: int


@dataclass(frozen=True, slots=True)
class LossCounts:
    """How many targets and tokens the mean losses are over.

    Attributes:
        targets: targets that count.
        read: tokens read, without padding: the ponder loss is a mean over them.
    """

    targets: int
    read: int


@dataclass(frozen=True, slots=True)
class CognateOutput:
    """The result of a forward pass.

    Attributes:
        logits: (batch, time, vocab_size); empty, (batch, 0, vocab_size), if only the losses were asked for.
        loss: scalar, language_model_loss + ponder_loss; None without targets.
        language_model_loss: scalar, mean cross-entropy in nats per counted target; None without targets.
        ponder_loss: scalar, the weighted cost of the ponder steps; None without targets or pondering.
        ponder_steps: (batch, time), how often each token went through the core; None without pondering.
        ponder_asked: (batch, time), how often each token asked to: one more than its steps if they were not enough;
            None unless all tokens went through equally often.
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
    """Everything that a model keeps from one piece of text to the next. A fresh state is the beginning of a text.

    Attributes:
        position: tokens read so far.
        cache: keys and values by layer and ponder step.
        bank: the memory; pass the bank of an earlier text to start with its notes.
        memory_keys: the bank's keys in the projection of each reading layer.
        last_state: (batch, d_model), the early state (after the prelude) of the last token.
        last_logits: (batch, vocab_size), the prediction of the next token.
        last_losses: (batch,), the next token's surprise in nats, kept instead if there are no logits.
        segment: what was read of the segment that is not written yet.
        since: (batch,), where the newest document of each row begins; None: at the start of the text, or before it.
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

"""What a loader and a trainer record: one row each in the progress log. Plain values; see json_lines.py for JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cognate_core.contracts.metrics import StepMetrics
from cognate_core.contracts.progress import utc_now


@dataclass(frozen=True, slots=True)
class PonderHistogram:
    """Ponder steps in training since the previous check: counts[n] tokens took n steps.

    All tokens of a batch take the same number.
    """

    model_name: str
    step: int
    counts: list[int]


MAGNITUDES, SMALLEST_MAGNITUDE = 24, -20
"""Weights are counted by this many orders of magnitude, each twice the one before; and the first, as a power of 2."""


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """The layers of a model at a step, in the order in which text passes them; each list has one item a layer.

    `weights`: root mean square after the step. `gradients`: norm of the raw gradient, before clipping and filter.
    `updates`: root mean square of the step's change over that of the weights before. None: not a number.
    `magnitudes`: after the step, counts[n] weights had 2^n to 2^(n + 1) times 2^SMALLEST_MAGNITUDE; the first and the
    last count include those beyond.
    """

    model_name: str
    step: int
    layers: list[str]
    weights: list[float | None]
    gradients: list[float | None]
    updates: list[float | None]
    magnitudes: list[list[int]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean held-out loss of one dataset, in nats per token.

    `accuracy`: the share of right answers, 0 to 1, if the task has right and wrong ones. `bytes`: the exact length in
    UTF-8 of the text of the counted `tokens`; None if the task has no text. `weight`: the dataset's weight in means
    over the datasets, its share of the tokens learned from; None: equal weights, as in earlier versions.
    """

    model_name: str
    step: int
    dataset: str
    loss: float
    tokens: int
    accuracy: float | None = None
    bytes: int | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What the model wrote after `prompt` (a held-out problem) at a step, and the dataset's own answer."""

    model_name: str
    step: int
    dataset: str
    prompt: str
    text: str
    expected: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the person should know: a fallback, a checkpoint, a warning."""

    level: Literal["info", "warning", "error"]
    message: str
    model_name: str | None = None
    step: int | None = None
    created_at: str = field(default_factory=utc_now, compare=False)


BEYOND_LIMIT = "beyond the limit of "
"""So begins the reason for rows that are left out because a setting limits their number."""

MANY = 0.1
"""A larger share of rows left out for other reasons deserves a warning."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What one data source contributed. Rows are counted, never estimated."""

    name: str
    asked_for: str
    origin: str  # where the rows came from, in words
    loaded: bool
    reason: str  # why it is a fallback or was not loaded; empty if all went as requested
    train_rows: int = 0
    heldout_rows: int = 0
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> rows
    train_tokens: int = 0
    train_sequences: int = 0
    cut_rows: int | None = None  # rows that continue in further sequences; not counted in earlier versions

    def warnings(self) -> list[str]:
        """Sentences about rows that are left out, if they are many or all that were held out."""
        left_out = {why: count for why, count in self.skipped.items() if not why.startswith(BEYOND_LIMIT)}
        count, found = sum(left_out.values()), []
        total = self.train_rows + self.heldout_rows + count
        if count > MANY * total:
            reasons = "; ".join(f"{number:,}: {why}" for why, number in left_out.items())
            found.append(f"Rows of {self.name} that are left out: {count:,} of {total:,} ({reasons}).")
        if self.train_rows and not self.heldout_rows:
            found.append(f"{self.name}: no held-out row is left, so nothing can be measured on unseen text.")
        return found


RARE = 5
"""A model hardly learns a token that occurs fewer times than this."""


@dataclass(frozen=True, slots=True)
class DataReport:
    """The contents of the prepared training data."""

    sources: list[SourceReport]
    fallback: bool  # True if built-in synthetic text replaces the requested data
    content_hash: str
    vocabulary: int  # ids that the tokenizer has
    from_cache: bool
    fitted: bool = False  # whether models have exactly these ids; in earlier versions they had the requested number
    rare_tokens: int | None = None  # tokens of several bytes that occur fewer than RARE times in the training text

    def warnings(self) -> list[str]:
        """Sentences about data that is usable but probably not as intended."""
        found = [sentence for source in self.sources if source.loaded for sentence in source.warnings()]
        if self.rare_tokens is not None and self.rare_tokens > self.vocabulary / 2:
            enough = -(-(self.vocabulary - self.rare_tokens) // 100) * 100
            found.append(
                f"The vocabulary is too large for this text: {self.rare_tokens:,} of its {self.vocabulary:,} tokens "
                f"occur fewer than {RARE} times. About {enough:,} would be enough."
            )
        return found


@dataclass(frozen=True, slots=True)
class BatchSequence:
    """One sequence that a step read: its dataset, its texts in order, and how many tokens it learned from.

    `partial`: its first or last text is part of a text that is longer than a sequence.
    """

    source: str
    texts: list[str]
    counted_tokens: int
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Rewind:
    """A resumed model continues after `step`: records of later steps are void.

    `checked_step` is the last step with complete held-out measurements and samples. -1: none.
    """

    model_name: str
    step: int
    checked_step: int


Record = StepMetrics | PonderHistogram | LayerFigures | Evaluation | Sample | Event | DataReport | Rewind


RecordSink = Callable[[Record], None]

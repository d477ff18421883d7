"""What a loader and a trainer measure: one row each in the progress log. Plain values; json_lines.py has their JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cognate_core.contracts.metrics import StepMetrics
from cognate_core.contracts.progress import utc_now


@dataclass(frozen=True, slots=True)
class PonderHistogram:
    """How many tokens took how many ponder steps in training since the check before: counts[n] tokens took n.

    All tokens of a batch take as many.
    """

    model_name: str
    step: int
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean held-out loss of one dataset, in nats a token.

    `accuracy`: the share of the answers that are right, 0 to 1, where the task has right and wrong ones. `bytes`: how
    long the text of the counted `tokens` is in UTF-8, exactly; None where the task has no text. `weight`: what the
    dataset counts in a mean over the datasets, its share of the tokens that are learned from; None: all count alike, as
    in earlier versions.
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
    """What the model wrote after `prompt` (a held-out problem) at a step, and what the dataset has there."""

    model_name: str
    step: int
    dataset: str
    prompt: str
    text: str
    expected: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling the person: a fallback, a checkpoint, a warning."""

    level: Literal["info", "warning", "error"]
    message: str
    model_name: str | None = None
    step: int | None = None
    created_at: str = field(default_factory=utc_now, compare=False)


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What one data source gave. Rows are counted, never estimated."""

    name: str
    asked_for: str
    origin: str  # where the rows came from, in words
    loaded: bool
    reason: str  # why it is a fallback or was not loaded; empty when all went as asked
    train_rows: int = 0
    heldout_rows: int = 0
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> rows
    train_tokens: int = 0
    train_sequences: int = 0


RARE = 5
"""A token that a text has fewer times than this is hardly learned from it."""


@dataclass(frozen=True, slots=True)
class DataReport:
    """What the prepared training data is made of."""

    sources: list[SourceReport]
    fallback: bool  # True when built-in synthetic text stands in for what was asked
    content_hash: str
    vocabulary: int  # ids that the tokenizer has
    from_cache: bool
    fitted: bool = False  # models have a row for each of these ids; before, they had as many as were asked for
    rare_tokens: int | None = None  # tokens of several bytes that the training text has fewer than RARE times

    def warnings(self) -> list[str]:
        """Sentences about data that can be learned from and will hardly do what was meant."""
        if self.rare_tokens is None or self.rare_tokens <= self.vocabulary / 2:
            return []
        enough = -(-(self.vocabulary - self.rare_tokens) // 100) * 100
        return [
            f"The vocabulary is larger than this text can teach: {self.rare_tokens:,} of its {self.vocabulary:,} "
            f"tokens occur fewer than {RARE} times in it. About {enough:,} would do."
        ]


@dataclass(frozen=True, slots=True)
class BatchSequence:
    """One sequence that a step read: its dataset, its texts in their order, and how many tokens were learned.

    `partial`: its first or last text is a part of one that is longer than a sequence.
    """

    source: str
    texts: list[str]
    counted_tokens: int
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Rewind:
    """A resumed model goes on after `step`: what was recorded of later steps is void.

    `checked_step` is the last step whose held-out measurements and samples are whole. -1: nothing is.
    """

    model_name: str
    step: int
    checked_step: int


Record = StepMetrics | PonderHistogram | Evaluation | Sample | Event | DataReport | Rewind


RecordSink = Callable[[Record], None]

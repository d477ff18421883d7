"""The words that the parts of Cognate Studio say to each other, and the three seams between them.

Plain data and abstract classes only: no files, no database, no tensors. Everything here can be written as JSON,
because a trainer sits in another process.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from cognate_core.lifecycle import RunStatus as RunStatus  # one of the words

if TYPE_CHECKING:
    from cognate_core.config import TrainingConfig


END_OF_TEXT_ID = 0
"""The token that opens each training sequence and ends each document. What a document holds, the next must not see in
its memory."""


ARITHMETIC = "Modular arithmetic"
"""The dataset of the Grokking lab: all problems of one operation modulo a prime."""


GROKKED_ACCURACY = 0.95
"""From this share of right answers to problems that it never saw, a model has understood: the published measure."""


MEMORY_FILE = "memory.safetensors"
"""In a model's folder: what its memory keeps of a conversation. Not one of its artifacts."""


TRAINING_LOG_FILE = "training_log.jsonl"
"""In a model's folder: every record of its training, one a line."""


ARTIFACT_FILES = {
    "weights": "model.safetensors",
    "config": "config.json",
    "tokenizer": "tokenizer.json",
    "training_config": "training_config.toml",
    "training_log": TRAINING_LOG_FILE,
    "model_card": "README.md",
}
"""What each artifact is, and its file's name."""


CHECKPOINT_MANIFEST = "manifest.json"
"""In a checkpoint's folder, written last: without it, there is no checkpoint."""


def spread_checkpoints(checkpoint_bytes: int) -> int:
    """How many checkpoints of this size are kept over a whole run, to go back to, beside the newest ones and the best:
    eight, or as many as a gigabyte holds."""
    return min(8, 1_000_000_000 // max(1, checkpoint_bytes))


def utc_now() -> str:
    """The time now, as ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Phase(StrEnum):
    """The named stretches of a run, as the specification names them."""

    INITIALIZATION = "Training Initialization"
    DATASETS = "Dataset Preparation"
    TRAINING = "Model Training"
    COMPLETE = "Training Complete"
    CANCELLED = "Training Cancelled"
    FAILED = "Training Failed"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a run is. `progress` runs from 0 to 1 over the whole run and never backwards."""

    progress: float
    message: str
    phase_name: str
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    timestamp: str = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True)
class ModelArtifacts:
    """A trained model and where its files lie. A field that was not measured is None or absent, never guessed."""

    model_id: str
    model_name: str
    phase_name: str
    parameter_count: int
    created_at: str
    training_status: str
    focus: str
    training_mode: str
    datasets_used: list[str]
    training_stats: dict[str, Any]
    grokfast_enabled: bool
    act_enabled: bool
    ltm_enabled: bool
    artifacts: dict[str, str]
    capabilities: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


# What a trainer and a loader record on their way, beside the coarse progress: one row each in the progress log.


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step. `loss` is that of the language model alone, in nats a token; seconds are wall-clock.

    `tokens` counts the target tokens of the step. None: the model does not have it, or no token did it.
    """

    model_name: str
    step: int
    loss: float
    learning_rate: float
    grad_norm: float  # of the raw gradient, before clipping and filter
    filtered_grad_norm: float  # of what the optimizer received
    tokens: int
    seconds: float
    elapsed_seconds: float  # since this model's training began
    # Of a model that ponders: mean steps of a token, and what they cost in the loss.
    ponder_steps: float | None = None
    ponder_loss: float | None = None
    # Of a model with a memory: notes held after a segment, share of tokens that were noted, mean opening of the gates
    # (0 to 1), and share of the reading that went to no note, among the tokens that could have read one.
    memory_notes: float | None = None
    memory_written: float | None = None
    memory_gate: float | None = None
    memory_null_share: float | None = None
    # Of a task with right and wrong answers: the share of the step's answers that were right, before the update.
    accuracy: float | None = None


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


def perplexity(loss: float) -> float:
    """Among how many equally likely tokens a model with this loss (nats a token) is as unsure as choosing."""
    return math.exp(loss) if loss < 700 else math.inf  # beyond, no float holds it


def bits_per_byte(loss: float | None, tokens: float | None, bytes: float | None) -> float | None:
    """How many bits a model with this mean `loss` (nats a token) needs for a byte of its text; None: not known.

    tokens / bytes x log2(e) x loss (Gao et al., "The Pile", arXiv 2101.00027, 3.1). The end of each text is one of the
    tokens, and no byte (as in openai/parameter-golf): where a text ends has to be known, too.
    """
    return None if loss is None or tokens is None or not bytes else loss * tokens / (math.log(2) * bytes)


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

    def doubts(self) -> list[str]:
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


Relation = Literal["copy", "fix", "twin", "branch", "verification"]
"""What a run is to the one that it was made of: the same settings to be changed, a remedy applied, the gradient filter
the other way, gone off from a checkpoint, or the same once more to compare."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that another one was made of. `branch_step`: of the checkpoint that a branch goes on from."""

    parent_run_id: str
    relation: Relation
    branch_step: int | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """What a rehearsal on this computer says of a run, from its first step to the last held-out check. Fetching and
    preparing data come on top.

    `busy`: another run was going at the time. Memory is the greatest that the rehearsing process had.
    `quickest_step_seconds`: of a step in which each token is gone over once, which pondering comes close to as the
    model learns; None in quotes from before this was measured. `missing_data`: datasets that are not on this computer
    and so had no part in it.
    """

    low_seconds: float
    high_seconds: float
    step_seconds: float
    steps_measured: int
    memory_bytes: int
    threads: int
    busy: bool
    quickest_step_seconds: float | None = None
    missing_data: list[str] = field(default_factory=list)


Record = StepMetrics | PonderHistogram | Evaluation | Sample | Event | DataReport | Rewind
RecordSink = Callable[[Record], None]

ProgressCallback = Callable[[int, int, float, float], None]
"""`progress_callback(step, total_steps, loss, learning_rate)`: an ordinary function, called from any thread.

It may raise an Interruption (see errors.py). A trainer answers a stop by saving what there is and returning with
`training_status` "stopped" (or lets it through when there is nothing to save yet), writes a checkpoint before it lets
a pause through, and lets a cancel through at once.
"""


class ProgressEmitter(ABC):
    """Carries a run's progress to whoever watches."""

    @abstractmethod
    async def emit_progress(self, progress: TrainingProgress) -> None:
        """Make `progress` visible."""

    @abstractmethod
    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        """Make a finished model visible."""


class DatasetLoader(ABC):
    """Fetches datasets and makes training data of them."""

    @abstractmethod
    async def download_dataset(self, dataset_name: str, dataset_id: str) -> bool:
        """Fetch one dataset. True when its rows are here; False when it cannot be had.

        Args:
            dataset_name: the name in `TrainingConfig.dataset_sources`.
            dataset_id: where it lies (a hub id, or a file's path).

        Raises:
            DataError: the dataset is here but cannot be used (malformed).
        """

    @abstractmethod
    async def create_mixed_training_data(self) -> str:
        """Turn what was fetched into training data; the path of the folder that holds it.

        Raises:
            DataError: nothing usable came together.
        """

    @abstractmethod
    def get_dataset_results(self) -> dict[str, bool]:
        """For each dataset asked for so far, whether it was loaded."""


class ModelTrainer(ABC):
    """Trains one model."""

    @abstractmethod
    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        """Train `model_name` and write its artifacts below `config.output_dir`.

        Returns:
            a dict with `parameter_count` (int), `training_status` ("completed" or "stopped"),
            `artifacts` (kind -> path), `training_stats` (measured figures), `datasets_used`
            (names that really went in) and `act_enabled`, `ltm_enabled`, `grokfast_enabled`
            (what the model really has).

        Raises:
            TrainingError: the model could not be trained.
            CancelRequested: the callback asked for it; nothing is kept.
            PauseRequested: the callback asked for it; the same call on a trainer that resumes goes on from there.
        """

"""What the parts of Cognate Studio exchange: records, statuses, files and the three interfaces between them.

Only plain data and abstract classes: no files, no database, no tensors. All data can be written as JSON, because a
trainer runs in another process.
"""

from cognate_core.contracts.artifacts import (
    ARTIFACT_FILES,
    CHECKPOINT_MANIFEST,
    MEMORY_FILE,
    TRAINING_LOG_FILE,
    ModelArtifacts,
    spread_checkpoints,
)
from cognate_core.contracts.heldout import bits_per_byte, perplexity
from cognate_core.contracts.interfaces import DatasetLoader, ModelTrainer, ProgressCallback, ProgressEmitter
from cognate_core.contracts.lifecycle import RunStatus
from cognate_core.contracts.metrics import StepMetrics
from cognate_core.contracts.progress import Origin, Phase, Relation, TimeEstimate, TrainingProgress, utc_now
from cognate_core.contracts.records import (
    BEYOND_LIMIT,
    RARE,
    BatchSequence,
    DataReport,
    Evaluation,
    Event,
    LayerFigures,
    PonderHistogram,
    Record,
    RecordSink,
    Rewind,
    Sample,
    SourceReport,
)
from cognate_core.contracts.tasks import ARITHMETIC, END_OF_TEXT_ID, GROKKED_ACCURACY

__all__ = [
    "ARITHMETIC",
    "ARTIFACT_FILES",
    "BEYOND_LIMIT",
    "CHECKPOINT_MANIFEST",
    "END_OF_TEXT_ID",
    "GROKKED_ACCURACY",
    "MEMORY_FILE",
    "RARE",
    "TRAINING_LOG_FILE",
    "BatchSequence",
    "DataReport",
    "DatasetLoader",
    "Evaluation",
    "Event",
    "LayerFigures",
    "ModelArtifacts",
    "ModelTrainer",
    "Origin",
    "Phase",
    "PonderHistogram",
    "ProgressCallback",
    "ProgressEmitter",
    "Record",
    "RecordSink",
    "Relation",
    "Rewind",
    "RunStatus",
    "Sample",
    "SourceReport",
    "StepMetrics",
    "TimeEstimate",
    "TrainingProgress",
    "bits_per_byte",
    "perplexity",
    "spread_checkpoints",
    "utc_now",
]

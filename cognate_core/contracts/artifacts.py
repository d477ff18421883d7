"""A trained model and the names of the files in its folder. Opens none of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MEMORY_FILE = "memory.safetensors"
"""In a model's folder: its memory of a conversation. Not one of its artifacts."""


TRAINING_LOG_FILE = "training_log.jsonl"
"""In a model's folder: every record of its training, one per line."""


ARTIFACT_FILES = {
    "weights": "model.safetensors",
    "config": "config.json",
    "tokenizer": "tokenizer.json",
    "training_config": "training_config.toml",
    "training_log": TRAINING_LOG_FILE,
    "model_card": "README.md",
}
"""The kinds of artifacts and their file names."""


CHECKPOINT_MANIFEST = "manifest.json"
"""In a checkpoint's folder, written last: without it, the checkpoint does not count."""


def spread_checkpoints(checkpoint_bytes: int) -> int:
    """How many checkpoints of this size are kept, spread over the run, in addition to the newest ones and the best: at
    most eight, and at most as many as fit into a gigabyte."""
    return min(8, 1_000_000_000 // max(1, checkpoint_bytes))


@dataclass(frozen=True, slots=True)
class ModelArtifacts:
    """A trained model and the paths of its files. An unmeasured field is None or absent, never guessed."""

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

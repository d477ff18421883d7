"""When a run is checked, and what it saves."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import field_validator

from cognate_core.config.setting import BOTH, TEXT, Settings, setting

TrackerName = Literal["tensorboard", "csv", "parquet", "trackio"]

TRACKERS: dict[TrackerName, str] = {
    "tensorboard": "TensorBoard",
    "csv": "CSV",
    "parquet": "Parquet",
    "trackio": "Trackio",
}
"""Trackers that can receive a run's figures in addition to the studio's database, with their titles."""

_setting = partial(setting, section="Checking and saving", tasks=BOTH, sweepable=False)


class CheckingSettings(Settings):
    """When a run is checked, and what it saves."""

    eval_interval: int = _setting(
        100,
        title="Check every",
        help="How often to measure the held-out loss and write text samples.",
        unit="steps",
        ge=1,
        le=10_000_000,
    )
    check_questions: int = _setting(
        0,
        title="Questions at each check",
        help="At each check the model answers this many held-out questions of each dataset; Monitor shows the share "
        "of right answers. 0: none. Long solutions take time.",
        unit="questions",
        ge=0,
        le=10_000,
        tasks=TEXT,
    )
    early_stopping_patience: int = _setting(
        0,
        title="Early stopping",
        help="Training ends when this many checks in a row are no better than the best one before, and the model of "
        "the best check is kept, unless you stop the run yourself. 0: off.",
        unit="checks",
        ge=0,
        le=10_000,
    )
    metric_for_best_model: Literal["loss", "bits_per_byte", "accuracy"] = _setting(
        "loss",
        title="Best by",
        help="Which figure decides the best check on unseen text: loss, bits_per_byte (within one run they always "
        "agree), or accuracy, the share of right answers, for tasks that have them.",
    )
    sample_tokens: int = _setting(
        60,
        title="Sample length",
        help="The length of each text sample. 0: no samples.",
        unit="tokens",
        ge=0,
        le=2000,
        tasks=TEXT,
    )
    save_steps: int = _setting(
        1000,
        title="Save every",
        help="How often to write a checkpoint to disk. The newest three, the best and some earlier ones are kept.",
        unit="steps",
        ge=1,
        le=10_000_000,
    )
    trackers: list[TrackerName] = _setting(
        [],
        title="Also write the figures to",
        help="In addition to the studio's database: tensorboard writes event files; csv and parquet write a table when "
        "the run ends; trackio writes its own database on this computer. Install tensorboard and trackio separately.",
        example="tensorboard, csv",
        compared=False,
    )
    output_dir: str = _setting(
        "cognate_runs",
        title="Output folder",
        help="The folder for the run's files. Runs started in the studio use a folder that the studio chooses.",
        branchable=False,
        compared=False,
        personal=True,
    )

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, names: list[TrackerName]) -> list[TrackerName]:
        return list(dict.fromkeys(names))

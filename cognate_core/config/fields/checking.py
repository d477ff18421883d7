"""When a run is measured, and what is kept of it."""

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
"""Where a run's figures can be kept beside the studio's own database, and what each is called."""

_setting = partial(setting, section="Checking and saving", tasks=BOTH, sweepable=False)


class CheckingSettings(Settings):
    """When a run is measured, and what is kept of it."""

    eval_interval: int = _setting(
        100,
        title="Check every",
        help="How often the held-out loss is measured and a text sample is written.",
        unit="steps",
        ge=1,
        le=10_000_000,
    )
    check_questions: int = _setting(
        0,
        title="Questions at each check",
        help="At each check the model answers this many held-out questions of each dataset, and Monitor draws the "
        "share that is right. 0: none. Long solutions take their time.",
        unit="questions",
        ge=0,
        le=10_000,
        tasks=TEXT,
    )
    early_stopping_patience: int = _setting(
        0,
        title="Early stopping",
        help="Training ends early when so many checks in a row were no better than the best one before. With it, a "
        "model that you do not stop yourself is what it was at its best check. 0: off.",
        unit="checks",
        ge=0,
        le=10_000,
    )
    metric_for_best_model: Literal["loss", "bits_per_byte", "accuracy"] = _setting(
        "loss",
        title="Best by",
        help="By what a check on unseen text is the best so far: loss, bits_per_byte (within one run they always "
        "agree), or accuracy, the share of right answers, of tasks that have such.",
    )
    sample_tokens: int = _setting(
        60,
        title="Sample length",
        help="How many tokens each text sample has. 0: no samples.",
        unit="tokens",
        ge=0,
        le=2000,
        tasks=TEXT,
    )
    save_steps: int = _setting(
        1000,
        title="Save every",
        help="How often a checkpoint is written to disk. The newest three, the best and some of the earlier ones stay.",
        unit="steps",
        ge=1,
        le=10_000_000,
    )
    trackers: list[TrackerName] = _setting(
        [],
        title="Also write the figures to",
        help="Beside the studio's own database: tensorboard writes event files, csv and parquet a table when the run "
        "ends, trackio its database on this computer. tensorboard and trackio are installed extra.",
        example="tensorboard, csv",
        compared=False,
    )
    output_dir: str = _setting(
        "cognate_runs",
        title="Output folder",
        help="Where the files of the run go. The studio chooses its own folder for runs started there.",
        branchable=False,
        compared=False,
        personal=True,
    )

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, names: list[TrackerName]) -> list[TrackerName]:
        return list(dict.fromkeys(names))

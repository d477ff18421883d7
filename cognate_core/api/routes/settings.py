"""The settings of a run as a request gives them, and what they will need."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from cognate_core.api.requests import GetManager, GetOwner, GetUploads, Input, Uploads
from cognate_core.config import TrainingConfig
from cognate_core.config.presets import get_preset
from cognate_core.contracts import TimeEstimate
from cognate_core.contracts.json_lines import report_from_json
from cognate_core.errors import ConfigError
from cognate_core.runs import MAX_MODELS, known_report

router = APIRouter(tags=["settings"])

MOST_LETTERS = 100_000  # of a TOML text
_rehearsing = threading.Lock()


class Settings(Input):
    """Where the settings come from: a preset or a config, and over it single settings. What is not said takes its
    default."""

    preset: str | None = Field(None, max_length=80, description="The name of a preset.", examples=["first-run"])
    config: dict[str, Any] | str | None = Field(
        None, description="Instead of a preset: settings as an object, or as TOML (`cognate presets NAME` prints one)."
    )
    settings: dict[str, Any] = Field(
        {}, max_length=200, description="Single settings, put over the others.", examples=[{"max_steps": 100}]
    )

    def to_config(self, files: Uploads, base: TrainingConfig | None = None) -> TrainingConfig:
        """The settings as one. `base`: whose settings are taken where neither a preset nor a config is given.

        Raises:
            ConfigError: one cannot be used.
        """
        if (self.preset is not None) + (self.config is not None) + (base is not None) > 1:
            raise ConfigError({"config": "Say in one way where the settings come from. Change them by `settings`."})
        if self.preset is not None:
            config = get_preset(self.preset).config
        elif isinstance(self.config, str):
            if len(self.config) > MOST_LETTERS:
                raise ConfigError({"config": "The text is too long for one with settings."})
            config = TrainingConfig.from_toml(self.config)
        else:
            config = base or TrainingConfig.from_values(self.config or {})
        config = config.with_overrides({**self.settings, "output_dir": TrainingConfig().output_dir})
        known = base.dataset_path if base is not None else None
        return config if config.dataset_path == known else _with_upload(config, files)


class Needs(BaseModel):
    """What training will need, counted and reckoned; nothing of it was measured."""

    parameters: dict[str, int] = Field(
        description="Numbers that the model learns, by part, with `total`: at most, until a run has prepared the same "
        "data, because the vocabulary is fitted to them."
    )
    vocabulary: int = Field(description="Among how many tokens the model chooses: at most, as with `parameters`.")
    memory_bytes: dict[str, int] = Field(description="Memory while training, by purpose: an estimate.")
    total_memory_bytes: int
    disk_bytes: int = Field(description="Of the finished model and as many checkpoints as are kept at most.")
    tokens_per_step: int = Field(description="At most; padding counts.")
    warnings: list[str] = Field(description="What is allowed and will hardly do what was meant, in sentences.")


class TimeEstimateRequest(Settings):
    """Settings to be rehearsed."""

    models: int = Field(1, ge=1, le=MAX_MODELS, description="How many are trained one after the other.")


@router.post("/estimates")
def estimates(body: Settings, files: GetUploads, manager: GetManager) -> Needs:
    """What a run with these settings will need, before it runs. Nothing is started."""
    from cognate_core.insight.estimates import estimate

    asked = body.to_config(files)
    report = known_report(manager.log, asked)
    config = asked.fitted(report)
    needs = estimate(config)
    return Needs(
        parameters=needs.parameters,
        vocabulary=config.choices,
        memory_bytes=needs.memory_bytes,
        total_memory_bytes=needs.total_memory_bytes,
        disk_bytes=needs.disk_bytes,
        tokens_per_step=needs.tokens_per_step,
        warnings=[*config.warnings(), *(report_from_json(report).warnings() if report else [])],
    )


@router.post("/time-estimates", responses={429: {"description": "Another one is being measured."}})
def time_estimates(body: TimeEstimateRequest, manager: GetOwner, files: GetUploads) -> TimeEstimate:
    """How long a run will take: its first steps are trained on this computer, which takes some twenty seconds.

    Seconds are of steps, checks, samples, checkpoints and the last check over all held-out text; fetching and
    preparing data come on top. The low end is what it takes when each token is gone over once, the high end when the
    model ponders as long as fresh weights do. `busy`: another run was going on meanwhile, so that it may well be
    quicker.
    """
    from cognate_core.runs.time_estimate import measured_time_estimate

    config = body.to_config(files)
    if not _rehearsing.acquire(blocking=False):
        raise HTTPException(429, "Another time is just being measured. Wait for its end, then ask again.")
    try:
        busy = manager.log.is_busy()
        return measured_time_estimate(config, body.models, busy=busy, home=manager.home)
    finally:
        _rehearsing.release()


def _with_upload(config: TrainingConfig, files: Uploads) -> TrainingConfig:
    """`config`, of which an own file is one of those that were sent here: another file of this computer is nobody's
    to name from elsewhere.

    Raises:
        ConfigError: there is no such file.
    """
    given = config.dataset_path or ""
    path = files.folder / Path(given).name
    if given not in (path.name, str(path)) or not path.is_file():
        if files.any_other:
            return config
        raise ConfigError(
            {"dataset_path": "There is no such file among your own. Send it to /v1/files, and give the name it gets."}
        )
    return config.model_copy(update={"dataset_path": str(path)})

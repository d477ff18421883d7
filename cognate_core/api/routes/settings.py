"""The settings of a run in a request, and the resources they need."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from cognate_core.api.requests import GetManager, GetOwner, GetUploads, Input, Uploads
from cognate_core.config import TrainingConfig
from cognate_core.config.presets import get_preset
from cognate_core.contracts import TimeEstimate
from cognate_core.contracts.json_lines import report_from_json
from cognate_core.errors import ConfigError
from cognate_core.files import found_path
from cognate_core.runs import MAX_MODELS, known_report

router = APIRouter(tags=["settings"])

MOST_LETTERS = 100_000  # of a TOML text
_rehearsing = threading.Lock()


class Settings(Input):
    """The source of the settings: a preset or a config, plus single settings that replace theirs. All others take
    their defaults."""

    model_config = ConfigDict(json_schema_extra={"example": {"preset": "first-run", "settings": {"max_steps": 100}}})

    preset: str | None = Field(None, max_length=80, description="The name of a preset.")
    config: dict[str, Any] | str | None = Field(
        None, description="Instead of a preset: settings as an object, or as TOML (`cognate presets NAME` prints one)."
    )
    settings: dict[str, Any] = Field({}, max_length=200, description="Single settings that replace the others.")

    def to_config(self, files: Uploads, base: TrainingConfig | None = None) -> TrainingConfig:
        """The complete settings. `base`: used if neither a preset nor a config is given.

        Raises:
            ConfigError: a setting cannot be used, or there are several sources.
        """
        if (self.preset is not None) + (self.config is not None) + (base is not None) > 1:
            raise ConfigError({"config": "Give only one source of settings. Change single ones with `settings`."})
        if self.preset is not None:
            config = get_preset(self.preset).config
        elif isinstance(self.config, str):
            if len(self.config) > MOST_LETTERS:
                raise ConfigError({"config": "The text is too long for settings. Shorten it."})
            config = TrainingConfig.from_toml(self.config)
        else:
            config = base or TrainingConfig.from_values(self.config or {})
        config = config.with_overrides({**self.settings, "output_dir": TrainingConfig().output_dir})
        known = base.dataset_path if base is not None else None
        return config if config.dataset_path == known else _with_upload(config, files)


class Needs(BaseModel):
    """What training will need: counted or estimated, not measured."""

    parameters: dict[str, int] = Field(
        description="Numbers that the model learns, by part, with `total`. An upper bound until a run has prepared the "
        "same data, because the vocabulary is fitted to them."
    )
    vocabulary: int = Field(description="How many tokens the model chooses from; an upper bound, as `parameters`.")
    memory_bytes: dict[str, int] = Field(description="Estimated memory for training, by purpose.")
    total_memory_bytes: int
    disk_bytes: int = Field(description="Of the finished model and the largest number of checkpoints that are kept.")
    tokens_per_step: int = Field(description="Upper bound; includes padding.")
    warnings: list[str] = Field(description="Settings that are allowed but probably not intended, in sentences.")


class TimeEstimateRequest(Settings):
    """Settings for a time estimate."""

    models: int = Field(1, ge=1, le=MAX_MODELS, description="How many models are trained, one after the other.")


@router.post("/estimates")
def estimates(body: Settings, files: GetUploads, manager: GetManager) -> Needs:
    """What a run with these settings will need. Nothing is started."""
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


@router.post("/time-estimates", responses={429: {"description": "Another time estimate is being measured."}})
def time_estimates(body: TimeEstimateRequest, manager: GetOwner, files: GetUploads) -> TimeEstimate:
    """How long a run will take. To measure it, the studio trains the first steps, which takes about twenty seconds.

    The time covers steps, checks, samples, checkpoints and the last check over all held-out text, but not fetching
    and preparing data. The low end assumes one pass over each token, the high end as much pondering as fresh weights
    do. `busy`: another run was active during the measurement, so the run may be faster.
    """
    from cognate_core.runs.time_estimate import measured_time_estimate

    config = body.to_config(files)
    if not _rehearsing.acquire(blocking=False):
        raise HTTPException(429, "Another time estimate is being measured. Try again when it is done.")
    try:
        busy = manager.log.is_busy()
        return measured_time_estimate(config, body.models, busy=busy, home=manager.home)
    finally:
        _rehearsing.release()


def _with_upload(config: TrainingConfig, files: Uploads) -> TrainingConfig:
    """`config` with its `dataset_path` resolved to an upload: requests may not name other files of this computer.

    The file is read as was said when it was kept, where `config` says nothing else.

    Raises:
        ConfigError: there is no such upload.
    """
    given = config.dataset_path
    if given is None:
        return config
    path = files.folder / Path(given).name
    if given not in (path.name, str(path)) or not path.is_file():
        if files.any_other and found_path(given):
            return config
        if files.any_other:
            raise ConfigError({"dataset_path": f"There is no file {given}. Check its name, or choose another."})
        raise ConfigError(
            {"dataset_path": "You have no such file. Upload it to /v1/files, then use the name in the answer."}
        )
    from cognate_core.data.uploads import find_upload

    return find_upload(files.folder.parent, path.name).read_by_run(config)

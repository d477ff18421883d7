"""Runs made of other runs: the twin with the gradient filter the other way, and the branch from a checkpoint.

Knows configs and checkpoint folders; it starts nothing and writes no database.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig, fields_that
from cognate_core.contracts import CHECKPOINT_MANIFEST
from cognate_core.errors import ConfigError, RunError
from cognate_core.labels import folder_name


def twin_config(config: TrainingConfig) -> TrainingConfig:
    """The same settings with GrokFast switched the other way. The seed is the same: so are start and data."""
    return config.with_overrides({"grokfast_enabled": not config.grokfast_enabled})


def twin_key(run_id: str) -> str:
    """The key with which a run's twin is started: there is one at most."""
    return f"twin-{run_id}"


def branch_config(config: TrainingConfig, step: int, changes: Mapping[str, Any]) -> TrainingConfig:
    """`config` with `changes` for a run that goes on after `step`.

    Raises:
        ConfigError: a setting cannot be changed on the way, or has a value that cannot be used.
    """
    fixed = sorted(set(changes) - set(fields_that("branchable", config.task)))
    if fixed:
        raise ConfigError(
            dict.fromkeys(
                fixed,
                "This cannot change on the way: the weights or data depend on it, or nothing does. Start a new run.",
            )
        )
    changed = config.with_overrides(changes)
    if changed.max_steps <= step:
        raise ConfigError(
            {"max_steps": f"The branch begins after step {step:,}; choose more training steps than that."}
        )
    if changed.max_steps == config.max_steps:
        return changed
    ponders_from = round(config.act_from * config.max_steps)  # that step stays, however many steps there are
    return changed.with_overrides({"act_from": min(1.0, ponders_from / changed.max_steps)})


def checkpoint_steps(run_folder: Path, model_name: str | None = None) -> list[int]:
    """The steps at which a model of a run, or any of its models, has a checkpoint, in their order."""
    model = "*" if model_name is None else folder_name(model_name)
    manifests = run_folder.glob(f"{model}/checkpoints/step-????????/{CHECKPOINT_MANIFEST}")
    names = (path.parent.name.removeprefix("step-") for path in manifests)
    return sorted(int(name) for name in names if name.isdigit())


def nearest_checkpoint(steps: list[int], step: int) -> int | None:
    """The one of `steps` that is closest to `step`, of two the earlier; None when there are none."""
    return min(steps, key=lambda each: (abs(each - step), each), default=None)


def checkpoint_folder(run_folder: Path, model_name: str, step: int) -> Path:
    """Where that checkpoint lies.

    Raises:
        RunError: it is no longer there.
    """
    folder = run_folder / folder_name(model_name) / "checkpoints" / f"step-{step:08d}"
    if not (folder / CHECKPOINT_MANIFEST).is_file():
        raise RunError(f"The checkpoint of step {step:,} is no longer there. Choose another step.")
    return folder


def keep_beginning(checkpoint: Path, begin: Path) -> None:
    """Have a checkpoint in the folder `begin`, too, whole or not at all: the run that it is of may go on or go.

    Raises:
        RunError: it is no longer there.
        OSError: there is no room for it.
    """
    unfinished = begin.with_name("begin.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        shutil.copytree(checkpoint, unfinished / checkpoint.name, copy_function=_link_or_copy)
        unfinished.rename(begin)
    except (shutil.Error, FileNotFoundError) as error:  # the run that it is of has just removed it
        shutil.rmtree(unfinished, ignore_errors=True)
        raise RunError("The checkpoint was just replaced by a newer one. Choose a step again.") from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _link_or_copy(source: str, target: str) -> None:
    """A second name for the same file, which is never changed; a copy where the disk knows no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

"""Derived runs: the twin, with the gradient filter switched the other way, and the branch from a checkpoint.

It knows configs and checkpoint folders. It starts nothing and writes no database.
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
    """The same settings with GrokFast switched the other way. The seed stays, and so do initial weights and data."""
    return config.with_overrides({"grokfast_enabled": not config.grokfast_enabled})


def twin_key(run_id: str) -> str:
    """The start key of a run's twin: it makes sure that there is at most one."""
    return f"twin-{run_id}"


def branch_config(config: TrainingConfig, step: int, changes: Mapping[str, Any]) -> TrainingConfig:
    """`config` with `changes` for a run that continues after `step`.

    Raises:
        ConfigError: a setting cannot be changed in a branch, or its value cannot be used.
    """
    fixed = sorted(set(changes) - set(fields_that("branchable", config.task)))
    if fixed:
        raise ConfigError(
            dict.fromkeys(
                fixed,
                "A branch cannot change this: the weights or data depend on it, or nothing does. Start a new run.",
            )
        )
    changed = config.with_overrides(changes)
    if changed.max_steps <= step:
        raise ConfigError(
            {"max_steps": f"The branch starts after step {step:,}; choose more training steps than that."}
        )
    if changed.max_steps == config.max_steps:
        return changed
    ponders_from = round(config.act_from * config.max_steps)  # keep that step, however many steps there are
    return changed.with_overrides({"act_from": min(1.0, ponders_from / changed.max_steps)})


def checkpoint_steps(run_folder: Path, model_name: str | None = None) -> list[int]:
    """The checkpoint steps of a model of a run, or of all its models, in order."""
    model = "*" if model_name is None else folder_name(model_name)
    manifests = run_folder.glob(f"{model}/checkpoints/step-????????/{CHECKPOINT_MANIFEST}")
    names = (path.parent.name.removeprefix("step-") for path in manifests)
    return sorted(int(name) for name in names if name.isdigit())


def nearest_checkpoint(steps: list[int], step: int) -> int | None:
    """The one of `steps` closest to `step`, the earlier of two equally close; None without steps."""
    return min(steps, key=lambda each: (abs(each - step), each), default=None)


def checkpoint_folder(run_folder: Path, model_name: str, step: int) -> Path:
    """The folder of a checkpoint.

    Raises:
        RunError: it is no longer there.
    """
    folder = run_folder / folder_name(model_name) / "checkpoints" / f"step-{step:08d}"
    if not (folder / CHECKPOINT_MANIFEST).is_file():
        raise RunError(f"The checkpoint of step {step:,} is no longer there. Choose another step.")
    return folder


def keep_beginning(checkpoint: Path, begin: Path) -> None:
    """Link or copy a checkpoint to the folder `begin`, completely or not at all: its run may replace or delete it.

    Raises:
        RunError: it is no longer there.
        OSError: there is no room for it.
    """
    unfinished = begin.with_name("begin.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        shutil.copytree(checkpoint, unfinished / checkpoint.name, copy_function=_link_or_copy)
        unfinished.rename(begin)
    except (shutil.Error, FileNotFoundError) as error:  # its run has just removed it
        shutil.rmtree(unfinished, ignore_errors=True)
        raise RunError("A newer checkpoint has just replaced this one. Choose a step again.") from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _link_or_copy(source: str, target: str) -> None:
    """Hard-link the file, which is never changed; copy it where the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

"""Optional parts (pip's extras): which settings need a missing one, and the command to install it. Loads none."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from cognate_core.config import TRACKERS, TrainingConfig
from cognate_core.errors import ConfigError

_MODULES = {"ray": "ray", "tensorboard": "tensorboardX", "trackio": "trackio"}  # extra -> the module that it installs


def install_command(names: Sequence[str]) -> str | None:
    """The command that installs the missing ones of these engines and trackers; None if none is missing."""
    missing = [name for name in names if name in _MODULES and find_spec(_MODULES[name]) is None]
    if not missing:
        return None
    python = f'"{sys.executable}"' if os.name == "nt" else shlex.quote(sys.executable)
    return f'{python} -m pip install "cognate-studio[{",".join(missing)}]"'


def require_installed(config: TrainingConfig) -> None:
    """Raises ConfigError, with the command to install it, if the engine or a tracker of `config` is missing."""
    problems = {}
    engine, trackers = install_command([config.engine]), install_command(config.trackers)
    if engine:
        problems["engine"] = f"Ray must be installed first: {engine}. Then restart the studio, or choose local."
    if trackers:
        titles = " and ".join(TRACKERS[name] for name in config.trackers if install_command([name]))
        problems["trackers"] = f"{titles} must be installed first: {trackers}. Then restart the studio."
    if problems:
        raise ConfigError(problems)

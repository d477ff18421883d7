"""Removes private folders from settings and texts that leave this computer."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from cognate_core.config.training_config import TrainingConfig, fields_that


def portable_config(config: TrainingConfig) -> TrainingConfig:
    """`config` without folders and addresses of this computer. An own file keeps its name."""
    return without_places(config, TrainingConfig.model_fields["output_dir"].default)


def without_places(config: TrainingConfig, folder: str) -> TrainingConfig:
    """`config` in this folder. Its cluster is removed: joining somebody else's would run their code here."""
    elsewhere: dict[str, Any] = {name: info.default for name, info in fields_that("personal").items()}
    elsewhere |= {"output_dir": folder, "dataset_path": config.dataset_path and file_name_only(config.dataset_path)}
    return config.model_copy(update=elsewhere)


def without_folders(text: str, home: Path) -> str:
    """`text`, plain or JSON, without the data directory and the home folder in its paths."""
    forms = [form for place in (str(home), str(Path.home())) for form in (place, json.dumps(place)[1:-1])]
    forms = [form for form in forms if len(form) > 1]  # "/" is nobody's home folder
    if not forms:
        return text
    folder = rf"(?<![\w./\\])(?:{'|'.join(map(re.escape, forms))})(?![\w-]|\.\w)[/\\]*"
    return re.sub(folder, lambda found: "" if found[0][-1] in r"\/" else "...", text)


def file_name_only(path: str) -> str:
    """The last part of a POSIX or Windows path: elsewhere, an own file is known by its name."""
    return PureWindowsPath(PurePosixPath(path).name).name

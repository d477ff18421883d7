"""Settings and texts that leave this computer, without its folders, which are nobody else's concern."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from cognate_core.config.training_config import TrainingConfig, fields_that


def portable_config(config: TrainingConfig) -> TrainingConfig:
    """`config` without folders and addresses of this computer. A file of one's own keeps its name."""
    return without_places(config, TrainingConfig.model_fields["output_dir"].default)


def without_places(config: TrainingConfig, folder: str) -> TrainingConfig:
    """`config` in this folder. A cluster of somebody else's is never joined: it would run its code here."""
    elsewhere: dict[str, Any] = {name: info.default for name, info in fields_that("personal").items()}
    elsewhere |= {"output_dir": folder, "dataset_path": config.dataset_path and file_name_only(config.dataset_path)}
    return config.model_copy(update=elsewhere)


def without_folders(text: str, home: Path) -> str:
    """`text`, plain or JSON, with the data directory and the person's own folder taken out of the paths in it."""
    forms = [form for place in (str(home), str(Path.home())) for form in (place, json.dumps(place)[1:-1])]
    forms = [form for form in forms if len(form) > 1]  # no person's folder is "/"
    if not forms:
        return text
    folder = rf"(?<![\w./\\])(?:{'|'.join(map(re.escape, forms))})(?![\w-]|\.\w)[/\\]*"
    return re.sub(folder, lambda found: "" if found[0][-1] in r"\/" else "...", text)


def file_name_only(path: str) -> str:
    """The last part of a path of either system: a file of one's own is known elsewhere by its name."""
    return PureWindowsPath(PurePosixPath(path).name).name

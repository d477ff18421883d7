"""Settings of a run on the command line: a TOML file, a preset or another run's, with single ones changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cognate_core.cli.connection import chosen_server
from cognate_core.client import Client
from cognate_core.config import READ_BY, TrainingConfig
from cognate_core.config.presets import get_preset
from cognate_core.errors import ConfigError
from cognate_core.files import found_path

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting. May be repeated.")
]
FileArgument = Annotated[
    Path | None, typer.Argument(help="A TOML file with settings; `cognate presets first-run` prints one.")
]
PresetOption = Annotated[str | None, typer.Option(help="Use a preset instead of a file.")]


def read_config(path: Path) -> TrainingConfig:
    """The settings of a file. A dataset file is named from the folder of the settings. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            {"file": f"There is no file {path}. `cognate presets first-run > {path}` creates one."}
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError({"file": f"{path} is not UTF-8 text. Save it as UTF-8 and try again."}) from error
    except OSError as error:
        raise ConfigError({"file": f"{path} cannot be read ({error.strerror or error})."}) from error
    config = TrainingConfig.from_toml(text)
    if config.dataset_path is None:
        return config
    own = found_path(path.absolute().parent / config.dataset_path) or found_path(config.dataset_path)
    return config.with_overrides({"dataset_path": str(own)}) if own else config


def parse_changes(pairs: list[str] | None) -> dict[str, str]:
    """The settings in --set. Raises ConfigError."""
    for pair in pairs or []:
        if "=" not in pair:
            raise ConfigError({"set": f"--set needs KEY=VALUE, such as --set max_steps=100; got {pair!r}."})
    return {key.strip(): value.strip() for key, value in (pair.split("=", 1) for pair in pairs or [])}


def chosen_config(file: Path | None, preset: str | None, changes: list[str] | None) -> TrainingConfig:
    """The settings of a file or a preset, changed. Raises ConfigError."""
    if (file is None) == (preset is None):
        raise ConfigError({"file": "Give either a file with settings or a --preset; `cognate presets` lists them."})
    config = read_config(file) if file is not None else get_preset(str(preset)).config
    return config.with_overrides(parse_changes(changes))


def sent(studio: Client, config: TrainingConfig) -> dict[str, Any]:
    """Settings for the API. A local dataset file is uploaded first if the studio is another process."""
    settings = config.model_dump(mode="json")
    path = None if config.dataset_path is None else found_path(config.dataset_path)
    if path is None:  # or a name for the studio to check
        return settings
    if chosen_server() is None:
        return {**settings, "dataset_path": str(path.resolve())}
    if path.is_dir():
        raise ConfigError({"dataset_path": f"{path} is a folder. To upload it, put its rows into one file."})
    usual = TrainingConfig()
    said = {name: value for name in READ_BY if (value := getattr(config, name)) != getattr(usual, name)}
    return {**settings, "dataset_path": studio.add_file(path, said)["name"]}

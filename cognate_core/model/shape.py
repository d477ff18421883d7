"""The settings that shape a model, as in its config.json, and which of its layers do what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig, fields_that

ARCHITECTURE_FIELDS = tuple(fields_that("shapes_model", "text"))
"""The settings of TrainingConfig that decide what the finished model computes: the content of `config.json`."""

_FIRST_FIELDS = ARCHITECTURE_FIELDS[:5]  # the only fields of a config.json before pondering and memory,
_FIRST_MEANING = {"act_enabled": False, "ltm_enabled": False, "attention_window": 65536}  # and what it meant
_LATER_MEANING = {"mem_layers": "all"}  # what a config.json without these fields meant


def core_layers(n_layers: int) -> range:
    """The layers that pondering repeats: all but about a quarter at each end."""
    outer = (n_layers + 1) // 4
    return range(outer, n_layers - outer)


def reading_layers(config: TrainingConfig) -> range:
    """The layers that read the memory."""
    if not config.ltm_enabled:
        return range(config.n_layers, config.n_layers)
    if config.mem_layers == "all":
        return range(config.n_layers)
    only = min(core_layers(config.n_layers).stop, config.n_layers - 1)
    return range(only, only + 1)


def config_of_shape(shape: dict[str, Any]) -> TrainingConfig:
    """A config with these architecture fields and defaults for everything else."""
    return TrainingConfig.from_values({**shape, "train_seq_len": min(512, shape["max_seq_len"])})


def read_shape(folder: Path) -> TrainingConfig:
    """The settings that `save_pretrained` wrote beside the weights; the others have no meaning.

    Raises:
        OSError: the file is missing.
        ValueError, KeyError, TypeError, ConfigError: it is damaged.
    """
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if shape.get("model") == "arithmetic":
        raise ValueError("it is a model of the Grokking lab: it calculates and does not write text")
    if "act_enabled" in shape:
        shape = _LATER_MEANING | shape
        values = {name: shape[name] for name in ARCHITECTURE_FIELDS}
    else:
        values = {name: shape[name] for name in _FIRST_FIELDS} | _FIRST_MEANING
    return config_of_shape(values)

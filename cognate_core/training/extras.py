"""Which optional parts are installed. Loads none of them."""

from __future__ import annotations

import importlib.util

from cognate_core.config import TrainingConfig
from cognate_core.errors import ConfigError

RAY_COMMAND = 'pip install "cognate-studio[ray]"'


def require_engine(config: TrainingConfig) -> None:
    """Raises ConfigError when the engine that `config` names is not installed here."""
    if config.engine == "ray" and importlib.util.find_spec("ray") is None:
        raise ConfigError(
            {"engine": f"The ray engine is not installed. Install it with {RAY_COMMAND}, or choose local."}
        )

"""Training data for tests, made as a run makes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.data.loader import MixtureLoader


def prepared_folder(config: TrainingConfig, cache: Path) -> str:
    """The folder of the built-in problems, packed with `config`."""

    async def run() -> str:
        loader = MixtureLoader(config, cache, lambda record: None, lambda message: None)
        await loader.download_dataset("Synthetic", "built in")
        return await loader.create_mixed_training_data()

    return asyncio.run(run())

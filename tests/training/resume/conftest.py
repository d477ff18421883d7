"""Fixtures of these tests."""

import asyncio
from collections.abc import Callable

import pytest

from cognate_core.data.loader import MixtureLoader
from tests.training.resume.lives import (
    TINY,
    Reference,
)


@pytest.fixture(scope="package")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    async def run() -> str:
        loader = MixtureLoader(TINY, tmp_path_factory.mktemp("cache"), lambda record: None, lambda message: None)
        await loader.download_dataset("Synthetic", "built in")
        return await loader.create_mixed_training_data()

    return asyncio.run(run())


@pytest.fixture(scope="package")
def references(prepared: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reference]:
    """What each kind comes to when it is left alone."""
    made: dict[str, Reference] = {}

    def reference(kind: str) -> Reference:
        if kind not in made:
            made[kind] = Reference(prepared, tmp_path_factory.mktemp("alone"), kind)
        return made[kind]

    return reference


@pytest.fixture
def plain(references: Callable[[str], Reference]) -> Reference:
    return references("EMA, plain")

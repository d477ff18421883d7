"""Fixtures of these tests."""

from collections.abc import Callable

import pytest

from tests.training.preparing import prepared_folder
from tests.training.resume.lives import (
    TINY,
    Reference,
)


@pytest.fixture(scope="package")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepared_folder(TINY, tmp_path_factory.mktemp("cache"))


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

"""Prepared data."""

import pytest

from cognate_core.data.prepared import PreparedData
from tests.training.loop.trained import TINY, prepare


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(TINY, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Data where only answers count, so that batches have different numbers of targets."""
    return prepare(TINY.with_overrides({"loss_on_answer_only": True}), tmp_path_factory.mktemp("cache"))

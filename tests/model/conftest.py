"""All tests of the model run on one thread."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """As `one_thread`, without being asked for."""

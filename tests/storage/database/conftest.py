"""A writer, and the clock by which it commits."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cognate_core.storage.database import DatabaseWriter
from tests.storage.database.notes import Clock, OpenWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studio.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_writer(path: Path) -> Iterator[OpenWriter]:
    """`open_writer(interval=..., clock=...)`: a DatabaseWriter with an empty table `notes`."""
    opened: list[DatabaseWriter] = []

    def open_one(**pace: Any) -> DatabaseWriter:
        writer = DatabaseWriter(path, **pace)
        opened.append(writer)
        writer.call(lambda db: db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, who, what)") and None)
        return writer

    yield open_one
    for writer in opened:
        writer.close()


@pytest.fixture
def writer(open_writer: OpenWriter) -> DatabaseWriter:
    """With an empty table `notes`."""
    return open_writer()


@pytest.fixture
def _switching_often() -> Iterator[None]:
    """Threads take turns so often that a gap between two lines is met."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)

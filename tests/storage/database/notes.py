"""A table to write into, a lock to hold, a disk to fill."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from cognate_core.storage.database import DatabaseWriter, reading

OpenWriter = Callable[..., DatabaseWriter]


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def written(path: Path, query: str = "SELECT who, what FROM notes ORDER BY id") -> list[tuple[Any, ...]]:
    with reading(path) as connection:
        return [tuple(row) for row in connection.execute(query)]


def insert_coordination(db: Database, row: dict[str, str]) -> None:
    db.table("coordination").insert(row)


def note(db: Database, who: str, what: Any = None) -> None:
    db.execute("INSERT INTO notes (who, what) VALUES (?, ?)", [who, what])


@contextmanager
def held(path: Path) -> Iterator[sqlite3.Connection]:
    """The connection of another program, such as a backup, that holds the database until here or its own ROLLBACK."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    finally:
        connection.close()


def statements_of(writer: DatabaseWriter, beginning: str) -> list[str]:
    """Grows with each statement from now on that begins so."""
    statements: list[str] = []
    writer.call(
        lambda db: db.conn.set_trace_callback(lambda sql: statements.append(sql) if sql.startswith(beginning) else None)
    )
    statements.clear()  # of those of this call
    return statements


def tried_again(attempts: list[str], after: int) -> bool:
    """Whether a whole attempt has begun and failed since there were `after`: the next one has begun."""
    return len(attempts) > after + 1


def give_up_soon(writer: DatabaseWriter) -> None:
    """From now on a locked database is one at once, and not after ten seconds."""
    writer.call(lambda db: db.execute("PRAGMA busy_timeout = 10").fetchone())


def limit_size(writer: DatabaseWriter, more_pages: int) -> None:
    """From now on the database may grow by so many pages; SQLite then says what it says on a full disk."""

    def limit(db: Database) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + more_pages}").fetchone()

    writer.call(limit)


def killed(path: Path, elsewhere: Path) -> None:
    """Leave at `path` what a studio leaves that is killed: a database, and beside it what was written last."""
    writer = DatabaseWriter(elsewhere / "studio.sqlite")
    for key in ("checkpointed", "in the wal"):
        row = {"key": key, "value": "{}", "updated_at": ""}
        writer.call(partial(insert_coordination, row=row))
        if key == "checkpointed":
            connection = sqlite3.connect(writer.path)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            connection.close()
    for ending in ("", "-wal"):
        content = (elsewhere / f"studio.sqlite{ending}").read_bytes()
        assert (b"in the wal" in content) == (ending == "-wal")
        path.with_name(path.name + ending).write_bytes(content)
    writer.close()


def unopenable(folder: Path, why: str) -> Path:
    path = folder / "studio.sqlite"
    if why == "a folder":
        path.mkdir()
    elif why == "no database":
        path.write_text("Dear diary, today I trained a model. " * 200)
    else:
        path.write_text("")
        path = path / "studio.sqlite"
    return path


def open_files(path: Path) -> list[str]:
    """What this process has open of the database at `path` (its own file and SQLite's two beside it)."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux tells which files are open")
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            name = os.readlink(descriptor)
        except OSError:  # the one that listed the folder
            continue
        if name.startswith(str(path)):
            found.append(name)
    return found

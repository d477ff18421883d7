"""A full disk, and another program that has the database locked."""

import re
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from sqlite_utils import Database

from cognate_core.errors import DISK_FULL, StorageError
from cognate_core.storage.database import DatabaseWriter
from tests.storage.database.notes import (
    OpenWriter,
    give_up_soon,
    held,
    limit_size,
    note,
    statements_of,
    tried_again,
    written,
)
from tests.waiting import until


class TestFullDisk:
    def test_in_a_call_nothing_is_kept_and_later_writes_work(self, path: Path, writer: DatabaseWriter) -> None:
        def write_much(db: Database) -> None:
            note(db, "small")
            note(db, "large", "x" * 1_000_000)

        limit_size(writer, more_pages=3)
        with pytest.raises(StorageError, match=re.escape(DISK_FULL)):
            writer.call(write_much)
        assert written(path) == []
        limit_size(writer, more_pages=1000)
        writer.call(write_much)
        assert [who for who, _ in written(path)] == ["small", "large"]

    def test_of_appended_rows_is_told_once_and_later_rows_are_written(self, path: Path, writer: DatabaseWriter) -> None:
        limit_size(writer, more_pages=3)
        writer.append("notes", {"who": "large", "what": "x" * 1_000_000})
        writer.call(lambda db: None)
        with pytest.raises(StorageError, match=re.escape(DISK_FULL)):
            writer.append("notes", {"who": "teller"})
        limit_size(writer, more_pages=1000)
        writer.append("notes", {"who": "later"})
        writer.call(lambda db: None)
        assert written(path) == [("later", None)]


class TestLocked:
    """Another program, such as a backup, holds the database."""

    def test_who_appends_does_not_wait_and_no_row_is_lost(self, path: Path, writer: DatabaseWriter) -> None:
        with held(path):  # whoever waited would wait for the end of this
            for number in range(200):
                writer.append("notes", {"who": "patient", "what": number})
        writer.call(lambda db: None)
        assert [what for _, what in written(path)] == list(range(200))

    def test_rows_outlast_a_lock_that_is_longer_than_the_timeout(self, path: Path, open_writer: OpenWriter) -> None:
        # The rule (docs, reliability): the database is locked for 10 s; training goes on, and its log comes later.
        writer = open_writer(interval=0.02)
        give_up_soon(writer)
        attempts = statements_of(writer, "BEGIN")
        with held(path):
            for number in range(5):  # each time the writer has tried, and had to give up
                tried = len(attempts)
                writer.append("notes", {"who": "patient", "what": number})
                until(partial(tried_again, attempts, tried), "one more attempt")
            assert written(path) == []
        writer.call(lambda db: None)
        assert [what for _, what in written(path)] == list(range(5))

    def test_a_call_does_not_overtake_rows_that_still_wait(self, path: Path, writer: DatabaseWriter) -> None:
        def unlock_after_the_refusal(statement: str) -> None:
            if statement == "ROLLBACK" and other.in_transaction:
                other.execute("ROLLBACK")

        give_up_soon(writer)
        writer.call(lambda db: db.conn.set_trace_callback(unlock_after_the_refusal))
        with held(path) as other:
            writer.append("notes", {"who": "before the call"})
            with suppress(StorageError):  # it may as well be refused: who called can try again
                assert writer.call(lambda db: db.execute("SELECT count(*) FROM notes").fetchone()[0]) == 1
        writer.close()
        assert written(path) == [("before the call", None)]

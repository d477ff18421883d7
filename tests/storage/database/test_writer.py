"""What is appended comes in order, together, and soon."""

import inspect
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from cognate_core.errors import StorageError
from cognate_core.storage.database import USUAL_DELAY_SECONDS, DatabaseWriter
from tests.storage.database.notes import Clock, OpenWriter, give_up_soon, held, note, statements_of, written
from tests.waiting import LONG, until


class TestAppend:
    @pytest.mark.parametrize("interval", [0.002, 1.0])
    def test_rows_from_many_threads_all_arrive_in_the_order_of_their_thread(
        self, path: Path, open_writer: OpenWriter, interval: float
    ) -> None:
        writer, together = open_writer(interval=interval), threading.Barrier(8)

        def append_all(who: str) -> None:
            together.wait()
            for number in range(250):
                writer.append("notes", {"who": who, "what": number})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(append_all, "abcdefgh"))
        writer.call(lambda db: None)

        rows = written(path)
        assert len(rows) == 8 * 250
        for who in "abcdefgh":
            assert [what for each, what in rows if each == who] == list(range(250))

    def test_the_first_row_does_not_wait_for_the_interval_to_pass(self, path: Path) -> None:
        writer = DatabaseWriter(path, interval=2 * LONG)
        writer.append("coordination", {"key": "first", "value": "{}", "updated_at": ""})
        until(lambda: written(path, "SELECT key FROM coordination"), "the first row")
        writer.close()

    def test_rows_become_visible_though_nothing_more_is_asked(
        self, path: Path, open_writer: OpenWriter, clock: Clock
    ) -> None:
        writer = open_writer(interval=0.05, clock=clock)
        for number in range(3):  # for the later ones the interval after the first one's commit has not passed
            writer.append("notes", {"who": "quiet", "what": number})
        until(lambda: len(written(path)) == 3, "three rows")

    def test_there_is_one_commit_an_interval_however_many_rows(
        self, path: Path, open_writer: OpenWriter, clock: Clock
    ) -> None:
        writer = open_writer(interval=2 * LONG, clock=clock)  # only the clock of the test lets it pass
        commits = statements_of(writer, "COMMIT")
        for _ in range(5):
            clock.now += 2 * LONG
            for number in range(50):
                writer.append("notes", {"who": "busy", "what": number})
                writer.put_latest("busy", lambda db: note(db, "latest"))
        paced = writer.call(lambda db: len(commits)) - 1  # the call has what waits written first
        assert 1 <= paced <= 5
        assert [what for who, what in written(path) if who == "busy"] == [*range(50)] * 5

    def test_a_refused_row_is_told_once_and_later_rows_are_written(self, path: Path, writer: DatabaseWriter) -> None:
        writer.append("notes", {"no_such_column": 1})
        writer.call(lambda db: None)
        with pytest.raises(StorageError, match=r"The database failed \(.*no_such_column.*\)\."):
            writer.append("notes", {"who": "teller"})
        writer.append("notes", {"who": "later"})
        writer.call(lambda db: None)
        assert written(path) == [("later", None)]

    def test_a_refusal_is_told_to_one_who_puts_a_latest_too(self, writer: DatabaseWriter) -> None:
        writer.append("notes", {"no_such_column": 1})
        writer.call(lambda db: None)
        with pytest.raises(StorageError, match="The database failed"):
            writer.put_latest("key", lambda db: None)
        writer.put_latest("key", lambda db: None)

    @pytest.mark.parametrize("what", ["\ud800", 2**64, object()], ids=["half a character", "too large", "no value"])
    def test_a_value_that_sqlite_cannot_take_does_not_end_the_writer(self, path: Path, what: Any) -> None:
        writer = DatabaseWriter(path)
        writer.append("coordination", {"key": "bad", "value": what, "updated_at": ""})
        answer = writer.call(lambda db: "still here")
        assert answer == "still here"
        with pytest.raises(StorageError, match="failed"):
            writer.append("coordination", {"key": "teller", "value": "", "updated_at": ""})
        writer.close()

    def test_a_latest_that_raises_does_not_end_the_writer(self, path: Path) -> None:
        def fail(db: Database) -> None:
            raise ValueError("not what was expected")

        writer = DatabaseWriter(path)
        writer.put_latest("bad", fail)
        assert writer.call(lambda db: "still here") == "still here"
        writer.close()


class TestPutLatest:
    def test_of_several_with_one_key_only_the_last_is_run_and_in_its_place(
        self, path: Path, writer: DatabaseWriter
    ) -> None:
        for key, what in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("a", 3)]:
            writer.put_latest(key, partial(note, who=key, what=what))
        writer.call(lambda db: None)
        assert written(path) == [("c", 1), ("b", 2), ("a", 3)]

    def test_a_later_commit_runs_the_same_key_again(self, path: Path, writer: DatabaseWriter) -> None:
        for what in (1, 2):
            writer.put_latest("a", partial(note, who="a", what=what))
            writer.call(lambda db: None)
        assert written(path) == [("a", 1), ("a", 2)]


class TestCall:
    def test_sees_what_was_appended_before_and_gives_what_the_function_gives(self, writer: DatabaseWriter) -> None:
        for number in range(20):
            writer.append("notes", {"who": "before", "what": number})
        assert writer.call(lambda db: db.execute("SELECT count(*) FROM notes").fetchone()[0]) == 20

    def test_is_visible_to_readers_when_it_returns(self, path: Path, writer: DatabaseWriter) -> None:
        writer.call(lambda db: note(db, "call"))
        assert written(path) == [("call", None)]

    @pytest.mark.parametrize("kind", [LookupError, SystemExit])
    def test_an_exception_rolls_everything_back_and_reaches_the_caller(
        self, path: Path, writer: DatabaseWriter, kind: type[BaseException]
    ) -> None:
        def fail(db: Database) -> None:
            note(db, "half")
            db.table("notes").insert_all({"who": f"many {n}"} for n in range(500))
            raise kind("after half of the work")

        writer.append("notes", {"who": "before"})
        with pytest.raises(kind, match="after half of the work"):
            writer.call(fail)
        writer.call(lambda db: note(db, "after"))
        assert written(path) == [("before", None), ("after", None)]

    def test_what_sqlite_refuses_is_told_as_a_sentence(self, path: Path, writer: DatabaseWriter) -> None:
        def clash(db: Database) -> None:
            db.execute("INSERT INTO notes (id) VALUES (1)")
            db.execute("INSERT INTO notes (id) VALUES (1)")

        with pytest.raises(StorageError, match=r"The database failed \(UNIQUE constraint failed"):
            writer.call(clash)
        assert written(path) == []

    def test_read_and_write_in_one_call_is_never_torn_by_other_threads(
        self, path: Path, writer: DatabaseWriter
    ) -> None:
        def add_one(db: Database) -> None:
            highest = db.execute("SELECT coalesce(max(what), 0) FROM notes").fetchone()[0]
            note(db, "counter", highest + 1)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: writer.call(add_one), range(40)))
        assert [what for _, what in written(path)] == list(range(1, 41))


class TestDelay:
    @pytest.fixture
    def writer(self, open_writer: OpenWriter, clock: Clock) -> DatabaseWriter:
        """Takes notice of a lock soon, and tries again soon."""
        writer = open_writer(interval=0.02, clock=clock)
        give_up_soon(writer)
        return writer

    @pytest.fixture
    def attempts(self, writer: DatabaseWriter) -> list[str]:
        """Grows with each attempt to write."""
        return statements_of(writer, "BEGIN")

    @pytest.fixture
    def other(self, path: Path, attempts: list[str]) -> Iterator[sqlite3.Connection]:
        """Another program that holds the database."""
        with held(path) as connection:
            yield connection

    def test_is_told_while_rows_wait_and_is_over_once_they_are_written(
        self, path: Path, writer: DatabaseWriter, other: sqlite3.Connection, clock: Clock, attempts: list[str]
    ) -> None:
        assert writer.delayed_seconds == 0, "nothing waits"
        writer.append("notes", {"who": "first"})
        until(lambda: attempts)
        clock.now += USUAL_DELAY_SECONDS
        assert writer.delayed_seconds == 0, "no longer than usual"
        clock.now += 1
        assert writer.delayed_seconds == USUAL_DELAY_SECONDS + 1
        tried = len(attempts)
        writer.append("notes", {"who": "second"})
        until(lambda: len(attempts) > tried + 1)
        clock.now += 1
        assert writer.delayed_seconds == USUAL_DELAY_SECONDS + 2, "it is the oldest row's waiting"
        other.execute("ROLLBACK")
        until(lambda: writer.delayed_seconds == 0)
        assert written(path) == [("first", None), ("second", None)]
        clock.now += 1000
        assert writer.delayed_seconds == 0, "nothing waits any more"

    def test_counts_a_latest_too(
        self, writer: DatabaseWriter, other: sqlite3.Connection, clock: Clock, attempts: list[str]
    ) -> None:
        writer.put_latest("key", lambda db: note(db, "latest"))
        until(lambda: attempts)
        clock.now += USUAL_DELAY_SECONDS + 1
        assert writer.delayed_seconds > 0
        other.execute("ROLLBACK")
        writer.call(lambda db: None)
        assert writer.delayed_seconds == 0

    def test_a_row_that_is_refused_meanwhile_takes_no_other_row_with_it(
        self, path: Path, writer: DatabaseWriter, other: sqlite3.Connection, attempts: list[str]
    ) -> None:
        writer.append("notes", {"who": "good"}, owner="good")
        writer.append("notes", {"no_such_column": 1}, owner="bad")
        writer.append("notes", {"who": "later"}, owner="good")
        until(lambda: len(attempts) > 10, "several attempts")
        other.execute("ROLLBACK")
        writer.raise_refused("good")
        with pytest.raises(StorageError, match="no_such_column"):
            writer.raise_refused("bad")
        assert written(path) == [("good", None), ("later", None)]

    def test_a_call_is_refused_meanwhile_in_plain_words(
        self, path: Path, writer: DatabaseWriter, other: sqlite3.Connection
    ) -> None:
        writer.append("notes", {"who": "first"})
        with pytest.raises(StorageError, match="locked"):
            writer.call(lambda db: note(db, "call"))
        other.execute("ROLLBACK")
        writer.call(lambda db: note(db, "later"))
        assert written(path) == [("first", None), ("later", None)]

    def test_does_not_follow_a_clock_that_is_set_back(self) -> None:
        assert inspect.signature(DatabaseWriter).parameters["clock"].default is time.monotonic


class TestRaiseRefused:
    def test_tells_what_was_refused_once_and_to_its_owner_alone(self, path: Path, writer: DatabaseWriter) -> None:
        writer.append("notes", {"no_such_column": 1}, owner="bad")
        writer.append("notes", {"who": "good"}, owner="good")
        writer.raise_refused("good")
        with pytest.raises(StorageError, match="no_such_column"):
            writer.raise_refused("bad")
        writer.raise_refused("bad")
        assert written(path) == [("good", None)]

    def test_writes_what_waits_first(self, path: Path, writer: DatabaseWriter) -> None:
        for number in range(20):
            writer.append("notes", {"who": "a", "what": number}, owner="a")
        writer.raise_refused("a")
        assert len(written(path)) == 20

"""The database: nothing that was appended is lost, nobody who appends waits, and refusals are told as sentences."""

import inspect
import os
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database, Migrations

from cognate_core.config import TrainingConfig
from cognate_core.errors import DISK_FULL, StorageError
from cognate_core.storage import database
from cognate_core.storage.database import USUAL_DELAY_SECONDS, DatabaseWriter, reading, set_damaged_aside
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.schema import first_schema, migrations
from tests.waiting import LONG, until

OpenWriter = Callable[..., DatabaseWriter]


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


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


def written(path: Path, query: str = "SELECT who, what FROM notes ORDER BY id") -> list[tuple[Any, ...]]:
    with reading(path) as connection:
        return [tuple(row) for row in connection.execute(query)]


def insert_coordination(db: Database, row: dict[str, str]) -> None:
    db.table("coordination").insert(row)


def note(db: Database, who: str, what: Any = None) -> None:
    db.execute("INSERT INTO notes (who, what) VALUES (?, ?)", [who, what])


@pytest.fixture
def _switching_often() -> Iterator[None]:
    """Threads take turns so often that a gap between two lines is met."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


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
        with pytest.raises(StorageError, match=r"The database refused \(.*no_such_column.*\)\."):
            writer.append("notes", {"who": "teller"})
        writer.append("notes", {"who": "later"})
        writer.call(lambda db: None)
        assert written(path) == [("later", None)]

    def test_a_refusal_is_told_to_one_who_puts_a_latest_too(self, writer: DatabaseWriter) -> None:
        writer.append("notes", {"no_such_column": 1})
        writer.call(lambda db: None)
        with pytest.raises(StorageError, match="The database refused"):
            writer.put_latest("key", lambda db: None)
        writer.put_latest("key", lambda db: None)

    @pytest.mark.parametrize("what", ["\ud800", 2**64, object()], ids=["half a character", "too large", "no value"])
    def test_a_value_that_sqlite_cannot_take_does_not_end_the_writer(self, path: Path, what: Any) -> None:
        writer = DatabaseWriter(path)
        writer.append("coordination", {"key": "bad", "value": what, "updated_at": ""})
        answer = writer.call(lambda db: "still here")
        assert answer == "still here"
        with pytest.raises(StorageError, match="refused"):
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

        with pytest.raises(StorageError, match=r"The database refused \(UNIQUE constraint failed"):
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


class TestSetDamagedAside:
    @pytest.fixture(scope="class")
    @classmethod
    def sound_file(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A database with something in it."""
        path = tmp_path_factory.mktemp("sound") / "studio.sqlite"
        writer = DatabaseWriter(path)
        for number in range(400):
            writer.append("coordination", {"key": f"key {number}", "value": "x" * 100, "updated_at": ""})
        writer.close()
        return path

    @pytest.fixture
    def sound(self, sound_file: Path) -> bytes:
        return sound_file.read_bytes()

    def damaged(self, content: bytes, how: str) -> bytes:
        middle = len(content) // 2 // 4096 * 4096  # where a page begins: SQLite does not look into texts
        return {
            "flipped in the middle": content[:middle]
            + bytes(b ^ 0xFF for b in content[middle : middle + 64])
            + content[middle + 64 :],
            "flipped in the header": b"sqlite format 3" + content[15:],
            "flipped in the schema": re.sub(rb"(?s)modelsmodels.CREATE TABLE", b"\x9f" * 25, content),
            "zeroed": content[:4096] + bytes(3 * 4096) + content[4 * 4096 :],
            "truncated": content[:middle],
            "truncated to a page": content[:4096],
            "a text file": b"Dear diary, today I trained a model. " * 200,
            "a short text file": b"hello",
        }[how]

    @pytest.mark.parametrize(
        "how",
        [
            "flipped in the middle",
            "flipped in the header",
            "flipped in the schema",
            "zeroed",
            "truncated",
            "truncated to a page",
            "a text file",
            "a short text file",
        ],
    )
    def test_a_damaged_one_is_kept_under_another_name_to_the_byte_and_a_new_one_can_be_made(
        self, path: Path, sound: bytes, how: str
    ) -> None:
        content = self.damaged(sound, how)
        path.write_bytes(content)
        aside = set_damaged_aside(path)
        assert aside is not None
        assert aside.parent == path.parent
        assert aside.name.startswith("studio.sqlite.damaged-")
        assert ":" not in aside.name, "some systems take no such name"
        assert aside.read_bytes() == content
        assert [each.name for each in path.parent.iterdir()] == [aside.name]
        assert set_damaged_aside(path) is None, "now there is none"
        DatabaseWriter(path).close()
        assert written(path, "SELECT count(*) FROM runs") == [(0,)]
        assert aside.read_bytes() == content

    def test_a_sound_one_stays_as_it_is(self, path: Path, sound: bytes) -> None:
        path.write_bytes(sound)
        assert set_damaged_aside(path) is None
        assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == {"studio.sqlite": sound}
        assert written(path, "SELECT count(*) FROM coordination") == [(400,)]

    def test_a_missing_one_is_not_made(self, path: Path) -> None:
        assert set_damaged_aside(path) is None
        assert list(path.parent.iterdir()) == []

    def test_an_empty_one_is_as_good_as_new(self, path: Path) -> None:
        path.write_bytes(b"")
        assert set_damaged_aside(path) is None
        DatabaseWriter(path).close()
        assert written(path, "SELECT count(*) FROM runs") == [(0,)]

    def test_each_one_is_kept(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        contents = [f"no database, number {number}".encode() * 100 for number in range(3)]
        for number, content in enumerate(contents):
            monkeypatch.setattr(database, "utc_now", lambda number=number: f"2026-01-01T00:00:0{number}.000+00:00")
            path.write_bytes(content)
            set_damaged_aside(path)
        assert sorted(each.read_bytes() for each in path.parent.iterdir()) == contents

    def test_what_was_written_last_is_found_in_a_sound_one_whose_studio_was_killed(
        self, path: Path, tmp_path: Path
    ) -> None:
        killed(path, tmp_path / "first life")
        assert set_damaged_aside(path) is None
        assert written(path, "SELECT key FROM coordination ORDER BY key") == [("checkpointed",), ("in the wal",)]

    @pytest.mark.parametrize("how", ["flipped in the middle", "a text file", "truncated", "empty", "gone"])
    def test_what_was_written_last_is_never_deleted(self, path: Path, tmp_path: Path, how: str) -> None:
        """It lies in a file of its own, beside the database."""
        killed(path, tmp_path / "first life")
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(b"" if how == "empty" else self.damaged(path.read_bytes(), how))
        set_damaged_aside(path)
        DatabaseWriter(path).close()
        left = b"".join(each.read_bytes() for each in path.parent.iterdir() if each.is_file())
        assert b"in the wal" in left

    def test_one_that_another_program_holds_is_told_and_not_touched(
        self, path: Path, sound: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.write_bytes(sound)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("PRAGMA journal_mode = DELETE").fetchone()
        other.execute("BEGIN EXCLUSIVE")
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda name, timeout: connect(name, timeout=0.01))
        with pytest.raises(StorageError, match=rf"^The database {re.escape(str(path))} cannot be opened \(.*locked"):
            set_damaged_aside(path)
        other.close()
        assert [each.name for each in path.parent.iterdir() if ".damaged-" in each.name] == []
        assert set_damaged_aside(path) is None

    def test_a_folder_in_its_place_is_told_and_not_touched(self, tmp_path: Path) -> None:
        path = unopenable(tmp_path, "a folder")
        with pytest.raises(StorageError, match="cannot be opened"):
            set_damaged_aside(path)
        assert path.is_dir()

    def test_leaves_no_file_open(self, path: Path, sound: bytes) -> None:
        path.write_bytes(self.damaged(sound, "flipped in the middle"))
        aside = set_damaged_aside(path)
        assert aside is not None
        assert not open_files(path)
        path.write_bytes(sound)
        set_damaged_aside(path)
        assert not open_files(path)

    @settings(max_examples=60, deadline=None)
    @given(place=st.floats(0, 1), noise=st.binary(max_size=300), cut_off=st.booleans())
    def test_whatever_happened_to_it_not_a_byte_is_lost(
        self, sound_file: Path, place: float, noise: bytes, cut_off: bool
    ) -> None:
        sound = sound_file.read_bytes()
        start = int(place * len(sound))
        content = sound[:start] + noise + (b"" if cut_off else sound[start + len(noise) :])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "studio.sqlite"
            path.write_bytes(content)
            try:
                aside = set_damaged_aside(path)
            except StorageError:
                aside = None
            kept = aside or path
            assert [each.name for each in Path(folder).iterdir()] == [kept.name]
            assert kept.read_bytes() == content


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


class TestOpenAndClose:
    def test_close_writes_everything_that_waits(self, path: Path, writer: DatabaseWriter) -> None:
        for number in range(1000):
            writer.append("notes", {"who": "last words", "what": number})
        writer.put_latest("end", lambda db: note(db, "end", -1))
        writer.close()
        assert [what for _, what in written(path)] == [*range(1000), -1]

    def test_close_ends_the_thread_and_closes_the_file_and_may_be_repeated(self, path: Path) -> None:
        before = set(threading.enumerate())
        writer = DatabaseWriter(path)
        writer.close()
        assert set(threading.enumerate()) <= before
        assert not open_files(path)
        writer.close()

    def test_a_call_after_close_is_refused_and_does_not_hang(self, path: Path) -> None:
        writer = DatabaseWriter(path)
        writer.close()
        with pytest.raises(StorageError, match="closed"):
            writer.call(lambda db: None)

    @pytest.mark.usefixtures("_switching_often")
    def test_a_call_while_another_thread_closes_is_done_or_refused_and_does_not_hang(self, tmp_path: Path) -> None:
        def call_until_it_is_closed(writer: DatabaseWriter) -> None:
            with suppress(StorageError):
                while True:
                    assert writer.call(lambda db: "done") == "done"

        for number in range(5):
            writer = DatabaseWriter(tmp_path / f"{number}.sqlite")
            threads = [threading.Thread(target=call_until_it_is_closed, args=(writer,), daemon=True) for _ in range(8)]
            for thread in threads:
                thread.start()
            writer.call(lambda db: None)
            writer.close()
            for thread in threads:
                thread.join(LONG)
                assert not thread.is_alive()

    def test_a_row_after_close_is_refused_and_not_lost_in_silence(self, path: Path) -> None:
        writer = DatabaseWriter(path)
        writer.close()
        with pytest.raises(StorageError, match="closed"):
            writer.append("coordination", {"key": "late", "value": "{}", "updated_at": ""})

    def test_writes_ahead_and_waits_for_the_disk(self, writer: DatabaseWriter) -> None:
        def pragma(name: str) -> Any:
            return writer.call(lambda db: db.execute(f"PRAGMA {name}").fetchone()[0])

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2  # FULL
        assert pragma("foreign_keys") == 1

    def test_missing_folders_are_made(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "studio.sqlite"
        DatabaseWriter(path).close()
        assert path.is_file()

    @pytest.mark.parametrize("why", ["a folder", "no database", "a file above it"])
    def test_what_cannot_be_opened_is_named(self, tmp_path: Path, why: str) -> None:
        path = unopenable(tmp_path, why)
        with pytest.raises(StorageError, match=rf"The database {re.escape(str(path))} cannot be opened"):
            DatabaseWriter(path)

    def test_what_cannot_be_opened_leaves_no_thread_and_no_open_file(self, tmp_path: Path) -> None:
        path = unopenable(tmp_path, "no database")
        content, before = path.read_bytes(), set(threading.enumerate())
        with pytest.raises(StorageError, match="cannot be opened") as refusal:
            DatabaseWriter(path)
        for thread in set(threading.enumerate()) - before:
            thread.join(LONG)
            assert not thread.is_alive()
        assert not open_files(path), refusal  # the error is still held here, as a page holds the one it shows
        assert path.read_bytes() == content

    def test_runs_of_the_first_schema_are_told_as_the_plain_models_they_were(self, path: Path) -> None:
        connection = sqlite3.connect(path)
        db = Database(connection)
        first_only = Migrations("cognate_studio")
        first_only()(first_schema)
        first_only.apply(db)
        new = {"name": "old", "status": "completed", "created_at": "2026-01-01T00:00:00+00:00", "model_names": "[]"}
        db.table("runs").insert_all(
            [
                {**new, "id": "a", "config": TrainingConfig(d_model=64).model_dump_json(exclude={"act_enabled"})},
                {**new, "id": "b", "config": "not JSON"},
            ]
        )
        db.table("metrics").insert({"run_id": "a", "model_name": "m", "step": 1, "loss": 5.0})
        connection.close()
        DatabaseWriter(path).close()
        reader = ProgressReader(path)
        old = reader.run("a").config
        assert (old.d_model, old.act_enabled, old.ltm_enabled) == (64, False, False)
        assert old.attention_window == 65536, "they attended to all of the text"
        assert reader.run("b").config_error is not None
        (row,) = reader.metrics("a")
        assert (row["loss"], row["ponder_steps"], row["memory_notes"]) == (5.0, None, None)
        assert reader.ponder_histograms("a") == []
        assert [reader.run(run_id).colour for run_id in "ab"] == [0, 1], "each has a colour of its own"
        origin = [getattr(reader.run("a"), name) for name in ("parent_run_id", "relation", "branch_step", "quote")]
        assert origin == [None] * 4
        assert (reader.run("a").group_id, reader.run("a").group_name, reader.groups()) == (None, None, [])

    def test_migrations_are_applied_once(self, path: Path) -> None:
        def schema() -> list[tuple[Any, ...]]:
            return written(path, "SELECT type, name, sql FROM sqlite_master ORDER BY name")

        first = DatabaseWriter(path)
        first.append("coordination", {"key": "kept", "value": "{}", "updated_at": ""})
        first.close()
        before, applied = schema(), written(path, "SELECT * FROM _sqlite_migrations")
        second = DatabaseWriter(path)
        second.call(migrations.apply)
        second.close()
        assert schema() == before
        assert written(path, "SELECT * FROM _sqlite_migrations") == applied
        assert written(path, "SELECT key FROM coordination") == [("kept",)]
        assert {"runs", "models", "artifacts", "metrics", "evaluations", "samples", "events"} <= {
            name for _, name, _ in before
        }


class TestReading:
    def test_refuses_to_write(self, path: Path, writer: DatabaseWriter) -> None:
        with reading(path) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM notes")

    def test_goes_on_while_something_is_being_written(self, path: Path, writer: DatabaseWriter) -> None:
        writer.call(lambda db: note(db, "before"))

        def read_in_between(db: Database) -> list[tuple[Any, ...]]:
            note(db, "unfinished")
            return written(path)

        assert writer.call(read_in_between) == [("before", None)]
        assert len(written(path)) == 2

    def test_closes_its_connection_also_after_an_error(self, path: Path, writer: DatabaseWriter) -> None:
        with pytest.raises(ZeroDivisionError, match="division"), reading(path) as connection:
            connection.execute("SELECT 1 / 0")
            raise ZeroDivisionError("division")
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")

    @pytest.mark.parametrize("name", ["a?b=c#d%20e", "two words", "Ünïcödé 数据"])
    def test_an_odd_folder_name_is_no_part_of_an_address(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name / "studio.sqlite"
        DatabaseWriter(path).close()
        assert written(path, "SELECT count(*) FROM runs") == [(0,)]

    def test_a_missing_database_is_named_and_not_made(self, path: Path) -> None:
        with pytest.raises(StorageError, match=rf"The database {re.escape(str(path))} cannot be read"):
            written(path)
        assert not path.exists()

    def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        path = unopenable(tmp_path, "no database")
        with pytest.raises(StorageError, match=rf"The database {re.escape(str(path))} cannot be read"):
            written(path)


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

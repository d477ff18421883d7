"""Access to the SQLite database: one writing thread, many readers.

One process writes, through one thread that owns the only writing connection. Appended rows are committed together, at
most twice a second: appending never waits for the disk.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from cognate_core.contracts import utc_now
from cognate_core.errors import DISK_FULL, DiskFull, StorageError
from cognate_core.storage.schema import add_metrics, migrations

_log = logging.getLogger(__name__)

COMMIT_INTERVAL_SECONDS = 0.5
USUAL_DELAY_SECONDS = 3.0  # a longer delay of the log is shown to people

T = TypeVar("T")


class DatabaseWriter:
    """The only writer. Every method may be called from any thread.

    Each row has an owner (here: a run). If a row is refused, only its owner gets an error, at its next append.
    While another program locks the database, rows wait.

    Args:
        path: of the database, which is created if it does not exist.
        interval: seconds between two commits of appended rows.
        clock: seconds that never go back.

    Raises:
        StorageError: the database cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        interval: float = COMMIT_INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._interval, self._clock = interval, clock
        self._work: queue.Queue[_Append | _Latest | _Call | None] = queue.Queue()
        self._errors: dict[str, StorageError] = {}  # owner -> the error to raise for it
        self._waiting_since: float | None = None  # when the oldest unwritten row was added
        self._closed = False
        self._putting = threading.Lock()  # lets nothing be added after the end
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="database-writer", daemon=True)
        self._thread.start()
        self._ready.result()

    def append(self, table: str, row: Mapping[str, Any], owner: str = "") -> None:
        """Write `row` with the next commit. Never waits.

        Raises:
            StorageError: an earlier row of this owner was refused (raised once), or the writer is closed.
        """
        self._put(_Append(table, row, owner))

    def put_latest(self, key: str, function: Callable[[Database], object], owner: str = "") -> None:
        """Run `function(db)` with the next commit; if several have the same key, only the last. Never waits.

        Raises:
            StorageError: as for `append`.
        """
        self._put(_Latest(key, function, owner))

    @property
    def delayed_seconds(self) -> float:
        """How long the oldest row has been waiting; 0 if that is no longer than usual."""
        since = self._waiting_since
        waited = 0.0 if since is None else self._clock() - since
        return waited if waited > USUAL_DELAY_SECONDS else 0.0

    def call(self, function: Callable[[Database], T]) -> T:
        """Run `function(db)` in one transaction after all rows appended so far, and wait for it.

        Raises:
            StorageError: the database failed, and nothing of `function` is kept; or the writer is closed.
        """
        done: Future[T] = Future()
        with self._putting:
            if self._closed:
                raise _closed(self.path)
            self._work.put(_Call(function, done))
        return done.result()

    def raise_refused(self, owner: str) -> None:
        """Write what is waiting. Raises StorageError if a row of this owner was refused and no error was raised yet."""
        self.call(lambda _: None)
        error = self._errors.pop(owner, None)
        if error is not None:
            raise error

    def close(self) -> None:
        """Write what is waiting and close the database."""
        with self._putting:
            if not self._closed:
                self._closed = True
                self._work.put(None)
        self._thread.join()

    def _put(self, item: _Append | _Latest) -> None:
        error = self._errors.pop(item.owner, None)
        if error is not None:
            raise error
        with self._putting:
            if self._closed:
                raise _closed(self.path)
            self._work.put(item)

    def _run(self) -> None:
        try:
            db = _open_for_writing(self.path)
        except BaseException as error:  # noqa: BLE001  (raised in the thread that waits in __init__)
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        waiting = _Waiting()
        last_commit = 0.0
        closing = False
        while not closing:
            wait = max(0.0, last_commit + self._interval - self._clock()) if waiting else None
            try:
                item = self._work.get(timeout=wait)
            except queue.Empty:
                item = None
            else:
                if isinstance(item, _Append | _Latest):
                    waiting.add(item)
                    self._waiting_since = self._waiting_since or self._clock()
                    if self._clock() < last_commit + self._interval:
                        continue
                closing = item is None
            committed = self._commit(db, waiting)
            if committed:
                waiting = _Waiting()
                self._waiting_since = None
            last_commit = self._clock()
            if isinstance(item, _Call):
                if committed:
                    item.run(db)
                else:
                    item.refuse(StorageError("The database is locked by another program."))
        if waiting:
            _log.error("The database %s stayed locked: the newest rows of the progress log are lost.", self.path)
        db.close()

    def _commit(self, db: Database, waiting: _Waiting) -> bool:
        """Write what is waiting, in one transaction; False if the database is locked and everything must wait."""
        try:
            with db.atomic():
                waiting.write(db)
        except Exception as error:  # noqa: BLE001  (this thread must survive; the bad row's owner gets the error)
            if _is_locked(error):
                return False
            self._errors |= waiting.write_one_by_one(db)
            return not waiting
        return True


class _Append:
    __slots__ = ("owner", "row", "table")

    def __init__(self, table: str, row: Mapping[str, Any], owner: str) -> None:
        self.table, self.row, self.owner = table, dict(row), owner

    def write(self, db: Database) -> None:
        db.table(self.table).insert(self.row)


class _Latest:
    __slots__ = ("function", "key", "owner")

    def __init__(self, key: str, function: Callable[[Database], object], owner: str) -> None:
        self.key, self.function, self.owner = key, function, owner

    def write(self, db: Database) -> None:
        self.function(db)


class _Waiting:
    """What the next commit will write."""

    def __init__(self) -> None:
        self._rows: dict[str, list[_Append]] = defaultdict(list)  # table -> rows
        self._latest: dict[str, _Latest] = {}

    def __bool__(self) -> bool:
        return bool(self._rows or self._latest)

    def add(self, item: _Append | _Latest) -> None:
        if isinstance(item, _Append):
            self._rows[item.table].append(item)
        else:
            self._latest.pop(item.key, None)  # keeps the order of the calls
            self._latest[item.key] = item

    def write(self, db: Database) -> None:
        for table, rows in self._rows.items():
            db.table(table).insert_all([append.row for append in rows])
        for latest in self._latest.values():
            latest.write(db)

    def write_one_by_one(self, db: Database) -> dict[str, StorageError]:
        """Write everything that can be written. Returns the first error of each owner whose rows were refused.

        Rows that find the database locked keep waiting.
        """
        errors: dict[str, StorageError] = {}
        items: list[_Append | _Latest] = [
            *(append for rows in self._rows.values() for append in rows),
            *self._latest.values(),
        ]
        self._rows, self._latest = defaultdict(list), {}
        for item in items:  # a transaction each: a full disk ends the whole transaction
            try:
                with db.atomic():
                    item.write(db)
            except Exception as error:  # noqa: BLE001  (raised for the owner)
                if _is_locked(error):
                    self.add(item)
                else:
                    errors.setdefault(item.owner, storage_error(error))
        return errors


class _Call:
    def __init__(self, function: Callable[[Database], Any], done: Future[Any]) -> None:
        self._function, self._done = function, done

    def run(self, db: Database) -> None:
        try:
            with db.atomic():
                result = self._function(db)
        except sqlite3.Error as error:
            self._done.set_exception(storage_error(error))
        except BaseException as error:  # noqa: BLE001  (raised in the thread that waits)
            self._done.set_exception(error)
        else:
            self._done.set_result(result)

    def refuse(self, error: StorageError) -> None:
        self._done.set_exception(error)


def _open_for_writing(path: Path) -> Database:
    connection = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=10)
        db = Database(connection)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        migrations.apply(db)
        add_metrics(db)
    except (OSError, sqlite3.Error) as error:
        if connection is not None:
            connection.close()
        raise StorageError(
            f"The database {path} cannot be opened ({error}). Check the folder and its permissions."
        ) from error
    return db


def _is_locked(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the plain code
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _closed(path: Path) -> StorageError:
    return StorageError(f"The database {path} is closed: the studio is shutting down.")


def storage_error(error: Exception) -> StorageError:
    """An error of SQLite or its Python module, as a sentence."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the plain code
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(DISK_FULL)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StorageError(
            "The database is damaged. Restart the studio: it sets the damaged file aside and rebuilds the list of runs "
            "from their folders."
        )
    if code == sqlite3.SQLITE_READONLY:
        return StorageError("The data folder is read-only. Make it writable, or choose another with COGNATE_HOME.")
    if str(error).startswith(("no such column", "no such table")):
        return StorageError("The data folder is from an earlier version. Open the studio with it once: `cognate run`.")
    return StorageError(f"The database failed ({error}).")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection for the calling thread; rows are `sqlite3.Row`.

    Raises:
        StorageError: there is no readable database.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        connection.row_factory = sqlite3.Row
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StorageError(f"The database {path} cannot be read. {storage_error(error)}") from error


def set_damaged_aside(path: Path) -> Path | None:
    """Check a database; if it is damaged, rename it and return its new path. It is never deleted.

    Raises:
        StorageError: it cannot be checked for another reason.
    """
    wal = path.with_name(f"{path.name}-wal")
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        if not wal.exists():
            return None  # if there is one, its database is lost, and SQLite would delete it
        return _set_aside(path)
    try:
        connection = sqlite3.connect(path, timeout=10)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
        if verdict == "ok":
            return None
    except UnicodeDecodeError:
        pass  # SQLite's message quotes the damaged bytes
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StorageError(f"The database {path} cannot be opened ({error}).") from error
    return _set_aside(path)


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{utc_now().replace(':', '')}")
    for ending in ("-wal", "-shm", ""):  # the database itself last: until then, the next start looks again
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside

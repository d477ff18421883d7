"""Opening, closing and reading, also after a crash."""

import re
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database, Migrations

from cognate_core.config import TrainingConfig
from cognate_core.errors import StorageError
from cognate_core.storage.database import DatabaseWriter, reading
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.schema import first_schema, migrations
from tests.storage.database.notes import note, open_files, unopenable, written
from tests.waiting import LONG


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
        origin = [
            getattr(reader.run("a"), name) for name in ("parent_run_id", "relation", "branch_step", "time_estimate")
        ]
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

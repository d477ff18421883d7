"""A damaged database is set aside, whole ones never."""

import re
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.errors import StorageError
from cognate_core.storage import database
from cognate_core.storage.database import DatabaseWriter, set_damaged_aside
from tests.storage.database.notes import killed, open_files, unopenable, written


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

    @settings(max_examples=60)
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

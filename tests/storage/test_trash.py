"""The trash: what is deleted is there whole until it is removed, and nothing else is ever moved or deleted."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.errors import RunError, StorageError
from cognate_core.storage import trash as trash_module
from cognate_core.storage.trash import Trash

CONTENTS = {"model/model.safetensors": b"\x00\xff" * 40_000, "model/checkpoints/step-1/state.json": b"{}", "log": b""}
ROWS = {"runs": [{"id": "r1", "name": "é 😀", "progress": 0.5, "error": None}], "models": [], "artifacts": []}
HOSTILE = [
    "../../etc/passwd",
    "/etc/hostname",
    "a\0b",
    "CON",
    "x😀" * 5000,
    "",
    "..",
    "\u202etxt.exe",
    "'; DROP TABLE runs; --",
    "=cmd|' /C calc'!A0",
    "half a letter \ud800",
    "two\nlines",
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "runs").mkdir(parents=True)
    (home / "studio.sqlite").write_text("everything")
    return home


@pytest.fixture
def trash(home: Path) -> Trash:
    return Trash(home)


@pytest.fixture
def run(home: Path) -> Path:
    """The folder of a run."""
    return a_folder(home / "runs" / "r1")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of the studio's business."""
    return a_folder(tmp_path / "outside")


def a_folder(folder: Path) -> Path:
    for name, content in CONTENTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entry_file(home: Path, entry_id: str) -> Path:
    return home / "trash" / entry_id / "entry.json"


class TestPut:
    def test_moves_the_folder_byte_for_byte_and_says_what_it_was(self, trash: Trash, home: Path, run: Path) -> None:
        entry = trash.put("run", "r1", "Mine", run, ROWS)
        assert not run.exists()
        assert run.parent.is_dir()
        assert files_in(home / "trash" / entry.id / "content") == CONTENTS
        assert (entry.kind, entry.name, entry.origin, entry.rows) == ("run", "Mine", "runs/r1", ROWS)
        assert trash.entries() == [entry]
        assert json.loads(entry_file(home, entry.id).read_text())["rows"] == ROWS

    def test_of_a_folder_that_is_gone_is_none_the_less_an_entry(self, trash: Trash, home: Path) -> None:
        entry = trash.put("run", "r1", "Mine", home / "runs" / "gone", ROWS)
        assert trash.entries() == [entry]
        assert not (home / "trash" / entry.id / "content").exists()
        assert trash.restore(entry.id) == entry
        assert not (home / "runs" / "gone").exists()
        trash.remove(entry.id)
        assert trash.entries() == []

    def test_gives_the_entry_the_id_of_the_run_unless_it_is_taken(self, trash: Trash, home: Path, run: Path) -> None:
        first = trash.put("run", "r1", "Mine", run, ROWS)
        second = trash.put("run", "r1", "Mine", home / "runs" / "gone", ROWS)
        assert first.id == "r1" != second.id
        assert files_in(home / "trash" / "r1" / "content") == CONTENTS

    @pytest.mark.parametrize("name", HOSTILE)
    def test_takes_a_name_for_a_label_and_never_for_a_path(
        self, trash: Trash, home: Path, run: Path, tmp_path: Path, name: str
    ) -> None:
        rows = {"runs": [{"name": name}]}
        entry = trash.put("run", "r1", name, run, rows)
        (found,) = trash.entries()
        assert (found.name, found.rows) == (name, rows)
        assert {path.name for path in tmp_path.iterdir()} == {"home"}
        assert {path.name for path in home.iterdir()} == {"runs", "studio.sqlite", "trash"}
        assert [path.name for path in (home / "trash").iterdir()] == [entry.id]
        trash.restore(entry.id)
        assert files_in(run) == CONTENTS

    @pytest.mark.parametrize("way", ["relative", "absolute", "through a folder link", "a link inside", "a link out"])
    def test_refuses_what_lies_outside_and_links(
        self, trash: Trash, home: Path, outside: Path, run: Path, way: str
    ) -> None:
        (home / "link").symlink_to(outside.parent)
        (home / "out").symlink_to(outside)
        (home / "in").symlink_to(run)
        folder = {
            "relative": home / "runs" / ".." / ".." / "outside",
            "absolute": outside,
            "through a folder link": home / "link" / "outside",
            "a link inside": home / "in",
            "a link out": home / "out",
        }[way]
        with pytest.raises(StorageError, match=r"is outside the studio's data folder and is not deleted\.$"):
            trash.put("run", "r1", "Mine", folder, ROWS)
        assert files_in(outside) == files_in(run) == CONTENTS
        assert trash.entries() == []

    @pytest.mark.parametrize("name", [".", "runs/..", "../home", "runs/../../home"])
    def test_refuses_the_data_folder_itself(self, trash: Trash, home: Path, name: str) -> None:
        with pytest.raises(StorageError, match="is not deleted"):
            trash.put("run", "r1", "Mine", home / name, ROWS)
        assert (home / "studio.sqlite").read_text() == "everything"

    def test_refuses_a_folder_beside_home_that_begins_like_it(self, trash: Trash, home: Path) -> None:
        beside = a_folder(home.with_name("home-2"))
        with pytest.raises(StorageError, match="is not deleted"):
            trash.put("run", "r1", "Mine", beside, ROWS)
        assert files_in(beside) == CONTENTS

    def test_refuses_the_trash_itself_and_keeps_what_is_in_it(self, trash: Trash, home: Path, run: Path) -> None:
        kept = trash.put("run", "r1", "Mine", run, ROWS)
        with pytest.raises(StorageError, match="cannot be moved to the trash"):
            trash.put("run", "r1", "All", home / "trash", ROWS)
        assert trash.entries() == [kept]
        assert files_in(home / "trash" / kept.id / "content") == CONTENTS

    @pytest.mark.parametrize("what", ["replace_durably", "sync_folder"])
    def test_that_the_disk_refuses_leaves_everything_as_it_was(
        self, trash: Trash, home: Path, run: Path, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        def refuse(*arguments: Any) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr(trash_module, what, refuse)
        with pytest.raises(StorageError, match=r"^The files of Mine cannot be moved to the trash \(No space left"):
            trash.put("run", "r1", "Mine", run, ROWS)
        assert files_in(run) == CONTENTS
        assert trash.entries() == []
        assert list((home / "trash").iterdir()) == []

    def test_a_home_below_a_link_is_the_same_home(self, home: Path, run: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").symlink_to(home)
        trash = Trash(tmp_path / "elsewhere")
        entry = trash.put("run", "r1", "Mine", tmp_path / "elsewhere" / "runs" / "r1", ROWS)
        assert entry.origin == "runs/r1"
        assert Trash(home).restore(entry.id) == entry
        assert files_in(run) == CONTENTS


class TestEntries:
    def test_are_the_newest_first(self, trash: Trash, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for day in (2, 9, 5):
            monkeypatch.setattr(trash_module, "utc_now", lambda day=day: f"2026-01-0{day}T00:00:00.000+00:00")
            trash.put("model", "m1", f"of day {day}", home / "runs" / str(day), {})
        assert [entry.name for entry in trash.entries()] == ["of day 9", "of day 5", "of day 2"]

    def test_of_a_trash_that_never_was_are_none(self, trash: Trash, home: Path) -> None:
        assert trash.entries() == []
        assert not (home / "trash").exists()

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b"5",
            b'"entry"',
            b"{}",
            b"\xff\xfe\x00",
            b'{"id": "x", "kind": "run", "name": "n", "origin": "runs/x", "deleted_at": "now"}',
            b'{"id": "x", "kind": "run", "name": "n", "origin": "o", "deleted_at": "now", "rows": {}, "more": 1}',
            b'{"id": "x", "kind": "run", "name": "n", "origin": "o", "deleted_at": null, "rows": {}}',
            b'{"id": "x", "kind": "run", "name": "n", "origin": 5, "deleted_at": "now", "rows": {}}',
            None,
        ],
    )
    def test_that_cannot_be_read_are_left_out_and_harm_no_other(
        self, trash: Trash, home: Path, run: Path, content: bytes | None
    ) -> None:
        entry = trash.put("run", "r1", "Mine", run, ROWS)
        broken = home / "trash" / "x"
        broken.mkdir()
        if content is None:
            (broken / "entry.json").mkdir()
        else:
            (broken / "entry.json").write_bytes(content)
        (home / "trash" / "a file").write_text("of a person")
        assert trash.entries() == [entry]
        with pytest.raises(RunError, match=r"^This is no longer in the trash\.$"):
            trash.restore("x")
        trash.restore(entry.id)
        assert files_in(run) == CONTENTS
        assert broken.is_dir(), "what cannot be read is not removed either"

    @pytest.mark.parametrize("name", ["../runs", "../..", ".", "", "../outside"])
    def test_whose_file_names_another_folder_are_never_moved_or_removed(
        self, trash: Trash, home: Path, run: Path, outside: Path, name: str
    ) -> None:
        """A file that was tampered with, or copied with its folder, must not lead out of its place."""
        entry = trash.put("run", "r1", "Mine", home / "runs" / "gone", ROWS)
        path = entry_file(home, entry.id)
        path.write_text(json.dumps({**json.loads(path.read_text()), "id": name}))
        for act in (trash.restore, trash.remove):
            try:
                act(name)
            except (RunError, StorageError):
                continue
        assert files_in(run) == CONTENTS
        assert files_in(home.parent / "outside") == CONTENTS
        assert (home / "studio.sqlite").read_text() == "everything"
        assert path.is_file()


class TestRestore:
    def test_moves_it_to_where_it_lay_byte_for_byte(self, trash: Trash, home: Path, run: Path) -> None:
        entry = trash.put("model", "m1", "m", run / "model", ROWS)
        assert files_in(run) == {"log": b""}
        assert trash.restore(entry.id) == entry
        assert files_in(run) == CONTENTS
        assert trash.entries() == [entry], "until the rows are back too, it stays named"
        trash.remove(entry.id)
        assert list((home / "trash").iterdir()) == []
        assert files_in(run) == CONTENTS

    def test_makes_the_folders_above_it_again(self, trash: Trash, home: Path, run: Path) -> None:
        model = trash.put("model", "m1", "m", run / "model", ROWS)
        trash.put("run", "r1", "r", run, ROWS)
        trash.restore(model.id)
        assert files_in(run / "model") == {
            name.removeprefix("model/"): content for name, content in CONTENTS.items() if name.startswith("model/")
        }

    @pytest.mark.parametrize("what", ["a folder", "an empty folder", "a file"])
    def test_refuses_a_place_that_is_taken_and_changes_nothing(
        self, trash: Trash, home: Path, run: Path, what: str
    ) -> None:
        entry = trash.put("run", "r1", "Mine", run, ROWS)
        if what == "a file":
            run.write_text("new")
        else:
            run.mkdir()
            if what == "a folder":
                (run / "new").write_text("new")
        there = files_in(run.parent)
        with pytest.raises(RunError, match=r"^Mine cannot be restored: something else is in its place\.$"):
            trash.restore(entry.id)
        assert files_in(run.parent) == there
        assert files_in(home / "trash" / entry.id / "content") == CONTENTS
        assert trash.entries() == [entry]

    @pytest.mark.parametrize("origin", ["../outside2", "/tmp/cognate-test-of-the-trash", "runs/../../x", "link/x"])
    def test_refuses_a_place_outside(self, trash: Trash, home: Path, run: Path, outside: Path, origin: str) -> None:
        entry = trash.put("run", "r1", "Mine", run, ROWS)
        (home / "link").symlink_to(outside)
        path = entry_file(home, entry.id)
        path.write_text(json.dumps({**json.loads(path.read_text()), "origin": origin}))
        with pytest.raises(StorageError, match=r"^Mine was outside the studio's data folder and is not restored\.$"):
            trash.restore(entry.id)
        assert files_in(home / "trash" / entry.id / "content") == CONTENTS
        assert not (home / origin).exists()

    def test_that_the_disk_refuses_is_told_and_it_stays_in_the_trash(
        self, trash: Trash, home: Path, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = trash.put("run", "r1", "Mine", run, ROWS)

        def refuse(path: Path, target: Path) -> None:
            raise PermissionError("Permission denied")

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(StorageError, match=r"^The files of Mine cannot be restored \(Permission denied\)\.$"):
            trash.restore(entry.id)
        monkeypatch.undo()
        trash.restore(entry.id)
        assert files_in(run) == CONTENTS

    @pytest.mark.parametrize("entry_id", ["", ".", "..", "../runs", "/", "gone", "a\0b", "*"])
    def test_and_remove_know_only_what_is_there(self, trash: Trash, home: Path, run: Path, entry_id: str) -> None:
        kept = trash.put("run", "r1", "Mine", home / "runs" / "other", ROWS)
        for act in (trash.restore, trash.remove):
            with pytest.raises(RunError, match=r"^This is no longer in the trash\.$"):
                act(entry_id)
        assert trash.entries() == [kept]
        assert files_in(run) == CONTENTS


class TestRemove:
    def test_removes_one_entry_for_good_and_no_other(self, trash: Trash, home: Path, run: Path) -> None:
        first = trash.put("run", "r1", "Mine", run, ROWS)
        second = trash.put("run", "r1", "Mine", a_folder(run), ROWS)
        trash.remove(first.id)
        assert trash.entries() == [second]
        assert [path.name for path in (home / "trash").iterdir()] == [second.id]
        with pytest.raises(RunError, match="no longer in the trash"):
            trash.remove(first.id)

    def test_does_not_follow_a_link_out_of_the_trash(self, trash: Trash, home: Path, run: Path, outside: Path) -> None:
        (run / "link").symlink_to(outside)
        os.link(outside / "log", run / "hard link")
        entry = trash.put("run", "r1", "Mine", run, ROWS)
        trash.remove(entry.id)
        assert not (home / "trash" / entry.id).exists()
        assert files_in(outside) == CONTENTS


@settings(max_examples=25)
@given(
    actions=st.lists(st.tuples(st.sampled_from(["put", "restore", "remove"]), st.integers(0, 3)), max_size=20),
)
def test_whatever_is_done_each_run_is_in_one_place_or_removed(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    home = tmp_path_factory.mktemp("home")
    trash = Trash(home)
    for number in range(4):
        (home / "runs" / str(number)).mkdir(parents=True)
        (home / "runs" / str(number) / "who").write_text(str(number))
    there, deleted = {str(number) for number in range(4)}, {}
    for action, number in actions:
        who = str(number)
        if action == "put" and who in there:
            there.remove(who)
            deleted[who] = trash.put("run", "r1", who, home / "runs" / who, {}).id
        elif action == "restore" and who in deleted:
            trash.restore(deleted[who])
            trash.remove(deleted.pop(who))
            there.add(who)
        elif action == "remove" and who in deleted:
            trash.remove(deleted.pop(who))
        assert {path.name: (path / "who").read_text() for path in (home / "runs").iterdir()} == {w: w for w in there}
        assert {entry.id: entry.name for entry in trash.entries()} == {place: w for w, place in deleted.items()}
        for w, place in deleted.items():
            assert (home / "trash" / place / "content" / "who").read_text() == w

"""Files that survive: whole or not at all, nothing left over, and a full disk told before it is met."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core import files
from cognate_core.errors import DiskFull, StorageError
from cognate_core.files import (
    allow_open_files,
    is_disk_full,
    replace_durably,
    require_space,
    sync_file,
    sync_folder,
    write_durably,
)

CONTENTS = [b"", b"new", b"\x00\xff" * 500_000, "é 😀\r\n".encode()]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the system was asked for, in order."""
    made: list[str] = []

    def spy(name: str, function: Callable[..., Any], owner: Any) -> None:
        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    spy("fsync", os.fsync, os)
    spy("replace", Path.replace, Path)
    return made


def fail_at(monkeypatch: pytest.MonkeyPatch, what: str, error: BaseException) -> None:
    """From now on `what` fails, the writing of a file with half of it on the disk."""

    def refuse(*arguments: Any) -> Any:
        raise error

    if what == "write":

        def write_half(path: Path, content: bytes) -> None:
            path.write_bytes(content[: len(content) // 2])
            raise error

        monkeypatch.setattr(files, "write_durably", write_half)
    elif what == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, "replace", refuse)


@pytest.mark.parametrize("write", [write_durably, replace_durably])
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("old", [None, b"what stood there, and was longer than a few letters"])
def test_what_is_written_is_there_and_nothing_else(
    tmp_path: Path, write: Callable[[Path, bytes], None], content: bytes, old: bytes | None
) -> None:
    path = tmp_path / "file.json"
    if old is not None:
        path.write_bytes(old)
    write(path, content)
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


def test_writing_waits_for_the_disk(tmp_path: Path, calls: list[str]) -> None:
    write_durably(tmp_path / "file", b"new")
    assert calls == ["fsync"]


def test_replacing_waits_for_the_content_then_gives_it_the_name_and_waits_for_that(
    tmp_path: Path, calls: list[str]
) -> None:
    replace_durably(tmp_path / "file", b"new")
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()], ids=["disk", "person"])
@pytest.mark.parametrize("what", ["write", "fsync", "replace"])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_replacement_that_fails_leaves_what_was_there_and_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, what: str, old: bytes | None
) -> None:
    path = tmp_path / "file.json"
    if old is not None:
        path.write_bytes(old)
    fail_at(monkeypatch, what, error)
    with pytest.raises(type(error)) as caught:
        replace_durably(path, b"new content")
    monkeypatch.undo()
    assert caught.value is error
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == ({} if old is None else {"file.json": old})
    replace_durably(path, b"new content")
    assert path.read_bytes() == b"new content"


def test_a_replacement_is_never_seen_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"old")
    seen: list[bytes] = []
    write = files.write_durably

    def look_meanwhile(temporary: Path, content: bytes) -> None:
        assert temporary.parent == path.parent, "another disk could not take its name over at once"
        seen.append(path.read_bytes())
        write(temporary, content)
        seen.append(path.read_bytes())

    monkeypatch.setattr(files, "write_durably", look_meanwhile)
    replace_durably(path, b"new")
    assert seen == [b"old", b"old"]
    assert path.read_bytes() == b"new"


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for write in (write_durably, replace_durably):
        with pytest.raises(FileNotFoundError):
            write(tmp_path / "gone" / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_replacement_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"a secret")
    (tmp_path / "file").symlink_to(tmp_path / "secret")
    replace_durably(tmp_path / "file", b"new")
    assert (tmp_path / "secret").read_bytes() == b"a secret"
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()


def test_waiting_for_a_file_or_folder_changes_nothing_and_closes_it(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"content")
    before = open_descriptors()
    sync_file(tmp_path / "file")
    sync_folder(tmp_path)
    assert calls == ["fsync", "fsync"]
    assert (tmp_path / "file").read_bytes() == b"content"
    assert open_descriptors() == before


def test_a_folder_is_closed_also_when_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_descriptors()
    fail_at(monkeypatch, "fsync", OSError(errno.EIO, "the disk is broken"))
    with pytest.raises(OSError, match="the disk is broken"):
        sync_folder(tmp_path)
    assert open_descriptors() == before


def open_descriptors() -> int:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux tells which files are open")
    return len(os.listdir("/proc/self/fd"))


# Room


@pytest.mark.parametrize(("free", "needed"), [(0, 0), (5, 5), (10**15, 1)])
def test_enough_room_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, needed: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    require_space(tmp_path, needed, "a checkpoint")


def test_too_little_room_is_told_with_what_is_needed_there_and_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def usage(folder: Path) -> SimpleNamespace:
        asked.append(folder)
        return SimpleNamespace(free=1_500_000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(
        DiskFull,
        match=r"^The disk is full: A model needs 3,456\.8 MB and 1\.5 MB are free\. Free 3,455\.3 MB or more, then try",
    ):
        require_space(tmp_path, 3_456_789_000, "A model")
    assert asked == [tmp_path]


def test_the_real_disk_is_asked(tmp_path: Path) -> None:
    require_space(tmp_path, 1, "a letter")
    with pytest.raises(DiskFull, match="The disk is full: everything needs"):
        require_space(tmp_path, 2**62, "everything")


@pytest.mark.parametrize(
    "error",
    [
        DiskFull("The disk is full."),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
    ids=repr,
)
def test_what_says_that_no_room_is_left(error: BaseException) -> None:
    assert is_disk_full(error)


@pytest.mark.parametrize(
    "error",
    [
        StorageError("The disk is full."),
        OSError("No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        MemoryError(),
        ValueError(errno.ENOSPC),
    ],
    ids=repr,
)
def test_what_says_something_else(error: BaseException) -> None:
    assert not is_disk_full(error)


@given(number=st.integers(1, 200))
def test_no_other_number_of_the_system_is_a_full_disk(number: int) -> None:
    assert is_disk_full(OSError(number, "odd")) == (number in (errno.ENOSPC, errno.EDQUOT))


@pytest.mark.parametrize(
    ("soft", "hard", "allowed", "changed"),
    [
        (1024, 20_000, 4000, [(4000, 20_000)]),
        (256, -1, 4000, [(4000, -1)]),
        (256, 1000, 1000, [(1000, 1000)]),
        (1000, 1000, 1000, []),
        (5000, 20_000, 4000, []),
        (-1, -1, 4000, []),
    ],
)
def test_as_many_files_may_be_open_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, allowed: int, changed: list[tuple[int, int]]
) -> None:
    resource = pytest.importorskip("resource")
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert allow_open_files(4000) == allowed
    assert asked == changed

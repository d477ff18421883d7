"""Files that survive a power loss, full disks, and paths as people write them."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from cognate_core.errors import DiskFull


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    write_pieces_durably(path, [content])


def write_pieces_durably(path: Path, pieces: Iterable[bytes | memoryview]) -> str:
    """Write a file piece by piece without copying, and wait until the disk has it; returns the sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: the old content stays until the new one is on the disk."""
    temporary = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        write_durably(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the disk has a file's content."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raises DiskFull unless `needed` bytes are free on the disk of `folder`. `what`: for example "A checkpoint"."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"The disk is full: {what} needs {_megabytes(needed)} and {_megabytes(free)} are free. Free "
            f"{_megabytes(needed - free)} or more, then try again."
        )


def allow_open_files(wanted: int) -> int:
    """Raise this process's limit of open files and sockets to `wanted`, or as far as allowed; returns the limit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, most = (wanted if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if soft < wanted and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), hard))
    return min(wanted, most)


def is_disk_full(error: BaseException) -> bool:
    """Whether the error means that the disk is full."""
    return isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def found_path(written: str | Path) -> Path | None:
    """The file or folder that a person's text names, with ~ for the home folder; None if there is none."""
    path = os.path.expanduser(written)  # noqa: PTH111  (Path raises for an unknown user and for too long a name)
    return Path(path) if os.path.exists(path) else None  # noqa: PTH110


def plain_name(name: str) -> str:
    """A file's name as text that can be shown and sent: bytes that are no UTF-8 become question marks."""
    return name.encode(errors="surrogateescape").decode(errors="replace")

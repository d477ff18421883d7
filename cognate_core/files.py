"""Files that survive a power loss, and disks that are full: what every part needs that writes."""

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
    """Write a file piece by piece, none of which is copied, and wait until the disk has it; sha256 of the pieces."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all: what stood there before stays until the new content is on the disk."""
    temporary = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        write_durably(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the disk has what was written into a file."""
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
    """Raises DiskFull unless `needed` bytes are free where `folder` lies. `what` needs them, such as "A checkpoint"."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"The disk is full: {what} needs {_megabytes(needed)} and {_megabytes(free)} are free. Free "
            f"{_megabytes(needed - free)} or more, then go on."
        )


def allow_open_files(wanted: int) -> int:
    """Have the system allow this process `wanted` open files and sockets, or as many as it will; how many."""
    try:
        import resource
    except ImportError:  # Windows, which has no such bound
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, most = (wanted if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if soft < wanted and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), hard))
    return min(wanted, most)


def is_disk_full(error: BaseException) -> bool:
    """Whether the system said that there is no room left."""
    return isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"

"""The artifact store: a model's files inside the data directory. Every path is checked before use."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cognate_core.errors import StorageError

ZIP_PIECE_BYTES = 1_000_000


class ArtifactStore:
    """Files below `home`. Stored paths are relative to it: the folder can be moved."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()

    def describe(self, artifacts: Mapping[str, str]) -> list[dict[str, Any]]:
        """One row for each file: kind, path (relative to home), bytes, sha256.

        Raises:
            StorageError: a file is missing or outside home.
        """
        rows = []
        for kind, name in artifacts.items():
            path = self.path(name)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            relative = path.relative_to(self.home).as_posix()
            rows.append({"kind": kind, "path": relative, "bytes": path.stat().st_size, "sha256": digest})
        return rows

    def path(self, name: str) -> Path:
        """The file called `name` (relative to home, or absolute inside it).

        Raises:
            StorageError: it does not exist, is a symbolic link, or is outside home.
        """
        path = self.home / name
        try:
            resolved = path if path.is_symlink() else path.resolve()
            inside = resolved.is_relative_to(self.home) and not path.is_symlink()
            there = resolved.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # no file can have such a name
            raise StorageError(f"The file {path.name[:80]!r} is no longer there.") from error
        if not inside:
            raise StorageError(f"{path.name} is outside the studio's data folder and is not opened.")
        if not there:
            raise StorageError(f"The file {path.name} is no longer there.")
        return resolved

    def zip(self, files: Iterable[Mapping[str, Any]]) -> bytes:
        """All files of a model as one zip archive, without folders."""
        return b"".join(self.zip_pieces(files))

    def zip_pieces(self, files: Iterable[Mapping[str, Any]]) -> Generator[bytes]:
        """The same archive piece by piece: it is never held in memory.

        All files are opened before the first piece: those deleted later are still complete.

        Raises:
            StorageError: a file is gone or outside home.
        """
        with ExitStack() as stack:
            opened = []
            for row in files:
                path = self.path(row["path"])
                try:
                    member = zipfile.ZipInfo.from_file(path, path.name, strict_timestamps=False)
                    opened.append((member, stack.enter_context(path.open("rb"))))
                except OSError as error:
                    raise StorageError(f"The file {path.name} is no longer there.") from error
            sink = _Sink()
            with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
                for member, file in opened:
                    with archive.open(member, "w") as target:
                        while piece := file.read(ZIP_PIECE_BYTES):
                            target.write(piece)
                            yield sink.taken()
            yield sink.taken()


class _Sink(io.RawIOBase):
    """Collects what is written to an archive until `taken` removes it."""

    def __init__(self) -> None:
        self._content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._content += content
        return len(content)

    def taken(self) -> bytes:
        content, self._content = bytes(self._content), bytearray()
        return content

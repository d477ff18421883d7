"""The trash: deleted runs and models, which can be restored until a person empties it.

trash/<entry>/
    entry.json    what it was, where it was, its rows of the database
    content/      its folder; named removing/ once it is being removed for good
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cognate_core.contracts import utc_now
from cognate_core.errors import DiskFull, NotFound, RunError, StorageError
from cognate_core.files import is_disk_full, replace_durably, sync_folder

Rows = Mapping[str, Iterable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """Something that was deleted. `origin`: its folder, relative to the data folder."""

    id: str
    kind: Literal["run", "model"]
    name: str
    origin: str
    deleted_at: str
    rows: Rows


class Trash:
    """The trash of the data folder `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._folder = self._home / "trash"

    def put(self, kind: Literal["run", "model"], own_id: str, name: str, folder: Path, rows: Rows) -> TrashEntry:
        """Move `folder` into the trash, whole or not at all. Even if the folder is already gone, an entry is made.
        Its id is `own_id`, the run's or model's, unless that is taken.

        Raises:
            StorageError: it is outside the data folder, is a symbolic link, or cannot be moved.
        """
        resolved = folder.resolve()
        if folder.is_symlink() or not resolved.is_relative_to(self._home) or resolved == self._home:
            raise StorageError(f"{folder.name} is outside the studio's data folder and is not deleted.")
        origin = resolved.relative_to(self._home).as_posix()
        free = not (self._folder / own_id).exists()
        entry = TrashEntry(own_id if free else uuid.uuid4().hex[:12], kind, name, origin, utc_now(), rows)
        place = self._folder / entry.id
        try:
            place.mkdir(parents=True)
            replace_durably(place / "entry.json", json.dumps(asdict(entry)).encode("utf-8", "surrogatepass"))
            sync_folder(place)
            if resolved.is_dir():
                resolved.rename(place / "content")  # the last that can fail: below, no content is removed
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise _refused(error, f"The files of {name} cannot be moved to the trash") from error
        return entry

    def entries(self) -> list[TrashEntry]:
        """What is in the trash, newest first. Unreadable entries are left out."""
        found = filter(None, map(_read, self._folder.glob("*/entry.json")))
        return sorted(found, key=lambda entry: entry.deleted_at, reverse=True)

    def restore(self, entry_id: str) -> TrashEntry:
        """Move an entry's folder back to its place. The caller restores its database rows, then calls `remove`.

        Raises:
            RunError: there is no such entry, it is already being removed, or its place is taken.
            StorageError: it cannot be moved.
        """
        entry = self.entry(entry_id)
        content, target = self._folder / entry.id / "content", (self._home / entry.origin).resolve()
        if self._removing(entry.id).exists():
            raise RunError(f"{entry.name} cannot be restored: some of its files are already removed.")
        if not target.is_relative_to(self._home):
            raise StorageError(f"{entry.name} was outside the studio's data folder and is not restored.")
        if content.is_dir():
            if target.exists():
                raise RunError(f"{entry.name} cannot be restored: something else is in its place.")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                content.rename(target)
            except OSError as error:
                raise _refused(error, f"The files of {entry.name} cannot be restored") from error
        return entry

    @contextmanager
    def given_up(self, entry_id: str) -> Iterator[None]:
        """From here on, the entry cannot be restored, unless the block raises. The caller removes its rows, then it.

        Raises:
            NotFound: there is no such entry.
            StorageError: its folder cannot be changed.
        """
        entry = self.entry(entry_id)
        content, removing = self._folder / entry.id / "content", self._removing(entry.id)
        fresh = not removing.exists()  # else an earlier try got this far
        try:
            if content.is_dir():
                content.rename(removing)
            removing.mkdir(exist_ok=True)
        except OSError as error:
            raise _refused(error, f"{entry.name} cannot be removed") from error
        try:
            yield
        except BaseException:
            if fresh:
                removing.rename(content)
            raise

    def remove(self, entry_id: str) -> None:
        """Remove an entry and its remaining content for good.

        Raises:
            NotFound: there is none.
            StorageError: part of it cannot be removed. It is still in the trash; another try may succeed.
        """
        entry = self.entry(entry_id)
        place = self._folder / entry.id
        try:
            for part in (each for each in place.iterdir() if each.is_dir()):
                for inner in part.iterdir():  # the folder itself shows that it can no longer be restored
                    shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()
            (place / "entry.json").unlink()  # from here on it is no longer in the trash
        except OSError as error:
            raise _refused(error, f"Not all files of {entry.name} could be removed") from error
        shutil.rmtree(place, ignore_errors=True)

    def _removing(self, entry_id: str) -> Path:
        return self._folder / entry_id / "removing"

    def entry(self, entry_id: str) -> TrashEntry:
        """What is in the trash under this id. Raises NotFound if there is nothing."""
        for path in self._folder.glob("*/entry.json"):
            if path.parent.name == entry_id and (entry := _read(path)):
                return entry
        raise NotFound("This is no longer in the trash.")


def _read(path: Path) -> TrashEntry | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
        entry = TrashEntry(**{**values, "id": path.parent.name})
    except (OSError, ValueError, TypeError):
        return None
    return entry if all(isinstance(text, str) for text in (entry.name, entry.origin, entry.deleted_at)) else None


def _refused(error: OSError, what: str) -> StorageError:
    kind = DiskFull if is_disk_full(error) else StorageError
    return kind(f"{what} ({error}).")

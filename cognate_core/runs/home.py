"""The data directory: its location, its database, who manages it, and its reserve of disk space."""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path

import platformdirs
import psutil

from cognate_core.errors import CognateError, StorageError
from cognate_core.service import COORDINATION_KEY
from cognate_core.storage.progress_reader import ProgressReader

_log = logging.getLogger(__name__)

RESERVE_BYTES = 2_000_000


class Reserve:
    """Reserved disk space, so that a full disk still has room to write how a run ended."""

    def __init__(self, home: Path) -> None:
        self._path = home / "reserve"

    def keep(self) -> None:
        """Reserve the space. If the disk has no room for it, the next call tries again."""
        if not self._path.exists():
            try:
                self._path.write_bytes(bytes(RESERVE_BYTES))
            except OSError as error:
                self.give_up()
                _log.warning("There is no room on the disk for the reserve: %s", error)

    def give_up(self) -> None:
        """Free the space for others."""
        self._path.unlink(missing_ok=True)


def database_path(home: Path) -> Path:
    """The path of a data directory's database."""
    return home / "studio.sqlite"


def default_home() -> Path:
    """The data directory: COGNATE_HOME, or the system's usual place for this user's data."""
    chosen = os.environ.get("COGNATE_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("cognate-studio", appauthor=False))


def made_home(home: Path) -> Path:
    """The data directory, created if needed. Raises StorageError if that fails."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)  # only this user may read it
    except OSError as error:
        raise StorageError(f"The data folder {home} cannot be created ({error}). Check COGNATE_HOME.") from error
    return home.resolve()


def not_writable(home: Path, error: OSError) -> str:
    """Why nothing can be saved there."""
    return f"The data folder {home} cannot be written ({error}). Make it writable, or choose another with COGNATE_HOME."


def running_address(home: Path) -> str | None:
    """The address of the studio that manages a data directory; None if no studio is open or it has not published it."""
    try:
        record = ProgressReader(database_path(home)).coordination(COORDINATION_KEY) or {}
        began = psutil.Process(record["pid"]).create_time()
    except (CognateError, KeyError, TypeError, ValueError, psutil.Error):
        return None
    # A killed studio leaves its record, and another program may use its port by now: it must not get the token.
    is_its_own = began <= datetime.fromisoformat(record["started_at"]).timestamp()
    return record.get("address") if record.get("open") and is_its_own else None


def owner_sentence(home: Path) -> str:
    """Who manages a data directory that this process cannot manage."""
    known = ""
    try:
        owner = ProgressReader(database_path(home)).coordination(COORDINATION_KEY)
        if owner is not None:
            known = f" (process {owner['pid']}, since {owner['started_at'][:16].replace('T', ' ')} UTC)"
    except StorageError as error:
        _log.warning("Who owns the data folder cannot be read: %s", error)
    return (
        f"Cognate Studio is already running with the data folder {home}{known}. Use that one, close it, or choose "
        "another folder with COGNATE_HOME."
    )

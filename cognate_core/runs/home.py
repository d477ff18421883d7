"""The data directory: where it is, where its database lies, who manages it, and the room that is kept there."""

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
    """Room that is kept on the disk, so that a full one leaves some to write how a run ended."""

    def __init__(self, home: Path) -> None:
        self._path = home / "reserve"

    def keep(self) -> None:
        """Have it, unless there is no room even for that: the next call tries again."""
        if not self._path.exists():
            try:
                self._path.write_bytes(bytes(RESERVE_BYTES))
            except OSError as error:
                self.give_up()
                _log.warning("There is no room on the disk for the reserve: %s", error)

    def give_up(self) -> None:
        """Let others write there."""
        self._path.unlink(missing_ok=True)


def database_path(home: Path) -> Path:
    """Where the database of a data directory lies."""
    return home / "studio.sqlite"


def default_home() -> Path:
    """The data directory: COGNATE_HOME, or the usual place for data of this user."""
    chosen = os.environ.get("COGNATE_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("cognate-studio", appauthor=False))


def made_home(home: Path) -> Path:
    """The data directory, which is made if need be. Raises StorageError when it cannot be."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is nobody else's on this computer
    except OSError as error:
        raise StorageError(f"The data folder {home} cannot be made ({error}). Check COGNATE_HOME.") from error
    return home.resolve()


def not_writable(home: Path, error: OSError) -> str:
    """Why nothing can be kept there."""
    return f"The data folder {home} cannot be written ({error}). Make it writable, or choose another with COGNATE_HOME."


def running_address(home: Path) -> str | None:
    """Where the studio that manages a data directory is reached; None when none is open, or it has not said so."""
    try:
        record = ProgressReader(database_path(home)).coordination(COORDINATION_KEY) or {}
        began = psutil.Process(record["pid"]).create_time()
    except (CognateError, KeyError, TypeError, ValueError, psutil.Error):
        return None
    # Of one that was killed the record stays, and another program may have its port: it must not be given the token.
    is_its_own = began <= datetime.fromisoformat(record["started_at"]).timestamp()
    return record.get("address") if record.get("open") and is_its_own else None


def owner_sentence(home: Path) -> str:
    """Who manages a data directory that this process cannot have."""
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

"""Running things: the RunManager, and the current one of this process."""

from __future__ import annotations

import threading

from cognate_core.errors import RunError
from cognate_core.runs.derived import nearest_checkpoint, twin_key
from cognate_core.runs.home import database_path, default_home, running_address
from cognate_core.runs.known_data import known_report
from cognate_core.runs.manager import RunManager
from cognate_core.runs.names import MAX_MODELS, name_after, numbered_names, valid_name
from cognate_core.runs.read_only import ReadOnlyManager

_lock = threading.Lock()
_manager: RunManager | None = None
_shut_down = False


def current_manager() -> RunManager:
    """This process's RunManager, opened on the default data directory at the first call.

    If another process manages that directory, it is a read-only one; its `read_only` says who manages it.

    Raises:
        RunError: this process is shutting down.
        StorageError: the directory or the database cannot be used.
    """
    global _manager
    with _lock:
        if _shut_down:
            raise RunError("Cognate Studio is shutting down.")
        if _manager is None:
            try:
                _manager = RunManager(default_home())
            except RunError:
                _manager = ReadOnlyManager(default_home())
        return _manager


def close_manager(*, for_good: bool = False) -> None:
    """Close this process's RunManager, if it has one. `for_good`: prevents a page from opening another."""
    global _manager, _shut_down
    with _lock:
        manager, _manager = _manager, None
        _shut_down = for_good
    if manager is not None:
        manager.close()


__all__ = [
    "MAX_MODELS",
    "ReadOnlyManager",
    "RunManager",
    "close_manager",
    "current_manager",
    "database_path",
    "default_home",
    "known_report",
    "name_after",
    "nearest_checkpoint",
    "numbered_names",
    "running_address",
    "twin_key",
    "valid_name",
]

"""Running things: the RunManager, and the one that this process has."""

from __future__ import annotations

import threading

from cognate_core.runs.manager import RunManager, database_path, default_home

_lock = threading.Lock()
_manager: RunManager | None = None


def current_manager() -> RunManager:
    """This process's RunManager, opened on the default data directory at the first call.

    Raises:
        RunError: another process manages that directory.
    """
    global _manager
    with _lock:
        if _manager is None:
            _manager = RunManager(default_home())
        return _manager


def close_manager() -> None:
    """Close this process's RunManager, if it has one."""
    global _manager
    with _lock:
        manager, _manager = _manager, None
    if manager is not None:
        manager.close()


__all__ = ["RunManager", "close_manager", "current_manager", "database_path", "default_home"]

"""The studio's token: it allows reading and changing everything. The studio never sends it to other computers."""

from __future__ import annotations

import os
import secrets
import site
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from cognate_core.errors import ConfigError, StorageError

TOKEN_VARIABLE = "COGNATE_TOKEN"  # noqa: S105  (its name)
OPEN_VARIABLE = "COGNATE_OPEN"
LEAST_LENGTH = 16
HUB_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def is_open() -> bool:
    """Whether everybody on this computer may use the pages and read. Raises ConfigError for anything but 0 and 1."""
    chosen = os.environ.get(OPEN_VARIABLE, "").strip() or "0"
    if chosen not in ("0", "1"):
        raise ConfigError(
            {"open": f"{OPEN_VARIABLE} must be 0 or 1. With 1, anyone on this computer can use the studio."}
        )
    return chosen == "1"


def chosen_token() -> str | None:
    """The token in the environment; None if there is none.

    Raises:
        ConfigError: it is too short or not ASCII.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        return None
    if len(token) < LEAST_LENGTH or not token.isascii():
        raise ConfigError(
            {"token": f"{TOKEN_VARIABLE} cannot be used. It needs {LEAST_LENGTH} or more letters (a to z) and digits."}
        )
    return token


def studio_token(home: Path) -> str:
    """The environment's token, else the one in the data directory. The first call creates that, readable only by this
    user.

    Raises:
        ConfigError: the environment's token cannot be used.
        StorageError: there is no token yet, and none can be saved.
    """
    chosen = chosen_token()
    if chosen is not None:
        return chosen
    path = home / "token"
    try:
        return _kept_token(path) or _new_token(path)
    except OSError as error:
        raise StorageError(f"The token cannot be saved in {path} ({error}). Set {TOKEN_VARIABLE} instead.") from error


def worker_environment(*, fetches: bool = False) -> dict[str, str]:
    """The environment for a process that trains or measures: without the studio's token, and with the hub's token only
    if it `fetches` data. Python then imports nothing from the current folder, which may contain anything."""
    secret = {TOKEN_VARIABLE} if fetches else {TOKEN_VARIABLE, *HUB_TOKEN_VARIABLES}
    kept = {name: value for name, value in os.environ.items() if name not in secret}
    return kept | {"PYTHONSAFEPATH": "1"} | _way_to_this_library(kept)


def _way_to_this_library(environment: Mapping[str, str]) -> dict[str, str]:
    """The path of a clone that is not installed. Python finds an installed library by itself."""
    folder = str(Path(__file__).parents[2])
    if folder in [*site.getsitepackages(), site.getusersitepackages()]:
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [folder, environment.get("PYTHONPATH")]))}


def _kept_token(path: Path) -> str | None:
    """The saved token; None if there is none, or if a power cut left only part of it."""
    try:
        kept = path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return kept if len(kept) >= LEAST_LENGTH else None


def _new_token(path: Path) -> str:
    """Create and save a token, completely or not at all, readable only by this user. If another process was faster,
    return that one's."""
    with FileLock(path.with_name("token.lock")):
        kept = _kept_token(path)
        if kept is not None:
            return kept
        token = secrets.token_urlsafe(32)
        unfinished = path.with_name("token.tmp")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(token)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        return token

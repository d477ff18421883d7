"""The studio's token: whoever has it may change things through the API. It never leaves this computer by itself."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cognate_core.errors import ConfigError, StorageError

TOKEN_VARIABLE = "COGNATE_TOKEN"  # noqa: S105  (its name)
LEAST_LENGTH = 16


def chosen_token() -> str | None:
    """The token that the environment gives, None when it gives none.

    Raises:
        ConfigError: it is so short that it could be guessed.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        return None
    if len(token) < LEAST_LENGTH or not token.isascii():
        raise ConfigError(
            {"token": f"{TOKEN_VARIABLE} needs {LEAST_LENGTH} or more letters and digits, or it is guessed."}
        )
    return token


def studio_token(home: Path) -> str:
    """The environment's token, else the one of the data directory, made at the first call and readable by this user
    alone.

    Raises:
        ConfigError: the environment's cannot be used.
        StorageError: there is none yet, and none can be kept.
    """
    chosen = chosen_token()
    if chosen is not None:
        return chosen
    path = home / "token"
    try:
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32))
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"The token cannot be kept in {path} ({error}). Set {TOKEN_VARIABLE} instead.") from error

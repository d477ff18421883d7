"""Changes rows of a studio's database behind its back, as another program or an older version would have left them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any


def change_database(database: Path, statement: str, values: Sequence[Any] = ()) -> None:
    """Carry out one SQL statement. What the studio has not written yet must not be among what it changes."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)

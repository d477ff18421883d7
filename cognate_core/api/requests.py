"""What routes ask of a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from cognate_core.runs import RunManager


def _manager(connection: HTTPConnection) -> RunManager:
    manager: RunManager = connection.app.state.get_manager()
    return manager


GetManager = Annotated[RunManager, Depends(_manager)]
"""Whoever manages the data directory."""

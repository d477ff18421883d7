"""What routes take from a request, and the models that several share."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from fastapi import Depends
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection

from cognate_core.errors import RunError
from cognate_core.runs import RunManager

T = TypeVar("T")
R = TypeVar("R")


def _manager(connection: HTTPConnection) -> RunManager:
    manager: RunManager = connection.app.state.get_manager()
    return manager


GetManager = Annotated[RunManager, Depends(_manager)]
"""The manager of the data directory."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """Which files settings may name: those in `folder` by name and, if `any_other`, any file on this computer."""

    folder: Path
    any_other: bool


def _uploads(connection: HTTPConnection, manager: GetManager) -> Uploads:
    from cognate_core.data.uploads import UPLOADS

    return Uploads(manager.home / UPLOADS, connection.app.state.any_file)


GetUploads = Annotated[Uploads, Depends(_uploads)]
"""Which files settings may name."""


def _owner(manager: GetManager) -> RunManager:
    if manager.read_only:
        raise RunError(manager.read_only)
    return manager


GetOwner = Annotated[RunManager, Depends(_owner)]
"""The same manager, for changing files; refused while another process manages them."""

RunId = Annotated[str, InPath(description="The run's id.", max_length=64)]
ModelId = Annotated[str, InPath(description="The model's id.", max_length=64)]


class Input(BaseModel):
    """A body or a query. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


MOST_TAGS = 50  # of one run or model


class Page(Input):
    """Which part of a long list."""

    limit: int = Field(50, ge=1, le=500, description="Return at most this many.")
    after: str | None = Field(
        None, pattern="^[0-9]{1,18}$", description="Continue after this place: `next` from the previous answer."
    )

    @property
    def place(self) -> int | None:
        """`after` as a number."""
        return None if self.after is None else int(self.after)


class Items(BaseModel, Generic[T]):
    """A part of a long list."""

    items: list[T]
    next: str | None = Field(description="Send it as `after` to get the next part; null at the end.")


def part(rows: Iterable[R], limit: int, shown: Callable[[R], T], place: Callable[[R], int]) -> Items[T]:
    """The first `limit` of `rows`. Pass one more than `limit`: it shows whether more follow."""
    found = list(rows)
    here = found[:limit]
    return Items(items=[shown(row) for row in here], next=str(place(here[-1])) if len(found) > limit else None)


def place_in_time(milliseconds: float, name: str) -> int:
    """A place in order of time. Items of one millisecond get places of their own, so that paging loses none."""
    moment = min(max(0, round(milliseconds)), 10**13 - 1)  # another program may have written anything
    return moment * 100_000 + zlib.crc32(name.encode(errors="replace")) % 100_000

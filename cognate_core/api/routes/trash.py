"""The trash: deleted runs and models, until they are restored or removed for good."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from cognate_core.api.requests import GetManager, Items, Page, part, place_in_time
from cognate_core.storage.trash import TrashEntry

router = APIRouter(prefix="/trash", tags=["trash"])


EntryId = Annotated[str, Path(description="The entry's id.", max_length=64)]


class Entry(BaseModel):
    """A deleted run or model."""

    id: str
    kind: Literal["run", "model"]
    name: str
    deleted_at: str
    restored_id: str | None = Field(description="The id it had, and gets back when restored.")


class Emptied(BaseModel):
    """What emptying the trash removed."""

    removed: int = Field(description="The number of entries removed.")


@router.get("")
def entries(query: Annotated[Page, Query()], manager: GetManager) -> Items[Entry]:
    """The entries of the trash, the newest first."""
    found = [entry for entry in manager.trash.entries() if query.place is None or _place(entry) < query.place]
    return part(sorted(found, key=_place, reverse=True), query.limit, _entry, _place)


@router.delete("")
def empty(manager: GetManager) -> Emptied:
    """Remove everything for good. This cannot be undone."""
    return Emptied(removed=manager.empty_trash())


@router.post("/{entry_id}/restore")
def restore(entry_id: EntryId, manager: GetManager) -> Entry:
    """Restore a run or model."""
    return _entry(manager.restore(entry_id))


@router.delete("/{entry_id}", status_code=HTTPStatus.NO_CONTENT)
def remove(entry_id: EntryId, manager: GetManager) -> None:
    """Remove an entry for good."""
    manager.remove_for_good(entry_id)


def _place(entry: TrashEntry) -> int:
    try:
        deleted_at = datetime.fromisoformat(entry.deleted_at).timestamp()
    except (ValueError, OverflowError):
        deleted_at = 0.0  # another program wrote it
    return place_in_time(deleted_at * 1000, entry.id)


def _entry(entry: TrashEntry) -> Entry:
    own = next(iter(entry.rows.get(f"{entry.kind}s", ())), {})
    return Entry(id=entry.id, kind=entry.kind, name=entry.name, deleted_at=entry.deleted_at, restored_id=own.get("id"))

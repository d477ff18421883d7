"""The trash: what was deleted, until it is put back or removed for good."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cognate_core.api.answers import GetPaging, Page
from cognate_core.api.requests import GetManager
from cognate_core.storage.trash import TrashEntry

router = APIRouter(prefix="/trash", tags=["trash"])


class Entry(BaseModel):
    """Something that was deleted."""

    id: str
    kind: Literal["run", "model"]
    name: str
    deleted_at: str
    restored_id: str | None = Field(description="The id that it had, and will have again.")


@router.get("")
def entries(manager: GetManager, paging: GetPaging) -> Page[Entry]:
    """What lies in the trash, the newest first."""
    page, following = paging.newest(manager.trash.entries(), lambda entry: (entry.deleted_at, entry.id))
    return Page(items=[_entry(entry) for entry in page], next=following)


@router.post("/{entry_id}/restore")
def restore(entry_id: str, manager: GetManager) -> Entry:
    """Have something again as it was."""
    return _entry(manager.put_back(entry_id))


@router.delete("/{entry_id}", status_code=HTTPStatus.NO_CONTENT)
def remove(entry_id: str, manager: GetManager) -> None:
    """Remove something for good."""
    manager.remove_for_good(entry_id)


def _entry(entry: TrashEntry) -> Entry:
    own = next(iter(entry.rows.get(f"{entry.kind}s", ())), {})
    return Entry(id=entry.id, kind=entry.kind, name=entry.name, deleted_at=entry.deleted_at, restored_id=own.get("id"))

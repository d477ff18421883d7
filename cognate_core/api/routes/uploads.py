"""Files of people's own: sent, listed and removed. What one is called is a label; its content makes its address."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import anyio.from_thread
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from cognate_core.api.requests import GetManager, GetOwner, Items, Page, part, place_in_time
from cognate_core.api.streams import Slots
from cognate_core.errors import DataError

if TYPE_CHECKING:
    from cognate_core.data.uploads import Upload

router = APIRouter(prefix="/files", tags=["data"])

_coming = Slots(2, "Two files are coming in already. Try again in a moment.")


class File(BaseModel):
    """A kept file."""

    name: str = Field(description="What it goes by here: as dataset_path of a run's settings, and below /v1/datasets.")
    label: str = Field(description="What its owner called it.")
    bytes: int
    rows: int | None = Field(description="Usable ones. Null: they were not counted when it came.")
    kept_at: str


@router.get("")
def files(query: Annotated[Page, Query()], manager: GetManager) -> Items[File]:
    """The kept files, the newest first."""
    from cognate_core.data.uploads import list_uploads

    found = [file for file in list_uploads(manager.home) if query.place is None or _place(file) < query.place]
    return part(sorted(found, key=_place, reverse=True), query.limit, _file, _place)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def keep(
    request: Request,
    manager: GetOwner,
    name: Annotated[str, Query(min_length=1, max_length=200, description="Its ending says how it is read.")],
) -> File:
    """Keep a file: JSONL, CSV or Parquet with the columns question and answer (or text), or plain text."""
    from cognate_core.data.uploads import keep

    with _coming.taken():
        return _file(keep(name, _pieces(request), manager.home))


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
def remove(name: Annotated[str, Path(max_length=64)], manager: GetManager) -> None:
    """Remove a kept file for good."""
    manager.remove_upload(name)


def _pieces(request: Request) -> Iterator[bytes]:
    """The body as it comes, asked for by a thread of the pool: never more than a piece of it is in memory.

    Raises:
        DataError: it does not come to its end.
    """
    stream = aiter(request.stream())

    async def following() -> bytes | None:
        return await anext(stream, None)

    try:
        while (piece := anyio.from_thread.run(following)) is not None:
            yield piece
    except ClientDisconnect as error:
        raise DataError("The file did not come whole, and was not kept. Send it again.") from error


def _place(file: Upload) -> int:
    return place_in_time(file.kept_at * 1000, file.path.name)


def _file(file: Upload) -> File:
    kept_at = datetime.fromtimestamp(file.kept_at, UTC).isoformat(timespec="milliseconds")
    return File(name=file.path.name, label=file.label, bytes=file.bytes, rows=file.rows, kept_at=kept_at)

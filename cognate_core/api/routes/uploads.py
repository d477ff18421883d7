"""Uploaded files: add, list and remove them. The given name is only a label; the address comes from the content."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import anyio.from_thread
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from cognate_core.api.requests import GetManager, GetOwner, Items, Page, part, place_in_time
from cognate_core.api.streams import Slots
from cognate_core.config import READ_BY
from cognate_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cognate_core.data.uploads import Upload

router = APIRouter(prefix="/files", tags=["data"])

_coming = Slots(2, "Two files are already being uploaded. Try again in a moment.")


class File(BaseModel):
    """An uploaded file."""

    name: str = Field(description="Its name here: for dataset_path in a run's settings, and below /v1/datasets.")
    label: str = Field(description="Its original name.")
    bytes: int
    rows: int | None = Field(description="Usable rows. Null: they were not counted at the upload.")
    kept_at: str
    read_by: dict[str, Any] = Field(description="Settings with which a run reads it: columns, rows, encoding.")
    licence: str = Field(description="What its owner said of its origin and licence.")


@router.get("")
def files(query: Annotated[Page, Query()], manager: GetManager) -> Items[File]:
    """The uploaded files, the newest first."""
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
    name: Annotated[str, Query(min_length=1, max_length=200, description="Its ending decides how it is read.")],
    read_by: Annotated[
        list[str], Query(max_length=3, description='Settings that say how, such as "dataset_columns=text=Body".')
    ] = [],  # noqa: B006  (FastAPI copies it)
    licence: Annotated[
        str, Query(max_length=500, description="Its origin and licence, if you wish to note them.")
    ] = "",
) -> File:
    """Upload a table, JSON or Parquet with columns question and answer, a chat (messages) or text; or plain text."""
    from cognate_core.data.uploads import keep

    settings = dict(pair.partition("=")[::2] for pair in read_by)
    if unknown := settings.keys() - set(READ_BY):
        raise ConfigError({name: f"Only {', '.join(READ_BY)} can be set for a file." for name in unknown})
    with _coming.taken():
        return _file(keep(name, _pieces(request), manager.home, read_by=settings or None, licence=licence))


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
def remove(name: Annotated[str, Path(max_length=64)], manager: GetManager) -> None:
    """Remove an uploaded file for good."""
    manager.remove_upload(name)


def _pieces(request: Request) -> Iterator[bytes]:
    """The body piece by piece, read from a thread of the pool: at most one piece is in memory.

    Raises:
        DataError: the upload was interrupted.
    """
    stream = aiter(request.stream())

    async def following() -> bytes | None:
        return await anext(stream, None)

    try:
        while (piece := anyio.from_thread.run(following)) is not None:
            yield piece
    except ClientDisconnect as error:
        raise DataError("The upload was interrupted, and the file was not kept. Send it again.") from error


def _place(file: Upload) -> int:
    return place_in_time(file.kept_at * 1000, file.path.name)


def _file(file: Upload) -> File:
    kept_at = datetime.fromtimestamp(file.kept_at, UTC).isoformat(timespec="milliseconds")
    return File(
        name=file.path.name,
        label=file.label,
        bytes=file.bytes,
        rows=file.rows,
        kept_at=kept_at,
        read_by=dict(file.read_by),
        licence=file.licence,
    )

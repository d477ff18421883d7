"""A model's files: each with its checksum, whole or in part, or all of them as one zip file."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from cognate_core.api.problems import problem
from cognate_core.api.requests import GetManager, ModelId
from cognate_core.api.streams import Stream
from cognate_core.errors import NotFound, StorageError
from cognate_core.runs import RunManager

router = APIRouter(prefix="/models/{model_id}", tags=["models"])

CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18}))")
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {"application/octet-stream": _BYTES}},
    206: {"description": "The part that Range names.", "content": {"application/octet-stream": _BYTES}},
    304: {"description": "The file is still the one that If-None-Match names."},
    416: {"description": "Range begins after the end of the file."},
}


class Artifact(BaseModel):
    """A file of a model, as training wrote it."""

    kind: str = Field(description="What it is: the last part of its address.")
    name: str
    bytes: int
    sha256: str


@router.get("/artifacts")
def artifacts(model_id: ModelId, manager: GetManager) -> list[Artifact]:
    """The files of a model."""
    rows = manager.log.artifacts(manager.log.model(model_id).id)
    return [Artifact(**{**row, "name": _name(row)}) for row in rows]


@router.head("/artifacts/{kind}", response_class=Response, responses=_ANSWERS)
@router.get("/artifacts/{kind}", response_class=Response, responses=_ANSWERS)
def artifact(model_id: ModelId, kind: str, request: Request, manager: GetManager) -> Response:
    """One file, or the part of it that `Range` names. With several ranges, the answer is the whole file.

    ETag and Repr-Digest (RFC 9530) are the sha256 of the whole file: use them to check the download.
    """
    row = next((row for row in _rows(manager, model_id) if row["kind"] == kind), None)
    if row is None:
        raise NotFound("This model has no such file.")
    file = _opened(manager, row)
    size, tag = os.fstat(file.fileno()).st_size, f'"{row["sha256"]}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "Content-Disposition": _attachment(_name(row)),
        "Content-Encoding": "identity",  # otherwise the server compresses it, and the checksum does not match
        "ETag": tag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(row['sha256'])).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }
    asked = request.headers
    known = {each.strip().removeprefix("W/") for each in asked.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        file.close()
        return Response(None, HTTPStatus.NOT_MODIFIED, headers)
    part, status = range(size), HTTPStatus.OK
    if "range" in asked and asked.get("if-range", tag) == tag:
        wanted = wanted_range(asked["range"], size)
        if wanted is not None and not wanted:
            file.close()
            sentence = f"The file has {size:,} bytes, and Range begins after its end. Ask for an earlier part."
            return problem(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, sentence, None, **{"Content-Range": f"bytes */{size}"}
            )
        if wanted is not None:
            part, status = wanted, HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    headers["Content-Length"] = str(len(part))
    if request.method == "HEAD":
        file.close()
        return Response(None, status, headers, "application/octet-stream")
    return Stream(_pieces(file, part), file.close, status=status, headers=headers, kind="application/octet-stream")


@router.get(
    "/archive",
    response_class=Response,
    responses={200: {"description": "A zip archive.", "content": {"application/zip": _BYTES}}},
)
def archive(model_id: ModelId, manager: GetManager) -> Response:
    """All files of a model as one zip archive, without folders."""
    pieces = manager.store.zip_pieces(_rows(manager, model_id))
    first = next(pieces)  # opens all files: a missing one is reported before anything is sent

    def whole() -> Iterator[bytes]:
        yield first
        yield from pieces

    headers = {"Content-Disposition": _attachment(f"cognate-{model_id}.zip"), "X-Content-Type-Options": "nosniff"}
    return Stream(whole(), pieces.close, status=HTTPStatus.OK, headers=headers, kind="application/zip")


def wanted_range(header: str, size: int) -> range | None:
    """The bytes of a file of `size` that a Range header names: an empty range if they begin after its end.

    None: it names no single range of bytes, so the answer is the whole file (RFC 9110, section 14.2).
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None:
        return None
    if found["suffix"]:
        return range(max(0, size - int(found["suffix"])), size)
    first, last = int(found["first"]), int(found["last"] or size)
    return None if last < first and found["last"] else range(min(first, size), min(last + 1, size))


def _rows(manager: RunManager, model_id: str) -> list[dict[str, Any]]:
    """A model's files. Raises NotFound if it has none."""
    rows = manager.log.artifacts(manager.log.model(model_id).id)
    if not rows:
        raise NotFound("This model has no files. It may have been deleted.")
    return rows


def _opened(manager: RunManager, row: dict[str, Any]) -> BinaryIO:
    """The opened file of a row. It stays readable even if its model is deleted.

    Raises:
        NotFound: it is gone, or is not one of the studio's files.
        StorageError: it is not the file that training wrote.
    """
    try:
        file = manager.store.path(row["path"]).open("rb")
    except (StorageError, OSError) as error:
        raise NotFound(f"The file {_name(row)} is no longer there.") from error
    if os.fstat(file.fileno()).st_size != row["bytes"]:
        file.close()
        raise StorageError(f"The file {_name(row)} has changed since training wrote it. Its checksum no longer fits.")
    return file


def _pieces(file: BinaryIO, part: range) -> Iterator[bytes]:
    file.seek(part.start)
    left = len(part)
    while left:
        piece = file.read(min(CHUNK_BYTES, left))
        if not piece:
            raise StorageError("The file became shorter while it was being sent.")
        left -= len(piece)
        yield piece


def _name(row: dict[str, Any]) -> str:
    return str(row["path"]).rsplit("/", 1)[-1]


def _attachment(name: str) -> str:
    """The header value for a download, not shown in the browser: the name is encoded as RFC 6266 requires."""
    return f"attachment; filename*=utf-8''{quote(name, safe='')}"

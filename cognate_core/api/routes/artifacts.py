"""A model's files: each with its checksum, whole or a part of it, and all of them as a zip archive."""

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
    304: {"description": "If-None-Match names what the file still is."},
    416: {"description": "The file has no such part."},
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
    """One file, or the part of it that `Range` names: one range of bytes; of several, the whole file is given.

    ETag is the sha256 of the whole file, and so is Repr-Digest (RFC 9530), by which to check what came.
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
        "Content-Encoding": "identity",  # or the server compresses it on the way, and the checksum is of something else
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
            sentence = f"The file has {size:,} bytes, and none where Range begins. Ask for a part of it."
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
    first = next(pieces)  # opens all files: what is lacking is told before anything is sent

    def whole() -> Iterator[bytes]:
        yield first
        yield from pieces

    headers = {"Content-Disposition": _attachment(f"cognate-{model_id}.zip"), "X-Content-Type-Options": "nosniff"}
    return Stream(whole(), pieces.close, status=HTTPStatus.OK, headers=headers, kind="application/zip")


def wanted_range(header: str, size: int) -> range | None:
    """Which bytes of a file of `size` a Range header names: none when they lie behind its end.

    None: it names no single range of bytes, and so the whole file is given (RFC 9110, section 14.2).
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None:
        return None
    if found["suffix"]:
        return range(max(0, size - int(found["suffix"])), size)
    first, last = int(found["first"]), int(found["last"] or size)
    return None if last < first and found["last"] else range(min(first, size), min(last + 1, size))


def _rows(manager: RunManager, model_id: str) -> list[dict[str, Any]]:
    """Its files. Raises NotFound when it has none."""
    rows = manager.log.artifacts(manager.log.model(model_id).id)
    if not rows:
        raise NotFound("This model has no files. It may have been deleted.")
    return rows


def _opened(manager: RunManager, row: dict[str, Any]) -> BinaryIO:
    """The file of a row: once open, it stays whole even if its model is deleted.

    Raises:
        NotFound: it is gone, or is none of the studio's.
        StorageError: it is another one than training wrote.
    """
    try:
        file = manager.store.path(row["path"]).open("rb")
    except (StorageError, OSError) as error:
        raise NotFound(f"The file {_name(row)} is no longer there.") from error
    if os.fstat(file.fileno()).st_size != row["bytes"]:
        file.close()
        raise StorageError(f"The file {_name(row)} was changed since training wrote it. Its checksum is no longer its.")
    return file


def _pieces(file: BinaryIO, part: range) -> Iterator[bytes]:
    file.seek(part.start)
    left = len(part)
    while left:
        piece = file.read(min(CHUNK_BYTES, left))
        if not piece:
            raise StorageError("The file became shorter while it was sent.")
        left -= len(piece)
        yield piece


def _name(row: dict[str, Any]) -> str:
    return str(row["path"]).rsplit("/", 1)[-1]


def _attachment(name: str) -> str:
    """A file to be kept, never to be shown: its name in letters that a header may have (RFC 6266)."""
    return f"attachment; filename*=utf-8''{quote(name, safe='')}"

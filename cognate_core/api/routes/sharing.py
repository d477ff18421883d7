"""Sharing a run: its report, its tables, its archive, and adding a run from another studio's archive."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from cognate_core.api.requests import GetManager, GetOwner, RunId
from cognate_core.api.routes.records import ModelQuery, model_name
from cognate_core.api.routes.runs import RunDetails, details
from cognate_core.errors import DISK_FULL, DiskFull, StorageError
from cognate_core.files import is_disk_full, require_space
from cognate_core.labels import file_name

router = APIRouter(tags=["sharing"])

CHUNK = 1 << 18
PARQUET = "application/vnd.apache.parquet"
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/runs/{run_id}/report",
    response_class=HTMLResponse,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "One HTML page."}},
)
def report(run_id: RunId, query: Annotated[ModelQuery, Query()], manager: GetManager) -> HTMLResponse:
    """One page with the curves, settings and data of one model, readable without the studio."""
    from cognate_core.sharing.report import report_of_run

    run = manager.log.run(run_id)
    html = report_of_run(manager.log, run, model_name(run, query.model))
    return HTMLResponse(html, headers=_as_file(f"{file_name(run.name)}.html"))


@router.get(
    "/runs/{run_id}/metrics.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A table."}},
)
def metrics_as_csv(run_id: RunId, manager: GetManager) -> Response:
    """Every step of every model of the run, as a table for other programs."""
    from cognate_core.tracking.export import metrics_csv

    name = file_name(manager.log.run(run_id).name)
    return Response(metrics_csv(manager.log, run_id), media_type="text/csv", headers=_as_file(f"{name}.csv"))


@router.get(
    "/runs/{run_id}/metrics.parquet",
    response_class=Response,
    responses={200: {"content": {PARQUET: _BYTES}, "description": "A Parquet file."}},
)
def metrics_as_parquet(run_id: RunId, manager: GetManager) -> Response:
    """Every step of every model of the run, as Parquet."""
    from cognate_core.tracking.export import metrics_parquet

    name = file_name(manager.log.run(run_id).name)
    return Response(metrics_parquet(manager.log, run_id), media_type=PARQUET, headers=_as_file(f"{name}.parquet"))


@router.get(
    "/runs/{run_id}/archive",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": _BYTES}, "description": "A zip file."}},
)
def archive(run_id: RunId, manager: GetManager) -> StreamingResponse:
    """The run archive: another studio can open it, and repeat the run to verify it."""
    from cognate_core.sharing.archive import ENDING, open_written_archive

    name = file_name(manager.log.run(run_id).name)
    file = open_written_archive(manager, run_id)
    return StreamingResponse(_chunks(file), media_type="application/zip", headers=_as_file(f"{name}{ENDING}"))


@router.post(
    "/archives",
    status_code=HTTPStatus.CREATED,
    openapi_extra={"requestBody": {"content": {"application/octet-stream": _BYTES}, "required": True}},
)
async def take_up(request: Request, manager: GetOwner) -> RunDetails:
    """Add the run from an archive, as if it had been trained here. Nothing in the file is trusted."""
    from cognate_core.sharing.archive import ENDING, open_archive

    if not request.headers.get("content-type", "").startswith("application/octet-stream"):
        raise HTTPException(415, "Send the run archive as Content-Type: application/octet-stream.")
    require_space(manager.home, int(request.headers.get("content-length", "0")), "this run archive")
    with tempfile.TemporaryDirectory(prefix="arriving.tmp-", dir=manager.home) as folder:
        path = Path(folder) / f"archive{ENDING}"
        await _receive(request, path)
        run_id = await run_in_threadpool(open_archive, manager, path)
    return await run_in_threadpool(details, manager, run_id)


async def _receive(request: Request, path: Path) -> None:
    """Write the body of a request to a file.

    Raises:
        StorageError: the disk refuses.
        HTTPException: the sender hung up.
    """
    try:
        with path.open("xb") as file:
            async for piece in request.stream():
                await run_in_threadpool(file.write, piece)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(DISK_FULL) from error
        raise StorageError(f"The upload cannot be saved ({error.strerror or error}).") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "The upload was interrupted. Send it again.") from error


def _as_file(name: str) -> dict[str, str]:
    """Headers for a download: the browser saves it and never shows it as a page of the studio."""
    return {
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(CHUNK):
            yield piece

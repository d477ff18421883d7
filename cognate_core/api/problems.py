"""Errors as `application/problem+json` (RFC 9457), in the sentences that the pages show."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from cognate_core.errors import (
    CognateError,
    ConfigError,
    DataError,
    DatasetUnavailable,
    DiskFull,
    NoHubToken,
    NotFound,
    PublishError,
    RunError,
    StorageError,
    TrainingError,
    Unreachable,
    UnusableFile,
    plain_sentence,
)

_log = logging.getLogger(__name__)

_STATUS: dict[type[CognateError], HTTPStatus] = {  # the nearest ancestor of an error decides
    ConfigError: HTTPStatus.UNPROCESSABLE_ENTITY,
    DataError: HTTPStatus.UNPROCESSABLE_ENTITY,
    DatasetUnavailable: HTTPStatus.BAD_GATEWAY,
    TrainingError: HTTPStatus.UNPROCESSABLE_ENTITY,
    PublishError: HTTPStatus.BAD_GATEWAY,
    NoHubToken: HTTPStatus.CONFLICT,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    DiskFull: HTTPStatus.INSUFFICIENT_STORAGE,
    UnusableFile: HTTPStatus.UNPROCESSABLE_ENTITY,
    RunError: HTTPStatus.CONFLICT,
    NotFound: HTTPStatus.NOT_FOUND,
    Unreachable: HTTPStatus.BAD_GATEWAY,
}


class Problem(BaseModel):
    """Why a request failed."""

    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, why, and what to do, as a page would show it.")
    problems: dict[str, str] = Field(default_factory=dict, description="A sentence for each wrong field.")


def problem(status: int, detail: str, problems: dict[str, str] | None = None, **headers: str) -> JSONResponse:
    """An answer that reports a problem."""
    found = {_whole(field): _whole(sentence) for field, sentence in (problems or {}).items()}
    told = Problem(title=HTTPStatus(status).phrase, status=status, detail=_whole(detail), problems=found)
    return JSONResponse(told.model_dump(), status, headers, media_type="application/problem+json")


def _whole(text: str) -> str:
    """`text` with a question mark for each lone surrogate, which UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()


def answer_problems(app: FastAPI) -> None:
    """Report every error of `app` as a Problem."""
    app.add_exception_handler(CognateError, _own)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _unexpected)


def _own(_: Request, error: Exception) -> JSONResponse:
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    return problem(status, str(error), error.problems if isinstance(error, ConfigError) else None)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (for the type checker: it is registered for this)
    problems = {".".join(str(part) for part in each["loc"][1:]) or "body": _sentence(each) for each in error.errors()}
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        " ".join(f"{name}: {sentence}" for name, sentence in problems.items()),
        problems,
    )


def _sentence(detail: dict[str, Any]) -> str:
    return f"{str(detail['msg']).removeprefix('Value error, ').rstrip('.')}."


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  (as above)
    return problem(error.status_code, error.detail, None, **(error.headers or {}))


def _unexpected(_: Request, error: Exception) -> JSONResponse:
    _log.error("A request failed", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, plain_sentence(error))

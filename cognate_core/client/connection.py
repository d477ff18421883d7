"""A connection to a studio: sends requests with its token, repeats them if that is safe, returns answers or raises."""

from __future__ import annotations

import ipaddress
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self, TypedDict, Unpack
from urllib.parse import quote

import httpx2

from cognate_core.errors import (
    CognateError,
    ConfigError,
    DataError,
    DatasetUnavailable,
    DiskFull,
    NotFound,
    RunError,
    StorageError,
    Unreachable,
)
from cognate_core.files import is_disk_full

Row = dict[str, Any]
Settings = Mapping[str, Any] | str
"""Settings of a run, as an object or as the text of a TOML file."""

SERVED_BELOW = "/api/v1"
CONNECT_SECONDS, ANSWER_SECONDS, WORK_SECONDS, FETCH_SECONDS = 10.0, 60.0, 900.0, 7200.0
IDLE_SECONDS = 2.0  # well below the studio's 5 s, so that no request meets a connection that is just closing
AGAIN_SECONDS = 5.0  # the longest wait if the studio asks to retry later
TRIES = 4
CHUNK_BYTES = 1 << 20

_ERRORS: dict[int, type[CognateError]] = {
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: RunError,
    HTTPStatus.UNPROCESSABLE_ENTITY: DataError,
    HTTPStatus.BAD_GATEWAY: DatasetUnavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: StorageError,
    HTTPStatus.INSUFFICIENT_STORAGE: DiskFull,
}

_WITH_BODY = frozenset({"POST", "PATCH"})


class _More(TypedDict, total=False):
    """Optional parts of a request. `seconds`: how long its answer may take."""

    params: Mapping[str, Any] | None
    body: Mapping[str, Any]
    content: BinaryIO
    headers: Mapping[str, str]
    seconds: float


class Connection:
    """A connection to the studio at an address. See `Client`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url, own = _address(url)
        token = token or os.environ.get("COGNATE_TOKEN", "").strip() or (_kept_token(self.url) if own else None)
        if token is not None and not token.isascii():
            raise ConfigError({"token": "The token may contain only ASCII characters. `cognate token` prints it."})
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._own = own
        self._http = httpx2.Client(
            base_url=self.url + SERVED_BELOW,
            headers=self._headers,
            trust_env=not own,  # no proxy may see traffic that stays on this computer
            follow_redirects=False,  # the token is only for this address
            limits=httpx2.Limits(keepalive_expiry=IDLE_SECONDS),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, method: str, path: str, *names: str, **more: Unpack[_More]) -> Row:
        """Send a request; returns the JSON object, empty without one. `path`: with {} for each of `names`."""
        with self._answer(method, path, *names, **more) as answer:
            found = self._json(answer) if answer.read() else {}
            if not isinstance(found, dict):
                raise self._no_studio(answer)
            return found

    def _send_file(self, path: str, file: Path, params: Mapping[str, Any] | None = None) -> Row:
        """Upload a local file."""
        try:
            with file.open("rb") as content:
                return self._ask("POST", path, params=params, content=content, seconds=WORK_SECONDS)
        except OSError as error:
            raise StorageError(f"The file {file.name} cannot be opened ({error.strerror or error}).") from error

    def _list(self, path: str, *names: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        """A list that is not paged."""
        with self._answer("GET", path, *names, params=params) as answer:
            found = self._json(answer)
            if not isinstance(found, list):
                raise self._no_studio(answer)
            return found

    def _pages(self, path: str, *names: str, **params: Any) -> Iterator[Row]:
        """Every item of a list, page after page."""
        asked = given(params) | {"limit": 500}
        while True:
            page = self._ask("GET", path, *names, params=asked)
            yield from page["items"]
            if page["next"] is None:
                return
            asked["after"] = page["next"]

    def _save(self, path: str, *names: str, file: Path, params: Mapping[str, Any] | None = None) -> None:
        """Save the answer as `file`, completely or not at all."""
        part = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with (
                self._answer("GET", path, *names, params=params, seconds=WORK_SECONDS) as answer,
                part.open("wb") as whole,
            ):
                for chunk in answer.iter_bytes(CHUNK_BYTES):
                    whole.write(chunk)
            part.replace(file)
        except OSError as error:
            raise not_writable(file, error) from error
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _answer(self, method: str, path: str, *names: str, **more: Unpack[_More]) -> Iterator[httpx2.Response]:
        """The answer to a request, with its content not read yet. Raises if it is an error."""
        content = more.get("content")
        request = self._http.build_request(
            method,
            path.format(*(quote(name, safe="") for name in names)),
            params=more.get("params"),
            headers={**_content_type(method, content), **more.get("headers", {})},
            content=content or (json.dumps(more.get("body", {})).encode() if method in _WITH_BODY else None),
            timeout=httpx2.Timeout(more.get("seconds", ANSWER_SECONDS), connect=CONNECT_SECONDS),
        )
        repeatable = method in ("GET", "HEAD") or "Idempotency-Key" in request.headers
        answer = self._sent(request, repeatable=repeatable, whole=content is None)
        try:
            if not answer.is_success:
                self._raise(answer)
            yield answer
        except httpx2.TransportError as error:  # while it was read
            raise self._unreachable(error) from error
        finally:
            answer.close()

    def _sent(self, request: httpx2.Request, *, repeatable: bool, whole: bool) -> httpx2.Response:
        """Send a request. Repeat it while the studio asks to wait, and once if its answer was lost.

        Args:
            repeatable: sending it twice does no more than sending it once.
            whole: its content can be sent again; a file, once read, cannot.
        """
        lost = False
        for attempt in range(TRIES):
            try:
                answer = self._http.send(request, stream=True)
            except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError) as error:
                if lost or not repeatable:
                    raise self._unreachable(error) from error
                lost = True
                continue
            except httpx2.TransportError as error:
                raise self._unreachable(error) from error
            pause = _pause(answer)
            if pause is None or attempt == TRIES - 1 or not whole:
                return answer
            answer.close()
            sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _json(self, answer: httpx2.Response) -> Any:
        try:
            return json.loads(answer.read())
        except ValueError as error:
            raise self._no_studio(answer) from error

    def _raise(self, answer: httpx2.Response) -> NoReturn:
        """Raise the studio's error."""
        status = answer.status_code
        try:
            told = json.loads(answer.read())
            detail, problems = str(told["detail"]), dict(told.get("problems") or {})
        except (ValueError, KeyError, TypeError) as error:
            raise self._no_studio(answer) from error
        if detail == answer.reason_phrase:  # this studio does not have the route
            raise self._no_studio(answer)
        if status == HTTPStatus.UNAUTHORIZED and self._headers:
            raise RunError(
                f"The studio at {self.url} does not accept this token. `cognate token` prints the right one on the "
                "studio's computer; set COGNATE_TOKEN to it. If the studio was started with COGNATE_TOKEN, use that."
            )
        if problems:
            refused = ConfigError(problems)
            refused.args = (detail,)
            raise refused
        raise _ERRORS.get(status, RunError if status < HTTPStatus.INTERNAL_SERVER_ERROR else CognateError)(detail)

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | OSError):
            why = "Nothing answers there. Start the studio with `cognate run`, or check the address."
        elif isinstance(error, httpx2.TimeoutException):
            why = "It took too long to answer. Try again when the computer has less to do."
        else:
            why = f"The connection broke ({type(error).__name__}). Try again."
        return Unreachable(f"The studio at {self.url} cannot be reached. {why}")

    def _no_studio(self, answer: httpx2.Response) -> Unreachable:
        return Unreachable(
            f"The server at {self.url} is not a Cognate Studio of this version (status {answer.status_code}). "
            "Check the address."
        )


def _address(url: str) -> tuple[str, bool]:
    """The address, including a proxy's folder, and whether it is on this computer."""
    try:
        asked = httpx2.URL(url if "://" in url else f"http://{url}")
    except httpx2.InvalidURL as error:
        raise ConfigError({"server": f"{url} is not an address. Write it as http://127.0.0.1:8501."}) from error
    if asked.scheme not in ("http", "https") or not asked.host or asked.userinfo:
        raise ConfigError({"server": "The studio's address must look like http://127.0.0.1:8501."})
    return str(asked.copy_with(query=None, fragment=None)).rstrip("/"), _is_own(asked.host)


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _kept_token(url: str) -> str | None:
    """The token of the data directory, only for the port of its own studio: anyone may listen at other ports."""
    from cognate_core.runs import default_home, running_address
    from cognate_core.runs.token import studio_token

    address = running_address(default_home())
    if address is None or httpx2.URL(address).port != httpx2.URL(url).port:
        return None
    return studio_token(default_home())


def not_writable(file: Path, error: OSError) -> StorageError:
    if is_disk_full(error):
        return DiskFull(f"The disk is full: there is no room for {file.name}. Free some space, then try again.")
    return StorageError(f"{file} cannot be written ({error.strerror or error}). Choose another folder.")


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not None; the studio has defaults for the others."""
    return {name: value for name, value in values.items() if value is not None}


def start_key(chosen: str | None) -> dict[str, str]:
    return {"Idempotency-Key": chosen or uuid.uuid4().hex}


def _content_type(method: str, content: BinaryIO | None) -> dict[str, str]:
    if content is not None:
        return {"Content-Type": "application/octet-stream"}
    return {"Content-Type": "application/json"} if method in _WITH_BODY else {}


def _pause(answer: httpx2.Response) -> float | None:
    """How long the studio asks to wait before a retry. None: it does not ask, or the wait is too long."""
    wait = answer.headers.get("retry-after", "")
    if answer.status_code != HTTPStatus.TOO_MANY_REQUESTS or not wait.isdecimal():
        return None
    return float(wait) if float(wait) <= AGAIN_SECONDS else None

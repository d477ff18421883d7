"""Which studio a command uses: the one that --server names, else its own on the data directory, until it ends."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from cognate_core.client import Client
from cognate_core.errors import RunError, StorageError
from cognate_core.runs import ReadOnlyManager, RunManager, database_path, default_home, running_address
from cognate_core.storage.progress_log import ProgressLog

_server: ContextVar[str | None] = ContextVar("server", default=None)
_LOOKS = "This command only reads and changes nothing."


def choose_server(address: str | None) -> None:
    """Use the studio at this address; None: the command's own."""
    _server.set(address)


def chosen_server() -> str | None:
    """The address that --server gave."""
    return _server.get()


@contextmanager
def looking() -> Iterator[Client]:
    """To read: without a studio, it starts no run and creates no data directory.

    It changes nothing, except that a run whose studio was killed becomes interrupted.
    """
    with tempfile.TemporaryDirectory() as nothing, _client(lambda: _reader(Path(nothing))) as client:
        yield client


@contextmanager
def changing() -> Iterator[Client]:
    """To change something: without a studio, queued runs keep waiting for one."""
    with _client(lambda: _owner(max_parallel=0)) as client:
        yield client


@contextmanager
def training() -> Iterator[Client]:
    """To train: without a studio, this process trains, and pauses unfinished runs when it ends."""
    with _client(lambda: _owner(max_parallel=1)) as client:
        yield client


@contextmanager
def _client(open_manager: Callable[[], RunManager]) -> Iterator[Client]:
    server = chosen_server()
    if server is not None:
        with Client(server) as client:
            yield client
        return
    from cognate_core.api.serving import serving  # here, because it loads slowly

    with (
        closing(open_manager()) as manager,
        serving(manager, any_file=True) as (url, token),
        Client(url, token) as client,
    ):
        yield client


def _owner(max_parallel: int) -> RunManager:
    """Raises RunError if another process manages the data directory; it names that studio's address if known."""
    try:
        return RunManager(default_home(), max_parallel)
    except RunError as error:
        address = running_address(default_home())
        raise RunError(f"{error} Or add --server {address}." if address else str(error)) from error


def _reader(nothing: Path) -> RunManager:
    """`nothing`: an empty folder, used if the data directory does not exist yet."""
    home = default_home()
    if not database_path(home).is_file():
        ProgressLog(database_path(nothing)).close()
        home = nothing
    reader = ReadOnlyManager(home, _LOOKS)
    if reader.log.is_busy():
        with suppress(RunError, StorageError):  # its studio is open, or nothing can be written here
            RunManager(home, max_parallel=0).close()
    return reader

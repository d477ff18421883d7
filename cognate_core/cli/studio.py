"""The studio itself: start it, check it, and get its token or a link."""

from __future__ import annotations

import ipaddress
import os
import runpy
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cognate_core.cli.connection import chosen_server, looking
from cognate_core.cli.output import JsonOption, print_facts, print_json, print_line, say
from cognate_core.client import Client
from cognate_core.errors import RunError
from cognate_core.runs import current_manager, default_home, running_address
from cognate_core.runs.token import OPEN_VARIABLE, TOKEN_VARIABLE, chosen_token, is_open, studio_token

app = typer.Typer()

LIBRARY = Path(__file__).parents[1]
FOLDERS = ("COGNATE_HOME", "COGNATE_DATASETS_DIR", "HF_HOME")  # may be relative to the current folder
OWN_NAMES = ("127.0.0.1", "localhost")
PANEL = "The studio"


@app.command(rich_help_panel=PANEL)
def run(
    port: Annotated[int, typer.Option(help="The port of the page.")] = 8501,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    address: Annotated[
        str,
        typer.Option(help="The address to listen on. At any other, such as 0.0.0.0, other computers reach the studio."),
    ] = "127.0.0.1",
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            envvar="COGNATE_HOST_NAME", help="A host name that other computers use for the studio. May be repeated."
        ),
    ] = None,
    open_to_all: Annotated[
        bool, typer.Option("--open", help="For demos: anyone on this computer can use the pages, without a link.")
    ] = False,
) -> None:
    """Start the studio and open its page."""
    if chosen_server() is not None:
        raise RunError("`cognate run` starts a studio on this computer. Leave out --server.")
    open_to_all = open_to_all or is_open()
    bound = _bound(address, host_name or [], open_to_all)
    os.environ[OPEN_VARIABLE] = str(int(open_to_all))  # app.py reads it, however it is started
    script = server_script()
    _work_in(script.parent)
    current_manager()  # before the server, so that a refusal is a sentence, not a server log
    sys.argv = [str(script)]  # Streamlit takes the app's location from here
    server = runpy.run_path(str(script))["app"]
    silent = {} if browser else {"server.headless": True}  # otherwise Streamlit finds out whether there is a screen
    server.run(config={"server.port": port, **silent, **bound})


def server_script() -> Path:
    """app.py: beside the library in a clone, inside it in the wheel, together with pages and settings."""
    installed = LIBRARY / "studio" / "app.py"
    return installed if installed.is_file() else LIBRARY.parent / "app.py"


def _work_in(folder: Path) -> None:
    """Change to the app's folder: Streamlit would read a .streamlit/config.toml in the current one."""
    for name in FOLDERS:
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).absolute())
    os.chdir(folder)
    sys.path.insert(0, str(folder))  # for app.py's pages


def _bound(address: str, names: list[str], open_to_all: bool) -> dict[str, Any]:
    """Streamlit's settings for the studio's address and host names.

    Raises:
        RunError: other computers would reach the studio, but it is open, or has no token or no host name.
    """
    names = [_valid_host(name) for name in names]
    own, one = _kind_of(address)
    if open_to_all and (names or not own):
        raise RunError(
            f"--open and {OPEN_VARIABLE} are only for use on this computer. Leave them out, or leave out --address, "
            "--host-name and COGNATE_HOST_NAME."
        )
    if own and not names:
        return {"server.address": address, "server.allowedHosts": sorted({*OWN_NAMES, address})}
    if not own and chosen_token() is None:
        raise RunError(
            f"At {address} other computers would reach the studio. Choose a token of 16 or more letters and digits "
            f"with {TOKEN_VARIABLE}, and give it to the people who may use the studio."
        )
    if not own and not one and not set(names) - set(OWN_NAMES):
        raise RunError(
            f"Other computers would reach the studio at {address}. Give the host name they use with --host-name or "
            "COGNATE_HOST_NAME."
        )
    hosts = {*OWN_NAMES, *names, *([address] if one else [])}
    return {"server.address": address, "server.allowedHosts": sorted(hosts)}


def _valid_host(name: str) -> str:
    """A host name as browsers send it. Raises RunError if it is not a plain name."""
    try:
        return (
            name.strip().rstrip(".").lower().encode("idna").decode()
            if not set(name) & set("/: ")
            else str(ipaddress.IPv6Address(name))
        )
    except (UnicodeError, ValueError) as error:
        raise RunError(
            f"{name} is not a host name. Give only the name, such as studio.example, without https:// and port."
        ) from error


def _kind_of(address: str) -> tuple[bool, bool]:
    """Whether only this computer can reach an address, and whether it names one computer (0.0.0.0 does not)."""
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return address == "localhost", True
    return number.is_loopback, not number.is_unspecified


@app.command(rich_help_panel=PANEL)
def token() -> None:
    """Print this studio's token, which other programs must send."""
    if chosen_server() is not None:
        raise RunError("A token is printed only on the studio's own computer. Leave out --server.")
    print_line(studio_token(default_home()))


@app.command(rich_help_panel=PANEL)
def link() -> None:
    """Print a login link for one browser. It works once."""
    server = chosen_server()
    own = running_address(default_home())
    if server is None and own is None:
        raise RunError("No studio is open on this data folder. `cognate run` starts one.")
    with Client(server or str(own), None if server else studio_token(default_home())) as studio:
        print_line(studio.link())


@app.command(rich_help_panel=PANEL)
def health(as_json: JsonOption = False) -> None:
    """Show the studio's health."""
    with looking() as studio:
        found = studio.health()
    print_json(found) if as_json else print_facts(found)


@app.command(rich_help_panel=PANEL)
def coordination(as_json: JsonOption = False) -> None:
    """Show who manages the data directory, since when, and what is running."""
    with looking() as studio:
        found = studio.coordination()
    if as_json:
        print_json(found)
    elif found:
        print_facts(found)
    else:
        say("No studio has managed the data directory yet. `cognate run` starts one.")

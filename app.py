"""The server: pages and API in one ASGI app. Its lifespan owns the RunManager.

Start it with `python app.py`, `streamlit run app.py` or `cognate run`.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import traceback
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware

from cognate_core.api import OWN_HOSTS, Guard, Links, Policy, is_loopback, served
from cognate_core.errors import CognateError, RunError, plain_sentence
from cognate_core.runs import close_manager, current_manager
from cognate_core.runs.token import TOKEN_VARIABLE, chosen_token, is_open, studio_token
from pages.components import frame, live_charts

links = Links()


def policy() -> Policy:
    """Who may use the studio.

    Raises:
        RunError: other computers would reach the studio, but it is open, or has no chosen token or no host name.
    """
    address = st.get_option("server.address")
    hosts = frozenset(host.lower() for host in st.get_option("server.allowedHosts"))
    if is_open() and not all(map(is_loopback, [address, *hosts])):
        raise RunError(
            "An open studio is for this computer alone. Remove COGNATE_OPEN, or remove server.address and the names "
            "in server.allowedHosts."
        )
    if is_loopback(address):
        return Policy(studio_token(current_manager().home), hosts or OWN_HOSTS, is_open())
    token = chosen_token()
    if token is None:
        raise RunError(
            f"Other computers would reach the studio at {address or 'every address'}, which needs a token of your own. "
            f"Choose one with {TOKEN_VARIABLE}, or remove server.address."
        )
    if not hosts - OWN_HOSTS:
        raise RunError(
            f"Other computers would reach the studio at {address or 'every address'}. List the host names or addresses "
            "they use in server.allowedHosts in .streamlit/config.toml; others are refused."
        )
    return Policy(token, hosts)


def address() -> str:
    """The address at which programs on this computer reach the studio."""
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    host = st.get_option("server.address")
    if host in (None, "", "0.0.0.0", "::"):  # noqa: S104  (every address, including this one)
        host = "127.0.0.1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{st.get_option('server.port')}"


def own_command() -> str:
    """The command that runs `cognate` from the folder where the studio was started."""
    if shutil.which("cognate"):
        return "cognate"
    command = Path(sys.executable).with_name("cognate")
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)


def welcome() -> None:
    """Print the address of the pages and open them: Streamlit's message is off, and it opens no browser for an App."""
    if is_open():
        said = f"Anyone on this computer can use Cognate Studio at {address()}. Press Ctrl+C to close it."
    else:
        said = (
            "Cognate Studio is ready. Open this link in your browser. It works once and keeps the browser logged in.\n"
            f"  {address()}{links.new()}\n"
            f"For another browser, `{own_command()} link` prints a new link. Press Ctrl+C to close the studio."
        )
    print(said, flush=True)  # noqa: T201
    if not st.get_option("server.headless"):
        opened = address() + links.new()  # the printed link stays unused
        threading.Thread(target=webbrowser.open, args=(opened,), daemon=True).start()  # some browsers block


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[dict[str, Any]]:
    """Open the RunManager before the first page. At the end, let it save what is being trained."""
    policy()
    current_manager().say_address(address())
    welcome()
    yield {}
    await asyncio.to_thread(close_manager, for_good=True)


def show_error(error: Exception) -> bool:
    """Show an error of a page: a sentence, with the details one click away."""
    st.error(plain_sentence(error), icon=":material/error:")
    with st.expander("Details"):
        st.code("".join(traceback.format_exception(error)), language=None)
    return True


app = st.App(
    Path(__file__).parent / "pages" / "navigation.py",
    lifespan=lifespan,
    routes=[frame.icon, *live_charts.routes, *served(current_manager, links)],
    middleware=[Middleware(Guard, get_policy=policy, links=links), Middleware(frame.Frame)],
    on_script_error=show_error,
)

if __name__ == "__main__":
    try:
        current_manager()  # before the server, so that a refusal is a sentence, not a server log
    except CognateError as error:
        sys.exit(str(error))
    app.run()

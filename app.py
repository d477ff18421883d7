"""The server: the dashboard in one ASGI app, whose lifespan owns the RunManager.

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
    """Who may speak to the studio.

    Raises:
        RunError: other computers would reach it, and it is open, or nobody chose a token or the name under which they
            ask for it.
    """
    address = st.get_option("server.address")
    hosts = frozenset(host.lower() for host in st.get_option("server.allowedHosts"))
    if is_open() and not all(map(is_loopback, [address, *hosts])):
        raise RunError(
            "An open studio is for this computer alone. Take COGNATE_OPEN away, or server.address and the names in "
            "server.allowedHosts."
        )
    if is_loopback(address):
        return Policy(studio_token(current_manager().home), hosts or OWN_HOSTS, is_open())
    token = chosen_token()
    if token is None:
        raise RunError(
            f"The studio would be reached from other computers at {address or 'every address'}, and asks for no token. "
            f"Choose one with {TOKEN_VARIABLE}, or take server.address away."
        )
    if not hosts - OWN_HOSTS:
        raise RunError(
            f"The studio would be reached from other computers at {address or 'every address'}. Say under which name "
            "or address they ask for it, with server.allowedHosts in .streamlit/config.toml: others are refused."
        )
    return Policy(token, hosts)


def address() -> str:
    """Where programs on this computer reach the studio."""
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    host = st.get_option("server.address")
    if host in (None, "", "0.0.0.0", "::"):  # noqa: S104  (every address, and so this one, too)
        host = "127.0.0.1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{st.get_option('server.port')}"


def own_command() -> str:
    """How `cognate` is called from the folder where the studio was started."""
    if shutil.which("cognate"):
        return "cognate"
    command = Path(sys.executable).with_name("cognate")
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)


def welcome() -> None:
    """Say where the pages are, and open them. Streamlit's own message is off, and it opens no browser for an App."""
    if is_open():
        said = f"Anyone on this computer can use Cognate Studio at {address()}. Press Ctrl+C to close it."
    else:
        said = (
            "Cognate Studio is ready. Open this link in your browser. It works once; the browser is then remembered.\n"
            f"  {address()}{links.new()}\n"
            f"For another browser, `{own_command()} link` prints a new link. Press Ctrl+C to close the studio."
        )
    print(said, flush=True)  # noqa: T201
    if not st.get_option("server.headless"):
        opened = address() + links.new()  # not the link above, which is for whoever reads it
        threading.Thread(target=webbrowser.open, args=(opened,), daemon=True).start()  # some browsers are waited for


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[dict[str, Any]]:
    """Open the RunManager before the first page, and let it save what is being trained before the end."""
    policy()
    current_manager().say_address(address())
    welcome()
    yield {}
    await asyncio.to_thread(close_manager, for_good=True)


def show_error(error: Exception) -> bool:
    """What a page shows when something went wrong in it: a sentence, and the details one click away."""
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
        current_manager()  # before the server, so that a refusal is a sentence and no server log
    except CognateError as error:
        sys.exit(str(error))
    app.run()

"""The server: the dashboard in one ASGI app, whose lifespan owns the RunManager.

Start it with `python app.py`, `streamlit run app.py` or `cognate run`.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from cognate_core.errors import CognateError, RunError, plain_sentence
from cognate_core.runs import close_manager, current_manager
from pages.components.live_charts import routes

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def refuse_other_addresses() -> None:
    """The page has no password: whoever reaches it may start, stop and delete. Raises RunError unless only this
    computer reaches it."""
    address = st.get_option("server.address")
    if address not in LOOPBACK:
        raise RunError(
            f"The studio would be reached from other computers at {address or 'every address'}, and has no password. "
            "Take server.address (STREAMLIT_SERVER_ADDRESS) away, or set it to 127.0.0.1."
        )


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[dict[str, Any]]:
    """Open the RunManager before the first page, and let it save what is being trained before the end."""
    refuse_other_addresses()
    current_manager()
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
    routes=routes,
    on_script_error=show_error,
)

if __name__ == "__main__":
    try:
        current_manager()  # before the server, so that a refusal is a sentence and no server log
    except CognateError as error:
        sys.exit(str(error))
    app.run()

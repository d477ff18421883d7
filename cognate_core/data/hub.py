"""Check with one connection whether the Hugging Face hub can be reached, before asking it for anything.

Without a network, its client tries again and again: `load_dataset` for 23 seconds.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_SECONDS = 1.5


def hub_problem() -> str | None:
    """Why the hub cannot be reached, as half a sentence; None if a connection to it, or to the proxy, opens."""
    from huggingface_hub import constants

    switched_off = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")  # as the client reads it
    if switched_off or constants.HF_HUB_OFFLINE:
        return "the hub is switched off on this computer (HF_HUB_OFFLINE is set)"
    host, port = _first_stop(constants.ENDPOINT)
    ends: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()

    def connect() -> None:
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            ends.put(error)
        else:
            ends.put(None)

    threading.Thread(target=connect, name="hub", daemon=True).start()  # a name lookup has no timeout
    try:
        end = ends.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        end = TimeoutError()
    match end:
        case None:
            return None
        case TimeoutError():
            return f"{host} did not answer within {CONNECT_SECONDS:g} seconds"
        case socket.gaierror():
            return f"{host} was not found (is this computer connected to a network?)"
        case _:
            return f"{host} cannot be reached"


def _first_stop(address: str) -> tuple[str, int]:
    """The host and port to connect to for `address`: its own, or those of the proxy set in the environment."""
    wanted = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(wanted.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(wanted.netloc):
        wanted = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    ports = {"https": 443, "socks5": 1080, "socks5h": 1080}
    return wanted.hostname or "", wanted.port or ports.get(wanted.scheme, 80)

"""Servers that are no studio, or none of this version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a-token-that-nobody-guesses"


Answer = Callable[[BaseHTTPRequestHandler], object]


@contextmanager
def other_server(answer: Answer) -> Iterator[str]:
    """The address of a server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            is_asked = bool(self.raw_requestline) and self.parse_request()
            self.close_connection = True  # unless the answer says otherwise
            if is_asked:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer(self)
                self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def problem(status: int, detail: str, fields: str = "{}") -> Answer:
    body = f'{{"title": "", "status": {status}, "detail": "{detail}", "problems": {fields}}}'.encode()
    return lambda handler: say(handler, status, body, Content_Type="application/problem+json")

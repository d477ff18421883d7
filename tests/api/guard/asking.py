"""A server behind the guard, and requests that it lets through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from cognate_core.api.security.guard import RULES, Guard, Policy, Rule
from cognate_core.api.security.login import Links, session_cookie

TOKEN = "a-token-of-the-test"
HERE = "127.0.0.1:8501"
HOME = Policy(TOKEN)
AWAY = Policy(TOKEN, frozenset({"studio.lan"}))
OPEN = Policy(TOKEN, open=True)


async def answer(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"method": request.method, "path": request.scope["path"], "bytes": len(body)})


async def page(_: Request) -> Response:
    return HTMLResponse("a page", headers={"X-Frame-Options": "SAMEORIGIN"})


async def socket(connection: WebSocket) -> None:
    await connection.accept()
    await connection.send_text("open")
    await connection.close()


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]
SERVER = Starlette(
    routes=[
        Mount(
            "/api",
            routes=[
                WebSocketRoute("/v1/events", socket),
                Route("/{rest:path}", answer, methods=METHODS),
            ],
        ),
        WebSocketRoute("/_stcore/stream", socket),
        Route("/_stcore/upload_file/{rest:path}", answer, methods=METHODS),
        Route("/", page),
        Route("/{rest:path}", answer, methods=METHODS),
    ]
)


def asking(
    policy: Policy = HOME,
    rules: tuple[Rule, ...] = RULES,
    client: str = "127.0.0.1",
    links: Links | None = None,
    scheme: str = "http",
) -> TestClient:
    return TestClient(
        Guard(SERVER, lambda: policy, links or Links(), rules),
        base_url=f"{scheme}://{'studio.lan' if policy is AWAY else HERE}",
        client=(client, 50_000),
        follow_redirects=False,
    )


def known(policy: Policy = HOME) -> TestClient:
    """A browser that the studio knows."""
    client = asking(policy)
    client.cookies.set(*session_cookie(TOKEN))
    return client


@dataclass(frozen=True)
class Case:
    """A request that breaks one rule alone. `headers`: beside those of a sound request; None takes one away."""

    rule: Rule
    status: int
    method: str = "GET"
    path: str = "/api/v1/runs"
    headers: list[tuple[str, str | None]] = field(default_factory=list)
    content: bytes = b""
    policy: Policy = HOME
    client: str = "127.0.0.1"

    def ask(self, rules: tuple[Rule, ...]) -> Any:
        changed = {name.lower() for name, _ in self.headers}
        sound = [("Host", "studio.lan" if self.policy is AWAY else HERE), ("Authorization", f"Bearer {TOKEN}")]
        if self.method not in ("GET", "HEAD"):
            sound.append(("Content-Type", "application/json"))
        lines = [pair for pair in sound if pair[0].lower() not in changed]
        lines += [(name, value) for name, value in self.headers if value is not None]
        client = asking(self.policy, rules, self.client)
        del client.headers["user-agent"]
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in lines]
        return client.request(self.method, self.path, headers=encoded, content=self.content)


FOREIGN_HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "evil.example:8501",
    "localhost.evil.example",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "127.0.0.1:8501/x",
    "127.0.0.1,evil.example",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "0.0.0.0",
    "[::ffff:127.0.0.1]",
    "[::1",
    "127.0.0.1:port",
    "",
]
FOREIGN_ORIGINS = [
    "https://evil.example",
    "http://evil.example:8501",
    f"http://{HERE}.evil.example",
    "http://127.0.0.1:9999",
    "http://127.0.0.1",
    "http://localhost:8501",
    f"http://{HERE}/",
    f"ftp://{HERE}",
    "null",
    "http://[",
    "",
]
SIMPLE_CONTENT = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain; application/json",
    "application/json, text/plain",
    "application/jsonp",
    "",
    None,
]
ANY_PATH = ["/api/v1/runs", "/api", "/API/v1/runs", "/live", "/", "/_stcore/health", "/_stcore/upload_file"]

"""Lenient addresses: a trailing slash changes nothing, and HEAD is answered wherever GET is."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Addresses:
    """ASGI middleware around the API's routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path: str = scope["path"]
            if path.endswith("/") and path != f"{scope.get('root_path', '')}/":
                scope = {**scope, "path": path[:-1]}
        if scope.get("method") == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Use the route's own HEAD if it has one (it does less than GET); otherwise GET without the body."""
        unknown = False

        async def unless_unknown(message: Message) -> None:
            nonlocal unknown
            unknown = unknown or message.get("status") == HTTPStatus.METHOD_NOT_ALLOWED
            if not unknown:
                await send(message)

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app(scope, receive, unless_unknown)
        if unknown:
            await self._app({**scope, "method": "GET"}, receive, without_body)

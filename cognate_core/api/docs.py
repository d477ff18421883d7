"""The API described for people: FastAPI's own page (Swagger UI), with scripts served from this computer."""

from __future__ import annotations

import re
from importlib.resources import files

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from cognate_core.labels import policy_source

DESCRIPTION = """
Programs send the studio's token, which `cognate token` prints: `Authorization: Bearer <token>`. On this page, press
*Authorize* and paste it.

- Send JSON with its content type, even when the body is empty. Files are `application/octet-stream`.
- Long lists come in parts: send an answer's `next` as `after` to get the next part.
- A problem is `application/problem+json`: a sentence in `detail`, and one for each wrong field in `problems`.
- Times are ISO 8601 in UTC. `null` means unknown.
- Send your own `Idempotency-Key` when you start a run: a repeated request then starts nothing.

**Events as they happen.** `/v1/events` and `/v1/runs/{run_id}/events` are WebSockets. Each message is a JSON object
with `id`, `run_id`, `type`, `status` and `timestamp`. Ids increase. After a break, reconnect with
`?after=` and the last id you got.

| type | content |
| --- | --- |
| training_update | progress, message, phase, step, total_steps, loss, learning_rate |
| model_completed | model_id, model_name |
| training_complete | the run has finished |
| training_error | the run has failed or was interrupted; `message` says why |
| events_lost | the events between `after` and this id are no longer kept |
"""

STYLE = """<style>
.swagger-ui .info .title small, .swagger-ui .info .title small.version-stamp { background: #3b4151; }
.swagger-ui .info a, .swagger-ui .info .link .url { color: #005f96; }
.swagger-ui .btn.authorize { border-color: #00705a; color: #00705a; }
.swagger-ui .btn.authorize svg { fill: #00705a; }
.swagger-ui .opblock .opblock-summary .opblock-summary-method { background: #005f96; }
.swagger-ui .opblock.opblock-post .opblock-summary .opblock-summary-method { background: #00705a; }
.swagger-ui .opblock.opblock-patch .opblock-summary .opblock-summary-method { background: #7a5200; }
.swagger-ui .opblock.opblock-delete .opblock-summary .opblock-summary-method { background: #a33a00; }
.swagger-ui .scheme-container .servers-title, .swagger-ui .scheme-container .servers { display: none; }
</style>"""
# What Swagger UI leaves out for readers of the screen and of low contrast; the list of servers has this one only.
MENDED = (
    ("<html>", '<html lang="en">'),
    ("</head>", f"{STYLE}</head>"),
    ('<div id="swagger-ui">\n    </div>', '<main id="swagger-ui"></main>'),
)

router = APIRouter(include_in_schema=False)


def serve_assets(app: FastAPI) -> None:
    """Serve Swagger UI's script and style from the package that contains them."""
    app.mount("/v1/assets", StaticFiles(directory=str(files("fastapi_offline") / "static")))


@router.get("/v1")
def page(request: Request) -> Response:
    """The page. Its addresses are relative, because a proxy may serve the studio in a folder."""
    if not request.scope["raw_path"].endswith(b"/"):
        return RedirectResponse("v1/")
    html = bytes(
        get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"The API of {request.app.title}",
            swagger_js_url="assets/swagger-ui-bundle.js",
            swagger_css_url="assets/swagger-ui.css",
            swagger_favicon_url="data:,",
            swagger_ui_parameters={"docExpansion": "list", "defaultModelsExpandDepth": 0, "deepLinking": False},
        ).body
    ).decode()
    for given, better in MENDED:
        html = html.replace(given, better)
    hashes = " ".join(map(policy_source, re.findall("<script>(.*?)</script>", html, re.DOTALL)))
    policy = (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})


@router.get("/")
def to_page() -> RedirectResponse:
    """Redirect shorter addresses to the page."""
    return RedirectResponse("v1/")

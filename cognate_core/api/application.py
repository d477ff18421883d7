"""The API as one FastAPI application, mounted below `/api`. Its routes read requests; the RunManager does the work."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, FastAPI
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route

from cognate_core.api import docs
from cognate_core.api.addresses import Addresses
from cognate_core.api.description import describe
from cognate_core.api.problems import Problem, answer_problems
from cognate_core.api.routes import (
    artifacts,
    datasets,
    derived_runs,
    events,
    generation,
    models,
    publishing,
    rates,
    records,
    runs,
    settings,
    sharing,
    studio,
    sweeps,
    trash,
    uploads,
)
from cognate_core.api.security.login import Links
from cognate_core.runs import RunManager

SUMMARY = "Start, watch, keep and try out the training of small language models."
SERVED_BELOW = "/api"


def served(get_manager: Callable[[], RunManager], links: Links) -> list[BaseRoute]:
    """The routes that a server with pages adds to serve the API below /api."""
    to_page = f"{SERVED_BELOW[1:]}/v1/"  # relative: a proxy may add a folder
    return [
        Route(SERVED_BELOW, lambda _: RedirectResponse(to_page)),
        Mount(SERVED_BELOW, create_api(get_manager, links=links)),
    ]


def create_api(get_manager: Callable[[], RunManager], *, any_file: bool = False, links: Links | None = None) -> FastAPI:
    """The application.

    Args:
        get_manager: returns the manager of the data directory; called at each request.
        any_file: whether settings may name any file on this computer, not only uploads.
        links: the login links; None where there are no pages.
    """
    app = FastAPI(
        title="Cognate Studio",
        summary=SUMMARY,
        description=docs.DESCRIPTION,
        version="1",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # FastAPI's own pages load scripts from the network; docs.py does not
        redoc_url=None,
        servers=[{"url": "..", "description": "this studio"}],  # relative to openapi.json: works behind a proxy, too
        root_path_in_servers=False,
        redirect_slashes=False,
        responses={"default": {"model": Problem, "description": "A problem, explained in a sentence."}},
    )
    app.state.get_manager, app.state.any_file, app.state.links = get_manager, any_file, links
    app.add_middleware(Addresses)
    answer_problems(app)
    first = APIRouter(prefix="/v1")
    for module in (
        studio,
        settings,
        rates,
        runs,
        derived_runs,
        sweeps,
        records,
        sharing,
        models,
        artifacts,
        generation,
        publishing,
        datasets,
        uploads,
        trash,
        events,
    ):
        first.include_router(module.router)
    app.include_router(first)
    app.include_router(docs.router)
    docs.serve_assets(app)
    describe(app)
    return app

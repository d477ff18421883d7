"""The API as one FastAPI application, mounted below `/api`. Its routes say what is asked; the RunManager does it."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, FastAPI

from cognate_core.api import artifacts, datasets, files, generation, models, studio, trash
from cognate_core.api.problems import Problem, answer_problems
from cognate_core.runs import RunManager

SUMMARY = "Start, watch, keep and try out the training of small language models."
SERVED_BELOW = "/api"


def create_api(get_manager: Callable[[], RunManager]) -> FastAPI:
    """The application; `get_manager` gives whoever manages the data directory, at each request anew."""
    app = FastAPI(
        title="Cognate Studio",
        summary=SUMMARY,
        version="1",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they load scripts from the network
        redoc_url=None,
        responses={"default": {"model": Problem, "description": "A problem, told in a sentence."}},
    )
    app.state.get_manager = get_manager
    answer_problems(app)
    first = APIRouter(prefix="/v1")
    for module in (studio, models, artifacts, generation, trash, datasets, files):
        first.include_router(module.router)
    app.include_router(first)
    return app

"""Finding a learning rate: a short training with a rate that grows, and the curve of it."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cognate_core.api.requests import GetManager, GetOwner, GetUploads
from cognate_core.api.routes.settings import Settings
from cognate_core.runs import RunManager

router = APIRouter(tags=["settings"])


class RateSearchResponse(BaseModel):
    """How far a search for a learning rate is. It is a short look: length and schedule of the run matter, too."""

    rates: list[float] = Field(description="The learning rates that a step was trained with.")
    losses: list[float] = Field(description="The training loss after each, in nats a token.")
    planned: int = Field(description="How many there will be at most; 0: not known yet.")
    now: str = Field(description="What is being done.")
    notes: list[str] = Field(description="What went otherwise than asked for with the data.")
    seconds: float = Field(description="That the steps took until now.")
    ended: bool
    exploded: bool = Field(description="The loss jumped, and the search ended with that.")
    complete: bool = Field(description="It came to its end, and was not cancelled.")
    problem: str | None = Field(description="Why it came to nothing.")
    suggestion: float | None = Field(
        description="A tenth of the rate with the lowest smoothed loss; null: the search is not complete, or the loss "
        "did not clearly fall."
    )


class RateSearchState(BaseModel):
    """The last search that was begun since the studio was opened; null: none was."""

    search: RateSearchResponse | None


@router.post("/learning-rates", status_code=HTTPStatus.ACCEPTED)
def find_rate(body: Settings, manager: GetOwner, files: GetUploads) -> RateSearchState:
    """Begin to search for a learning rate with these settings: about a minute of training with a rate that grows.

    Their data are prepared first where no run has done that. One search goes on at a time.
    """
    manager.rate_finder.start(body.to_config(files))
    return _state(manager)


@router.get("/learning-rates")
def rate_search(manager: GetManager) -> RateSearchState:
    """How far the last search for a learning rate is, its curve, and what it suggests."""
    return _state(manager)


@router.delete("/learning-rates")
def cancel_rate_search(manager: GetOwner) -> RateSearchState:
    """End the search, if one is going on. What it found until now stays."""
    manager.rate_finder.cancel()
    return _state(manager)


def _state(manager: RunManager) -> RateSearchState:
    found = manager.rate_finder.state
    if found is None:
        return RateSearchState(search=None)
    values = {name: getattr(found, name) for name in RateSearchResponse.model_fields}
    return RateSearchState(search=RateSearchResponse(**values))

"""Finding a learning rate: a short training with an increasing rate, and its loss curve."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cognate_core.api.requests import GetManager, GetOwner, GetUploads
from cognate_core.api.routes.settings import Settings
from cognate_core.runs import RunManager

router = APIRouter(tags=["settings"])


class RateSearchResponse(BaseModel):
    """The state of a search for a learning rate. It is only a hint: length and schedule of the run matter, too."""

    rates: list[float] = Field(description="The learning rates tried, one a step.")
    losses: list[float] = Field(description="The training loss after each, in nats per token.")
    planned: int = Field(description="The most rates that will be tried; 0: not known yet.")
    now: str = Field(description="What the search is doing.")
    notes: list[str] = Field(description="Where the data differ from what was asked for.")
    seconds: float = Field(description="Time the steps have taken so far.")
    ended: bool
    exploded: bool = Field(description="Whether the search ended because the loss jumped.")
    complete: bool = Field(description="Whether it finished without being cancelled.")
    problem: str | None = Field(description="Why it failed.")
    suggestion: float | None = Field(
        description="A tenth of the rate with the lowest smoothed loss; null: the search is not complete, or the loss "
        "did not clearly fall."
    )


class RateSearchState(BaseModel):
    """The latest search since the studio started; null: there was none."""

    search: RateSearchResponse | None


@router.post("/learning-rates", status_code=HTTPStatus.ACCEPTED)
def find_rate(body: Settings, manager: GetOwner, files: GetUploads) -> RateSearchState:
    """Start to search for a learning rate with these settings: about a minute of training with an increasing rate.

    It prepares the data first, unless a run has done so. Only one search runs at a time.
    """
    manager.rate_finder.start(body.to_config(files))
    return _state(manager)


@router.get("/learning-rates")
def rate_search(manager: GetManager) -> RateSearchState:
    """The latest search for a learning rate: its progress, curve and suggestion."""
    return _state(manager)


@router.delete("/learning-rates")
def cancel_rate_search(manager: GetOwner) -> RateSearchState:
    """Cancel the search, if one is running. Its results so far are kept."""
    manager.rate_finder.cancel()
    return _state(manager)


def _state(manager: RunManager) -> RateSearchState:
    found = manager.rate_finder.state
    if found is None:
        return RateSearchState(search=None)
    values = {name: getattr(found, name) for name in RateSearchResponse.model_fields}
    return RateSearchState(search=RateSearchResponse(**values))

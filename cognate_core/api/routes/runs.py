"""Runs: start, list, watch and control them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from cognate_core.api.requests import MOST_TAGS, GetManager, GetUploads, Input, Items, Page, RunId, part
from cognate_core.api.routes.settings import Settings
from cognate_core.config import TrainingConfig
from cognate_core.contracts import Origin, RunStatus
from cognate_core.contracts.lifecycle import sources
from cognate_core.errors import RunError
from cognate_core.runs import MAX_MODELS, RunManager, numbered_names, valid_name
from cognate_core.storage.rows import Run

router = APIRouter(tags=["runs"])
ONE_START = threading.Lock()
"""Held while a run is started with a key, so that a second start with that key finds the first one's run."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Your own key for this start. A repeated request with it starts nothing and returns the first run.",
        min_length=1,
        max_length=200,
        pattern="^[!-~]+$",
    ),
]


class RunSummary(BaseModel):
    """A run in a list. Null: not known yet."""

    id: str
    name: str
    status: RunStatus
    phase: str
    progress: float = Field(description="From 0 to 1 over the whole run.")
    message: str = Field(description="What it is doing, or how it ended.")
    step: int | None
    total_steps: int | None
    model_names: list[str]
    created_at: str = Field(description="ISO 8601, UTC.")
    started_at: str | None
    finished_at: str | None
    worked_seconds: float | None = Field(description="Total time worked on it, over all pauses and restarts.")
    error: str | None
    parent_run_id: str | None = Field(description="The run it derives from; that run may be gone.")
    tags: list[str]
    relation: str | None = Field(description="How it derives: copy, fix, twin, branch or verification.")
    branch_step: int | None


class RunDetails(RunSummary):
    """A run with its settings."""

    config: dict[str, Any]
    config_error: str | None = Field(description="Why the stored settings cannot be read completely.")
    time_estimate: dict[str, Any] | None = Field(description="Its time estimate.")
    error_details: str | None
    loss: float | None = Field(description="Of the last measured step; null: unknown or not a number.")
    resume_step: int = Field(description="The step after which a resumed run continues; 0: from the start.")


class RunsQuery(Page):
    """Which runs."""

    status: RunStatus | None = Field(None, description="Only runs with this status.")
    tag: str | None = Field(None, max_length=100, description="Only runs with this tag.")


class NewRun(Settings):
    """A run to start."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "My first model", "preset": "first-run"}})

    name: str = Field(max_length=200, description="The run's name.")
    copy_of: str | None = Field(
        None, max_length=64, description="Instead of preset and config: the id of a run to copy the settings from."
    )
    models: int = Field(1, ge=1, le=MAX_MODELS, description="How many models, each with a different start.")
    model_names: list[Annotated[str, Field(max_length=200)]] | None = Field(
        None, min_length=1, max_length=MAX_MODELS, description="Their names. Default: the run's name, numbered."
    )


class RunDescription(Input):
    """Name and tags of a run. Fields left out stay unchanged."""

    name: str | None = Field(None, max_length=200, description="A new name. Its models keep theirs.")
    tags: list[str] | None = Field(None, max_length=MOST_TAGS)


class Move(Input):
    """Another place in the queue."""

    places: int = Field(ge=-1000, le=1000, description="Swap with the run this many places earlier (-) or later.")


@router.get("/runs")
def runs(query: Annotated[RunsQuery, Query()], manager: GetManager) -> Items[RunSummary]:
    """The runs, newest first."""
    found = manager.log.runs_page(query.limit + 1, query.place, query.status, query.tag)
    return part(found, query.limit, lambda row: summary(row[1]), lambda row: row[0])


@router.post(
    "/runs",
    status_code=HTTPStatus.CREATED,
    responses={200: {"model": RunDetails, "description": "It was started with this key before."}},
)
def start(
    body: NewRun,
    manager: GetManager,
    files: GetUploads,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> RunDetails:
    """Queue a run; it starts when there is room. Its settings come from `preset`, `config` or `copy_of`, changed by
    `settings`."""
    source = None if body.copy_of is None else manager.log.run(body.copy_of)
    config = body.to_config(files, source.config if source else None)
    origin = Origin(source.id, "fix" if body.settings else "copy") if source else None
    names = body.model_names or numbered_names(body.name, body.models)
    return start_once(
        manager,
        response,
        own_key(idempotency_key),
        lambda key: manager.start(config, body.name, names, key, origin),
        lambda run: portable(run.config) == config and run.model_names == [name.strip() for name in names],
    )


@router.get("/runs/{run_id}")
def run(run_id: RunId, manager: GetManager) -> RunDetails:
    """One run, with its settings."""
    return details(manager, run_id)


@router.patch("/runs/{run_id}")
def describe(run_id: RunId, body: RunDescription, manager: GetManager) -> RunDetails:
    """Rename a run, or change its tags."""
    if body.name is not None:
        valid_name(body.name)  # else the tags would be changed before it is refused
    if body.tags is not None:
        gone = set(manager.log.run(run_id).tags) - {tag.strip() for tag in body.tags}
        manager.tag_runs([run_id], add=body.tags, remove=gone)
    if body.name is not None:
        manager.rename_run(run_id, body.name)
    return details(manager, run_id)


@router.delete("/runs/{run_id}", status_code=HTTPStatus.NO_CONTENT)
def delete(run_id: RunId, manager: GetManager) -> None:
    """Move a run, its models and its files to the trash. It must not be queued or active."""
    manager.delete_run(run_id)


@router.post("/runs/{run_id}/pause")
def pause(run_id: RunId, manager: GetManager) -> RunDetails:
    """Write a checkpoint and pause the run."""
    return _commanded(manager, run_id, RunStatus.PAUSING, manager.pause)


@router.post("/runs/{run_id}/stop")
def stop(run_id: RunId, manager: GetManager) -> RunDetails:
    """Save the model as it is and end the run."""
    return _commanded(manager, run_id, RunStatus.STOPPING, manager.stop)


@router.post("/runs/{run_id}/cancel")
def cancel(run_id: RunId, manager: GetManager) -> RunDetails:
    """End the run without saving the model that is being trained."""
    return _commanded(manager, run_id, RunStatus.CANCELLING, manager.cancel)


@router.post("/runs/{run_id}/resume")
def resume(run_id: RunId, manager: GetManager) -> RunDetails:
    """Queue a paused, stopped, interrupted, failed or crashed run again. It continues from its last checkpoint."""
    manager.resume(run_id)
    return details(manager, run_id)


@router.post("/runs/{run_id}/move")
def move(run_id: RunId, body: Move, manager: GetManager) -> RunDetails:
    """Move a waiting run in the queue."""
    status = manager.log.run(run_id).status
    if status is not RunStatus.QUEUED:
        raise RunError(f"A run that is {status} has no place in the queue.")
    manager.move_in_queue(run_id, body.places)
    return details(manager, run_id)


def start_once(
    manager: RunManager,
    response: Response,
    key: str | None,
    begin: Callable[[str | None], str],
    is_same: Callable[[Run], bool],
) -> RunDetails:
    """Start a run, or find the one that was started with this key.

    Args:
        key: as the database keeps it.
        begin: starts the run and returns its id.
        is_same: whether an earlier run matches this request.

    Raises:
        RunError: the key was used for another run.
    """
    if key is None:
        return details(manager, begin(None))
    with ONE_START:
        known = manager.log.run_started_with(key)
        run_id = known or begin(key)
    if known:
        tell_known(response, is_same=is_same(manager.log.run(known)))
    return details(manager, run_id)


def own_key(idempotency_key: str | None) -> str | None:
    """The key as the database keeps it; the prefix separates it from the studio's own keys."""
    return None if idempotency_key is None else f"api:{idempotency_key}"


def tell_known(response: Response, *, is_same: bool) -> None:
    """Answer 200: this key has already started the run. Raises RunError if it was a different run."""
    if not is_same:
        raise RunError("This Idempotency-Key was used to start another run. Send a new key.")
    response.status_code = HTTPStatus.OK


def details(manager: RunManager, run_id: str) -> RunDetails:
    """A run as the API shows it."""
    run = manager.log.run(run_id)
    values = {name: getattr(run, name) for name in RunDetails.model_fields if hasattr(run, name)}
    values["config"] = run.config.model_dump(mode="json")
    values["loss"] = next((row["loss"] for row in manager.log.last_metrics(run.id, 1)), None)
    return RunDetails(**values, resume_step=manager.resume_step(run.id))


def summary(run: Run) -> RunSummary:
    """A run as a list shows it."""
    return RunSummary(**{name: getattr(run, name) for name in RunSummary.model_fields})


def portable(config: TrainingConfig) -> TrainingConfig:
    """`config` without the folder that the studio chose for it."""
    return config.model_copy(update={"output_dir": TrainingConfig().output_dir})


def _commanded(manager: RunManager, run_id: str, command: RunStatus, tell: Callable[[str], bool]) -> RunDetails:
    """Send a command to a run. Raises RunError if the run has ended or a stronger command was sent."""
    status = manager.log.run(run_id).status
    can = status is RunStatus.QUEUED or status is command or status in sources(command)
    if not can or not tell(run_id):
        raise RunError(f"This is not possible with a run that is {manager.log.run(run_id).status}.")
    return details(manager, run_id)

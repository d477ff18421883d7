"""Sweeps: runs that differ in a few settings, started and compared as a group."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field

from cognate_core.api.requests import GetManager, GetUploads
from cognate_core.api.routes.figures import Figure
from cognate_core.api.routes.runs import ONE_START, IdempotencyKey, portable, tell_known
from cognate_core.api.routes.settings import Settings
from cognate_core.config.sweep import MAX_RUNS, Sweep
from cognate_core.contracts import RunStatus
from cognate_core.runs import RunManager

router = APIRouter(prefix="/sweeps", tags=["sweeps"])

SweepId = Annotated[str, InPath(description="The sweep's id.", max_length=64)]
Values = list[Any] | Annotated[str, Field(max_length=1000)]


class NewSweep(Settings):
    """Settings to vary: each combination of the grid, with each draw from the ranges."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "Which rate?", "preset": "first-run", "grid": {"learning_rate": [1e-3, 3e-4]}}
        }
    )

    name: str = Field(max_length=200, description="The sweep's name.")
    grid: dict[str, Values] = Field({}, max_length=20, description="The values of each setting.")
    ranges: dict[str, Values] = Field(
        {}, max_length=20, description='The range of each setting to draw from: "1e-4 to 1e-2", or values.'
    )
    draws: int = Field(0, ge=0, le=MAX_RUNS, description="How many draws to take from the ranges.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="The seed of the draws.")
    leave_out: bool = Field(
        False, description="Whether to leave out combinations that contradict each other. Default: they are refused."
    )


class SweepSummary(BaseModel):
    """A sweep in the list."""

    id: str
    name: str
    run_ids: list[str] = Field(description="Its remaining runs, in the order of the queue.")


class SweptRun(BaseModel):
    """A run of a sweep and its results. Null: not measured."""

    id: str
    name: str
    status: RunStatus
    values: dict[str, Any] = Field(description="The settings that were varied.")
    heldout_loss: Figure = Field(description="The lowest mean held-out loss, in nats per token.")
    heldout_bits_per_byte: Figure = Field(description="Bits per byte at that check.")
    seconds: Figure = Field(description="The time it was worked on.")


class SweepResponse(SweepSummary):
    """A sweep and the results of its runs, the best first."""

    runs: list[SweptRun]
    sentence: str = Field(description="What the results show, and what they do not.")


class Cancelled(BaseModel):
    """How many runs were removed from the queue or cancelled."""

    runs: int


@router.get("")
def sweeps(manager: GetManager) -> list[SweepSummary]:
    """The sweeps, newest first."""
    return [SweepSummary(id=group.id, name=group.name, run_ids=group.run_ids) for group in manager.log.groups()]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={200: {"model": SweepResponse, "description": "It was started with this key before."}},
)
def start(
    body: NewSweep,
    manager: GetManager,
    files: GetUploads,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> SweepResponse:
    """Queue a run for each combination: all or none. A repeated key queues nothing more."""
    config = body.to_config(files)
    swept = Sweep(config, body.grid, body.ranges, body.draws, body.seed, leave_out=body.leave_out)
    if idempotency_key is None:
        return _given(manager, manager.start_sweep(swept, body.name)[0])
    with ONE_START:
        known = {group.id for group in manager.log.groups()}
        group_id, _ = manager.start_sweep(swept, body.name, f"api-{idempotency_key}")
    if group_id in known:  # some of its runs may have been deleted
        wanted = [each for _, each in swept.configs()]
        is_same = all(portable(run.config) in wanted for run in manager.log.runs_of_group(group_id))
        tell_known(response, is_same=is_same)
    return _given(manager, group_id)


@router.get("/{sweep_id}")
def sweep(sweep_id: SweepId, manager: GetManager) -> SweepResponse:
    """One sweep, and the results of its runs."""
    return _given(manager, sweep_id)


@router.post("/{sweep_id}/cancel")
def cancel(sweep_id: SweepId, manager: GetManager) -> Cancelled:
    """Cancel its waiting and active runs. Ended runs are kept."""
    return Cancelled(runs=manager.cancel_group(sweep_id))


def _given(manager: RunManager, sweep_id: str) -> SweepResponse:
    from cognate_core.insight.sweep_results import sweep_results

    runs = manager.log.runs_of_group(sweep_id)
    results = sweep_results(runs, manager.log.heldout_checks(run.id for run in runs))
    return SweepResponse(
        id=sweep_id,
        name=runs[0].group_name or "",
        run_ids=[run.id for run in runs],
        runs=[
            SweptRun(
                id=row.run_id,
                name=row.name,
                status=row.status,
                values=row.values,
                heldout_loss=row.best_loss,
                heldout_bits_per_byte=row.bits_per_byte,
                seconds=row.seconds,
            )
            for row in results.rows
        ],
        sentence=results.sentence,
    )

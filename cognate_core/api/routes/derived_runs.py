"""Derived runs and comparisons: twin, repetition, branch, comparison."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from cognate_core.api.requests import GetManager, Input, RunId
from cognate_core.api.routes.runs import IdempotencyKey, RunDetails, own_key, start_once
from cognate_core.errors import NotFound
from cognate_core.runs import RunManager, twin_key
from cognate_core.storage.rows import Run

router = APIRouter(tags=["runs beside runs"])

ALREADY: dict[int | str, dict[str, Any]] = {200: {"model": RunDetails, "description": "It was started before."}}


class Branch(Input):
    """A new run from a checkpoint of another."""

    model_name: str = Field(max_length=200, description="Which of the run's models.")
    step: int = Field(ge=0, le=10_000_000, description="The checkpoint's step; see /v1/runs/{run_id}/checkpoints.")
    settings: dict[str, Any] = Field({}, max_length=200, description="The settings to change.")
    name: str = Field(max_length=200)


class ComparedModel(BaseModel):
    """One model compared with its repetition. Null: unknown."""

    name: str
    steps: int = Field(description="How many steps were compared.")
    largest_difference: float | None = Field(
        description="Largest difference of the loss at any step; also null if a loss is not a number."
    )
    first_differing_step: int | None
    identical_losses: bool
    largest_heldout_difference: float | None
    same_length: bool
    same_weights: bool | None


class VerificationResult(BaseModel):
    """The result of repeating a run."""

    verdict: Literal["identical", "same within rounding", "different", "cannot be compared"]
    reason: str
    same_data: bool | None
    other_settings: list[str] = Field(description="Settings that differ.")
    models: list[ComparedModel]


class VerificationQuery(Input):
    """Which run is the repetition."""

    with_: str | None = Field(
        None, alias="with", max_length=64, description="The repetition. Default: this run, compared with its parent."
    )


class ComparedRun(BaseModel):
    """The results of a run. Null: unknown or not measured."""

    id: str
    name: str
    status: str
    lowest_heldout_loss: float | None
    at_step: int | None
    bits_per_byte: float | None = Field(description="On held-out text, at that step.")
    last_loss: float | None
    step: int | None
    training_seconds: float | None
    grokked_at_step: int | None
    parameters: int | None
    content_hash: str | None = Field(description="Hash of its data; losses on different data are hard to compare.")


class Comparison(BaseModel):
    """A comparison of runs."""

    differing_settings: dict[str, list[Any]] = Field(description="The value in each run, in their order.")
    runs: list[ComparedRun]


class ComparisonQuery(Input):
    """Which runs."""

    runs: str = Field(max_length=1000, description="Their ids, separated by commas.", examples=["a1b2,c3d4"])


@router.post("/runs/{run_id}/twin", status_code=HTTPStatus.CREATED, responses=ALREADY)
def twin(run_id: RunId, manager: GetManager, response: Response) -> RunDetails:
    """Start the same run with GrokFast switched the other way. A run has at most one twin."""
    return start_once(manager, response, twin_key(run_id), lambda _: manager.start_twin(run_id), lambda _: True)


@router.post("/runs/{run_id}/verification", status_code=HTTPStatus.CREATED, responses=ALREADY)
def verify(
    run_id: RunId, manager: GetManager, response: Response, idempotency_key: IdempotencyKey = None
) -> RunDetails:
    """Start the same run again, to check whether the result is the same."""
    return start_once(
        manager,
        response,
        own_key(idempotency_key),
        lambda key: manager.start_verification(run_id, key),
        lambda run: (run.parent_run_id, run.relation) == (run_id, "verification"),
    )


@router.post("/runs/{run_id}/branch", status_code=HTTPStatus.CREATED, responses=ALREADY)
def branch(
    run_id: RunId, body: Branch, manager: GetManager, response: Response, idempotency_key: IdempotencyKey = None
) -> RunDetails:
    """Start a run of one model that continues from a checkpoint with changed settings."""

    def is_same(run: Run) -> bool:
        made_of = (run.parent_run_id, run.relation, run.branch_step) == (run_id, "branch", body.step)
        return made_of and run.config.with_overrides(body.settings) == run.config

    return start_once(
        manager,
        response,
        own_key(idempotency_key),
        lambda key: manager.start_branch(run_id, body.model_name, body.step, body.settings, body.name, key),
        is_same,
    )


@router.get("/runs/{run_id}/verification")
def verification(
    run_id: RunId, query: Annotated[VerificationQuery, Query()], manager: GetManager
) -> VerificationResult:
    """Whether a repetition gave the same result: losses step by step, held-out losses and weights."""
    from cognate_core.sharing.verification import compare_runs

    run = manager.log.run(run_id)
    if query.with_ is not None:
        pair = (run.id, query.with_)
    elif run.relation == "verification" and run.parent_run_id is not None:
        pair = (run.parent_run_id, run.id)
    else:
        raise NotFound("This run repeats no other. Name the run to compare it with: ?with=ID.")
    return VerificationResult.model_validate(compare_runs(manager.log, manager.store, *pair), from_attributes=True)


@router.get("/comparison")
def comparison(query: Annotated[ComparisonQuery, Query()], manager: GetManager) -> Comparison:
    """Where the settings of runs differ, and the results of each."""
    from cognate_core.insight.comparison import config_difference

    ids = list(dict.fromkeys(filter(None, query.runs.split(","))))
    runs = [manager.log.run(run_id) for run_id in ids]
    return Comparison(
        differing_settings=config_difference([run.config for run in runs]) if runs else {},
        runs=[_compared(manager, run) for run in runs],
    )


def _compared(manager: RunManager, run: Run) -> ComparedRun:
    from cognate_core.insight.grokking import grokked_at

    log = manager.log
    best = log.best_check(run.id)
    last = log.last_metrics(run.id, 1)
    checks = log.evaluations(run.id, model_name=run.model_names[0]) if run.config.task == "arithmetic" else []
    return ComparedRun(
        id=run.id,
        name=run.name,
        status=run.status,
        lowest_heldout_loss=best.means.loss if best else None,
        at_step=best.step if best else None,
        bits_per_byte=best.means.bits_per_byte if best else None,
        last_loss=last[0]["loss"] if last else None,
        step=run.step,
        training_seconds=log.training_seconds(run),
        grokked_at_step=grokked_at(checks),
        parameters=next((model.parameter_count for model in log.models(run.id)), None),
        content_hash=run.data_report["content_hash"] if run.data_report else None,
    )

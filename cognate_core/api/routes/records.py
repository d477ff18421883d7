"""What was recorded of a run: its steps, measurements, samples, events, checkpoints and data."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, create_model

from cognate_core.api.requests import GetManager, Input, Items, Page, RunId, part
from cognate_core.contracts.metrics import METRICS, StepMetrics
from cognate_core.errors import NotFound
from cognate_core.runs import RunManager
from cognate_core.storage.curves import read_curves, read_line
from cognate_core.storage.rows import Row, Run

router = APIRouter(tags=["what was recorded"])
M = TypeVar("M", bound=BaseModel)


_Figures = create_model(  # type: ignore[call-overload]  # fields by name
    "_Figures",
    step=(int, ...),
    **{
        each.name: (int | None if each.type == "int" else float | None, Field(description=METRICS[each.name].help))
        for each in fields(StepMetrics)
        if each.name in METRICS
    },
)


class Step(_Figures):  # type: ignore[misc, valid-type]
    """One training step. Null: the model does not have this figure, or it was not a number."""


class Steps(Items[Step]):
    """Steps of one model, in order."""

    model_name: str


class StepsQuery(Page):
    """Which steps."""

    model: str | None = Field(None, max_length=200, description="Which of the run's models. Default: the first.")
    after_step: int = Field(-1, ge=-1, le=10**12, description="Only steps after this one.")
    points: int | None = Field(
        None,
        ge=10,
        le=5000,
        description="At most this many of all steps that follow, chosen to keep peaks and dips of the loss "
        "(MinMaxLTTB). The answer then has no further parts.",
    )


class HeldOutCheck(BaseModel):
    """What was measured on the held-out text of one dataset."""

    id: int
    model_name: str
    step: int
    dataset: str
    loss: float | None = Field(description="Mean, in nats per token.")
    bits_per_byte: float | None = Field(description="Null if the task has no text or its bytes were not counted.")
    tokens: int | None = Field(description="How many tokens the loss counts.")
    bytes: int | None = Field(description="Bytes of their text in UTF-8.")
    accuracy: float | None = Field(description="Share of right answers, if the task has answers.")
    weight: float | None = Field(
        description="The dataset's weight in a mean over datasets: its share of the tokens that are learned from. "
        "Null: all count alike."
    )


class TextSample(BaseModel):
    """What the model wrote after a held-out prompt, and what the dataset says there."""

    id: int
    model_name: str
    step: int
    dataset: str
    prompt: str
    text: str
    expected: str


class LoggedEvent(BaseModel):
    """A logged event of the run: a fallback, a checkpoint, a warning."""

    id: int
    model_name: str | None
    step: int | None
    level: str
    message: str
    created_at: str


class ModelCheckpoints(BaseModel):
    """The steps at which a model has a checkpoint."""

    model_name: str
    steps: list[int]


class Noticed(BaseModel):
    """A finding in a model's curves, and what to do."""

    kind: str
    first_step: int
    last_step: int
    title: str
    cause: str
    advice: str
    overrides: dict[str, Any] = Field(description="Settings for a new run (`copy_of` this one) that follow the advice.")


class ModelQuery(Input):
    """Which of the run's models."""

    model: str | None = Field(None, max_length=200, description="Which of the run's models. Default: the first.")


@router.get("/runs/{run_id}/metrics")
def metrics(run_id: RunId, query: Annotated[StepsQuery, Query()], manager: GetManager) -> Steps:
    """Steps of one model: all of them in parts, or with `points` a selection that keeps the curve's shape."""
    log, name = manager.log, model_name(manager.log.run(run_id), query.model)
    after = max(query.after_step, -1 if query.place is None else query.place)
    if query.points is None:
        rows = log.metrics_after(run_id, name, after, query.limit + 1)
        found = part(rows, query.limit, _step, lambda row: int(row["step"]))
        return Steps(model_name=name, items=found.items, next=found.next)
    from cognate_core.insight.drawing import downsample

    steps, losses = read_line(log.path, run_id, name, "loss", after, query.points)
    chosen, _ = downsample(steps, losses, query.points)
    rows = log.metrics_at(run_id, name, (int(step) for step in chosen))
    return Steps(model_name=name, items=[_step(row) for row in rows], next=None)


@router.get("/runs/{run_id}/evaluations")
def evaluations(run_id: RunId, query: Annotated[Page, Query()], manager: GetManager) -> Items[HeldOutCheck]:
    """Held-out evaluations, oldest first."""
    return _records(manager, "evaluations", run_id, query, HeldOutCheck)


@router.get("/runs/{run_id}/samples")
def samples(run_id: RunId, query: Annotated[Page, Query()], manager: GetManager) -> Items[TextSample]:
    """Text samples, oldest first."""
    return _records(manager, "samples", run_id, query, TextSample)


@router.get("/runs/{run_id}/events")
def events(run_id: RunId, query: Annotated[Page, Query()], manager: GetManager) -> Items[LoggedEvent]:
    """Logged events of the run, oldest first. The WebSocket at the same address sends new ones."""
    return _records(manager, "events", run_id, query, LoggedEvent)


@router.get("/runs/{run_id}/findings")
def findings(run_id: RunId, query: Annotated[ModelQuery, Query()], manager: GetManager) -> list[Noticed]:
    """Findings in the curves of one model: plateaus, spikes, overfitting, divergence, dead layers, and what to do."""
    from cognate_core.insight.run_charts import run_findings

    log, run = manager.log, manager.log.run(run_id)
    name = model_name(run, query.model)
    checks, layers = log.evaluations(run_id, model_name=name), log.layer_figures(run_id, model_name=name)
    found = run_findings(run, read_curves(log.path, run_id, name), checks, layers)
    return [Noticed.model_validate(each, from_attributes=True) for each in found]


@router.get("/runs/{run_id}/checkpoints")
def checkpoints(run_id: RunId, manager: GetManager) -> list[ModelCheckpoints]:
    """The kept checkpoints of each model."""
    run = manager.log.run(run_id)
    return [ModelCheckpoints(model_name=name, steps=manager.checkpoint_steps(run.id, name)) for name in run.model_names]


@router.get("/runs/{run_id}/data-report")
def data_report(run_id: RunId, manager: GetManager) -> dict[str, Any]:
    """The run's data: rows by source, what was skipped and why, and their hash."""
    report = manager.log.run(run_id).data_report
    if report is None:
        raise NotFound("This run has prepared no data yet.")
    return report


def _records(
    manager: RunManager,
    table: Literal["evaluations", "samples", "events"],
    run_id: str,
    query: Page,
    shape: type[M],
) -> Items[M]:
    rows = manager.log.records_after(table, manager.log.run(run_id).id, query.place or 0, query.limit + 1)

    def shown(row: Row) -> M:
        return shape(**{name: row[name] for name in shape.model_fields})

    return part(rows, query.limit, shown, lambda row: int(row["id"]))


def _step(row: Row) -> Step:
    return Step(**{name: row[name] for name in Step.model_fields})


def model_name(run: Run, name: str | None) -> str:
    """The requested model of the run; the first by default. Raises NotFound if the run has no such model."""
    if name is None:
        return run.model_names[0]
    if name not in run.model_names:
        raise NotFound("This run has no such model.")
    return name

"""Finished models: their facts, names and notes, and how often they are right."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cognate_core.api.requests import MOST_TAGS, GetManager, Input, Items, ModelId, Page, part
from cognate_core.api.routes.figures import Figure
from cognate_core.contracts.answers import Accuracy
from cognate_core.runs import RunManager
from cognate_core.runs.accuracy import read_accuracy
from cognate_core.storage.rows import TrainedModel

router = APIRouter(prefix="/models", tags=["models"])


class Model(BaseModel):
    """A finished model. What was not measured is null."""

    id: str
    run_id: str
    run_name: str
    name: str = Field(description="Its current name.")
    trained_as: str = Field(description="Its name in its run and in all records.")
    status: str = Field(description='"completed", or "stopped" before all planned steps.')
    created_at: str
    note: str
    tags: list[str]
    capabilities: list[str] = Field(description='"text generation" or "modular arithmetic".')
    parameter_count: int
    datasets_used: list[str]
    act_enabled: bool = Field(description="Whether it ponders.")
    ltm_enabled: bool = Field(description="Whether it has a memory.")
    grokfast_enabled: bool
    steps: int | None
    planned_steps: int | None
    tokens: int | None = Field(description="Tokens (or problems) that it learned from, repetitions counted.")
    seconds: Figure = Field(description="Training time.")
    heldout_loss: dict[str, Figure] = Field(description="Nats per token on held-out text, by dataset.")
    heldout_bits_per_byte: dict[str, Figure] = Field(description="On held-out text, by dataset.")
    folder: str | None = Field(description="The folder of its files on the studio's computer.")


class ModelDetails(Model):
    """A model with its training statistics and kept checkpoints."""

    training_stats: dict[str, Any] = Field(description="As training wrote them: seed, threads, precision and more.")

    checkpoint_steps: list[int] = Field(description="Earlier steps that generate and calculate can use.")


class ModelsQuery(Page):
    """Which models."""

    run: str | None = Field(None, max_length=64, description="Only those of this run.")
    tag: str | None = Field(None, max_length=100, description="Only those with this tag.")


class Description(Input):
    """Name, note and tags of a model. Fields left out stay unchanged."""

    title: str | None = Field(None, max_length=1000, description="A new name. Its run and files keep theirs.")
    note: str | None = None
    tags: list[str] | None = Field(None, max_length=MOST_TAGS)


class AccuracyRequest(Input):
    """How much to measure."""

    questions: int = Field(50, ge=1, le=1000, description="At most this many from each dataset.")
    checkpoints: bool = Field(False, description="Whether to measure its kept checkpoints, too.")


class Progress(BaseModel):
    """The progress of a measurement. `total` is 0 until it is known."""

    done: int
    total: int
    now: str
    ended: bool
    problem: str | None


class ScoreResponse(BaseModel):
    """Right answers on one dataset, compared with always giving the commonest training answer."""

    dataset: str
    asked: int
    right: int
    share: float
    interval: tuple[float, float] = Field(description="95 % confidence interval of the share (Wilson).")
    commonest: str
    commonest_right: int


class StepResponse(BaseModel):
    """The scores of the model as it was after a step."""

    step: int
    scores: list[ScoreResponse]


class AccuracyResponse(BaseModel):
    """The last measurement. The finished model is the last of the steps."""

    measured_at: str
    limit: int
    seed: int
    temperature: float
    seconds: float
    steps: list[StepResponse]
    left_out: dict[str, str] = Field(description="What was not measured, and why.")


class AccuracyState(BaseModel):
    """Both are null until something was measured."""

    progress: Progress | None = Field(description="Progress of this model's latest measurement.")
    result: AccuracyResponse | None


@router.get("")
def models(query: Annotated[ModelsQuery, Query()], manager: GetManager) -> Items[Model]:
    """Finished models, the newest first."""
    found = manager.log.models_page(query.limit + 1, query.place, run_id=query.run, tag=query.tag)
    return part(found, query.limit, lambda row: Model(**_values(row[1])), lambda row: row[0])


@router.get("/{model_id}")
def model(model_id: ModelId, manager: GetManager) -> ModelDetails:
    """One model."""
    return _details(manager, model_id)


@router.patch("/{model_id}")
def describe(model_id: ModelId, body: Description, manager: GetManager) -> ModelDetails:
    """Rename a model, or change its note and tags."""
    known = manager.log.model(model_id)
    manager.describe_model(
        model_id,
        title=known.name if body.title is None else body.title,
        note=known.note if body.note is None else body.note,
        tags=known.tags if body.tags is None else body.tags,
    )
    return _details(manager, model_id)


@router.delete("/{model_id}", status_code=HTTPStatus.NO_CONTENT)
def delete(model_id: ModelId, manager: GetManager) -> None:
    """Move a model and its files to the trash."""
    manager.delete_model(model_id)


@router.get("/{model_id}/accuracy")
def accuracy(model_id: ModelId, manager: GetManager) -> AccuracyState:
    """How often the model is right on held-out questions, and the progress of a measurement."""
    return _accuracy(manager, model_id)


@router.post("/{model_id}/accuracy", status_code=HTTPStatus.ACCEPTED)
def measure_accuracy(model_id: ModelId, body: AccuracyRequest, manager: GetManager) -> AccuracyState:
    """Start to ask the model held-out questions. Only one measurement runs at a time."""
    manager.measure_accuracy(model_id, body.questions, checkpoints=body.checkpoints)
    return _accuracy(manager, model_id)


@router.delete("/{model_id}/accuracy")
def cancel_accuracy(model_id: ModelId, manager: GetManager) -> AccuracyState:
    """Cancel this model's measurement, if one is running. Earlier results are kept."""
    measurement = manager.measurement()
    if measurement is not None and measurement.model_id == manager.log.model(model_id).id:
        manager.cancel_measurement()
    return _accuracy(manager, model_id)


def _details(manager: RunManager, model_id: str) -> ModelDetails:
    known = manager.log.model(model_id)
    stats = known.details["training_stats"]
    return ModelDetails(**_values(known), training_stats=stats, checkpoint_steps=manager.kept_steps(model_id))


def _values(model: TrainedModel) -> dict[str, Any]:
    """The fields of a Model."""
    stats = model.details["training_stats"]
    own = {name: getattr(model, name) for name in Model.model_fields if hasattr(model, name)}
    trained = {name: model.details[name] for name in Model.model_fields if name in model.details}
    counts = {name: stats.get(name) for name in ("steps", "planned_steps", "tokens", "seconds")}
    weights = model.details["artifacts"].get("weights")
    folder = str(Path(weights).parent) if weights else None
    heldout = {name: stats.get(name) or {} for name in ("heldout_loss", "heldout_bits_per_byte")}
    return {**trained, **own, **counts, **heldout, "folder": folder}


def _accuracy(manager: RunManager, model_id: str) -> AccuracyState:
    found = read_accuracy(*manager.weights(model_id))
    measurement = manager.measurement()
    of_this = measurement is not None and measurement.model_id == model_id
    return AccuracyState(
        progress=Progress(**asdict(measurement)) if measurement is not None and of_this else None,
        result=None if found is None else _given(found),
    )


def _given(found: Accuracy) -> AccuracyResponse:
    return AccuracyResponse(
        **{name: getattr(found, name) for name in AccuracyResponse.model_fields if name != "steps"},
        steps=[
            StepResponse(
                step=each.step,
                scores=[
                    ScoreResponse(**{name: getattr(score, name) for name in ScoreResponse.model_fields})
                    for score in each.scores
                ],
            )
            for each in found.steps
        ],
    )

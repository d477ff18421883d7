"""The studio itself: its health, who manages it, presets, and all settings."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as InPath
from pydantic import BaseModel, Field

from cognate_core.api.requests import GetManager
from cognate_core.api.security.login import Links
from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.errors import NotFound, RunError
from cognate_core.service import COORDINATION_KEY

router = APIRouter(tags=["studio"])


class Health(BaseModel):
    """The studio's health; needs no token. `read_only`: whether another process manages its data folder."""

    status: str
    version: str
    read_only: bool
    log_delayed_seconds: float


class Link(BaseModel):
    """A login link."""

    path: str = Field(description="Append it to the studio's address. It works once, until the studio ends.")


class PresetSummary(BaseModel):
    """Named settings, and the results of a run with them."""

    name: str
    title: str
    summary: str
    expectation: str


class PresetDetails(PresetSummary):
    """A preset with its settings."""

    config: dict[str, Any]


@router.get("/health")
def health(manager: GetManager) -> Health:
    """The studio's health."""
    return Health(
        status="ok",
        version=version("cognate-studio"),
        read_only=manager.read_only is not None,
        log_delayed_seconds=manager.log.delayed_seconds,
    )


@router.post("/links", status_code=HTTPStatus.CREATED)
def link(request: Request) -> Link:
    """Make a login link. It works once."""
    links: Links | None = request.app.state.links
    if links is None:
        raise RunError("No studio is open here. `cognate run` starts one.")
    return Link(path=links.new())


@router.get("/coordination")
def coordination(manager: GetManager) -> dict[str, Any]:
    """The service's coordination record: who manages the data directory, since when, and what is running."""
    return manager.log.coordination(COORDINATION_KEY) or {}


@router.get("/presets")
def presets() -> list[PresetSummary]:
    """The ready-made settings."""
    return [PresetSummary(**_summary(name)) for name in PRESETS]


@router.get("/presets/{name}")
def preset(name: Annotated[str, InPath(max_length=80)]) -> PresetDetails:
    """One preset, with its settings."""
    if name not in PRESETS:
        raise NotFound(f"There is no preset {name!r}. Choose one of {', '.join(PRESETS)}.")
    return PresetDetails(**_summary(name), config=PRESETS[name].config.model_dump(mode="json"))


@router.get("/config/schema")
def config_schema() -> dict[str, Any]:
    """JSON schema of a run's settings, with their bounds and meanings."""
    return TrainingConfig.model_json_schema()


def _summary(name: str) -> dict[str, Any]:
    preset = PRESETS[name]
    return {key: getattr(preset, key) for key in PresetSummary.model_fields}

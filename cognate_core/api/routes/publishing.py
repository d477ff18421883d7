"""Sending a model to the Hugging Face hub."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cognate_core.api.requests import GetManager, Input, ModelId
from cognate_core.sharing.publishing import publish_model

router = APIRouter(prefix="/models", tags=["models"])


class Publication(Input):
    """Where a model goes."""

    repo_id: str = Field(max_length=200, description='"owner/name", or "name" for a repository of the token\'s owner.')
    private: bool = Field(True, description="Whether only the owner can see it.")
    license: Literal["apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0"] | None = Field(
        None, description="The license named in the model's description; null: none is named."
    )


class Published(BaseModel):
    """Where the model is now."""

    address: str


@router.post("/{model_id}/publish")
def publish(model_id: ModelId, body: Publication, manager: GetManager) -> Published:
    """Upload a model's files to the hub with the HF_TOKEN of the studio's computer."""
    address = publish_model(
        manager.log, manager.store, model_id, body.repo_id, private=body.private, license_name=body.license
    )
    return Published(address=address)

"""`/v1/models`: what is served."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from hfc.serve.errors import documented
from hfc.serve.models import ModelEntry, Models, models_of

ROUTE = APIRouter(tags=["models"])


class ModelCard(BaseModel):
    """OpenAI's object, and what hfc knows beyond it. context_length and slots: of a model that is loaded."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    state: Literal["loaded", "loading", "unloaded", "failed"]
    context_length: int | None
    slots: int | None
    error: str | None
    aliases: list[str]


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelCard]


def describe(models: Models, entry: ModelEntry) -> dict:
    limits = entry.served.engine.limits if entry.served else None
    return {
        "id": entry.name, "object": "model", "created": entry.created, "owned_by": "hfc", "state": entry.state,
        "context_length": limits and limits.context, "slots": limits and limits.slots, "error": entry.error,
        "aliases": models.names(entry),
    }  # fmt: skip


@ROUTE.get("/v1/models", response_model=ModelList, responses={s: documented()[s] for s in (401, 403)})
async def list_models(request: Request):
    return {"object": "list", "data": [describe(models_of(request), entry) for entry in models_of(request).entries]}


@ROUTE.get(
    "/v1/models/{model:path}", response_model=ModelCard, responses={s: documented()[s] for s in (400, 401, 403, 404)}
)
async def one_model(request: Request, model: str):
    """The id may hold slashes."""
    models = models_of(request)
    return describe(models, models.entry(model))

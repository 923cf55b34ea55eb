"""`/v1/models`: what is served, in OpenAI's form, and in Anthropic's where a client names a version of that API."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import dropwhile
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel

from hfc.serve.errors import ANTHROPIC_VERSION, documented
from hfc.serve.models import ModelEntry, Models, models_of

ROUTE = APIRouter(tags=["models"])
USUAL_PAGE = 20  # Anthropic's
Version = Annotated[str | None, Header(alias=ANTHROPIC_VERSION)]


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


class ModelInfo(BaseModel):
    """Anthropic's object. max_input_tokens, max_tokens: of a model that is loaded."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: datetime
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    max_tokens: int | None


class ModelPage(BaseModel):
    """Anthropic's list."""

    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None


def describe(models: Models, entry: ModelEntry) -> dict:
    limits = entry.served.engine.limits if entry.served else None
    return {
        "id": entry.name, "object": "model", "created": entry.created, "owned_by": "hfc", "state": entry.state,
        "context_length": limits and limits.context, "slots": limits and limits.slots, "error": entry.error,
        "aliases": models.names(entry),
    }  # fmt: skip


def as_anthropic(entry: ModelEntry) -> dict[str, Any]:
    context = entry.served.engine.limits.context if entry.served else None
    return {
        "type": "model", "id": entry.name, "display_name": entry.name, "lifecycle": "active", "max_input_tokens": context,
        "max_tokens": context, "created_at": datetime.fromtimestamp(entry.created, timezone.utc),
    }  # fmt: skip


def page_of(entries: list[ModelEntry], limit: int, after: str | None, before: str | None) -> dict[str, Any]:
    """The first that follow one, or the last before one."""
    if before is not None:
        reverse = page_of(entries[::-1], limit, before, None)
        return {**reverse, "data": (data := reverse["data"][::-1]), **_ends(data)}
    if after is not None:
        entries = list(dropwhile(lambda entry: entry.name != after, entries))[1:]
    data = [as_anthropic(entry) for entry in entries[:limit]]
    return {"data": data, "has_more": len(entries) > limit, **_ends(data)}


def _ends(data: list[dict[str, Any]]) -> dict[str, str | None]:
    return {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}


@ROUTE.get("/v1/models", response_model=ModelList | ModelPage, responses={s: documented()[s] for s in (400, 401, 403)})
async def list_models(
    request: Request,
    version: Version = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = USUAL_PAGE,
    after_id: str | None = None,
    before_id: str | None = None,
):
    """limit, after_id, before_id: of Anthropic's form."""
    models = models_of(request)
    if version is not None:
        return page_of(models.entries, limit, after_id, before_id)
    return {"object": "list", "data": [describe(models, entry) for entry in models.entries]}


@ROUTE.get(
    "/v1/models/{model:path}",
    response_model=ModelCard | ModelInfo,
    responses={s: documented()[s] for s in (400, 401, 403, 404)},
)
async def one_model(request: Request, model: str, version: Version = None):
    """The id may hold slashes."""
    models = models_of(request)
    entry = models.entry(model)
    return describe(models, entry) if version is None else as_anthropic(entry)

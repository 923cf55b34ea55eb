"""`/v1/models`: what is served."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from hfc.serve.errors import documented
from hfc.serve.served import Served, models_of

ROUTE = APIRouter(tags=["models"])


class Model(BaseModel):
    """OpenAI's object, and what hfc knows beyond it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: int
    slots: int


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[Model]


def describe(served: Served) -> dict:
    limits = served.engine.limits
    return {
        "id": served.name, "object": "model", "created": served.created, "owned_by": "hfc",
        "context_length": limits.context, "slots": limits.slots,
    }  # fmt: skip


@ROUTE.get("/v1/models", response_model=ModelList, responses={401: documented()[401]})
async def list_models(request: Request):
    return {"object": "list", "data": [describe(served) for served in models_of(request).served]}


@ROUTE.get("/v1/models/{model:path}", response_model=Model, responses={s: documented()[s] for s in (400, 401, 404)})
async def one_model(request: Request, model: str):
    """The id may hold slashes."""
    return describe(models_of(request).find(model))

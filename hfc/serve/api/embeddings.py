"""`/v1/embeddings`: refused until plans can give hidden states out."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from hfc.serve.errors import ApiError, documented
from hfc.serve.parameters import Strict, TokenId
from hfc.serve.served import models_of

ROUTE = APIRouter(tags=["embeddings"])


class EmbeddingsRequest(Strict):
    """OpenAI's request."""

    model: str
    input: str | Annotated[list[str], Field(min_length=1)] | Annotated[list[TokenId], Field(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None


@ROUTE.post("/v1/embeddings", responses=documented())
async def embeddings(request: Request, body: EmbeddingsRequest):
    served = models_of(request).find(body.model)
    raise ApiError(400, f"{served.name} was compiled without an output of hidden states, so there are no embeddings", "model", "unsupported_model")

"""`/v1/embeddings`: texts to vectors, the last hidden states pooled and normalized."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from hfc.runtime.sampler import Sampling
from hfc.serve.answer import Answer, large_json, whole
from hfc.serve.body import BodyRoute
from hfc.serve.dialects import EMBEDDINGS
from hfc.serve.errors import ApiError, documented
from hfc.serve.job import Job
from hfc.serve.models import borrow
from hfc.serve.parameters import Text, TokenId, Truncation, check_prompt
from hfc.serve.planning import planned
from hfc.serve.prompt import encode
from hfc.serve.served import Served, ServerSettings, settings_of
from hfc.serve.stepper import LAST_HIDDEN
from hfc.serve.tolerance import Tolerant, listed
from hfc.serve.workers.ticket import TICKET

ROUTE = APIRouter(route_class=BodyRoute, tags=["embeddings"])
MOST_INPUTS = 2048  # OpenAI's limit
POOLINGS = ("last", "mean")
RETRY_S = 0.05

Ids = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Mixed = Annotated[list[TokenId | Text], Field(min_length=1, fail_fast=True)]  # one text, some of it as tokens


class EmbeddingTextPart(Tolerant, dialect=EMBEDDINGS, noun="part"):
    type: Literal["text"]
    text: str


class Parts(Tolerant, dialect=EMBEDDINGS, noun="input"):
    content: listed(EMBEDDINGS, "part", {"text": EmbeddingTextPart})


class WholeText(Tolerant, dialect=EMBEDDINGS, noun="input"):
    prompt_string: Text


One = Text | Ids | Mixed | Parts | WholeText


class EmbeddingsRequest(Tolerant, dialect=EMBEDDINGS):
    """OpenAI's request. input: a text, token ids, or a list of both; llama-server's forms too: ids and texts mixed as one input, objects
    with a prompt_string or with parts of a content.

    Beyond it: pooling, "last" (the last token's state) or "mean" (of all tokens), else what the checkpoint says, else last;
    normalize: whether vectors have length 1; truncation: "auto" cuts the end of what is longer than the context."""

    model: str | None = None
    input: (
        Text
        | Ids
        | Parts
        | WholeText
        | Annotated[list[One], Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True)]
        | Mixed
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    pooling: Literal["last", "mean"] | None = None
    normalize: bool | None = None
    truncation: Truncation | None = None
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = None

    def jobs(self, served: Served, settings: ServerSettings) -> list[Job]:
        """ApiError 400 for what cannot run."""
        pool = self.pooling or served.vocabulary.pooling or "last"
        if pool not in POOLINGS:
            text = (
                f"{served.name} wants {pool} pooling, which a causal model cannot give; ask for pooling: last or mean"
            )
            raise ApiError(400, text, "pooling", "unsupported_parameter")
        is_list = isinstance(self.input, list) and not any(isinstance(one, int) for one in self.input)
        given = self.input if is_list else [self.input]
        most = None if self.truncation == "auto" else served.engine.limits.context
        prompts = [tuple(_tokens(served, one, most)) for one in given]
        if self.truncation == "auto":
            prompts = [prompt[: served.engine.limits.context] for prompt in prompts]
        for prompt in prompts:
            check_prompt(served, prompt, "input")
        return [Job(prompt, Sampling(), deadline_s=TICKET.get().ends_s, pool=pool) for prompt in prompts]


def _tokens(served: Served, one: One, most: int | None) -> list[int]:
    if isinstance(one, Parts):
        one = "".join(part.text for part in one.content)
    elif isinstance(one, WholeText):
        one = one.prompt_string
    if isinstance(one, str):
        return encode(served, one, frame=True, most=most, param="input")
    texts = {part: encode(served, part, most=most, param="input") for part in one if isinstance(part, str)}
    return [token for part in one for token in ([part] if isinstance(part, int) else texts[part])]


class Embedding(BaseModel):
    """embedding: numbers, or the base64 of little-endian f32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, int]


@ROUTE.post(
    "/v1/embeddings", response_model=None, responses={**documented(408, 429, 500, 503), 200: {"model": EmbeddingList}}
)
async def embeddings(request: Request, body: EmbeddingsRequest):
    served = await borrow(request, body.model)
    check_hidden(served)
    jobs = await planned(request, body.timeout, body.jobs, served, settings_of(request))
    answers = await answers_of(request, served, jobs)
    count = sum(len(job.prompt) for job in jobs)

    def whole_answer() -> dict[str, Any]:
        vectors = (vector(answer.pooled, body.dimensions, body.normalize is not False) for answer in answers)
        data = (
            {"object": "embedding", "index": i, "embedding": encoded(v, body.encoding_format)}
            for i, v in enumerate(vectors)
        )
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": body.model or served.name, "usage": usage}

    return await large_json(request, whole_answer)


def check_hidden(served: Served) -> None:
    """ApiError 400 for a model that gives no hidden states."""
    if LAST_HIDDEN not in served.engine.model.plan.taps:
        text = f"{served.name} was compiled without hidden states; compile it with --tap {LAST_HIDDEN}"
        raise ApiError(400, text, "model", "unsupported_model")


async def answers_of(request: Request, served: Served, jobs: list[Job]) -> list[Answer]:
    """A request of many inputs takes as many places in the queue as there are slots, and comes back for more. Equal inputs run once."""
    answers: list[Answer] = []
    slots = served.engine.limits.slots
    each = list({job.prompt: job for job in jobs}.values())
    for first in range(0, len(each), slots):
        while True:
            try:
                sequences = served.start(each[first : first + slots])
                break
            except ApiError as error:
                if error.status != 429 or not first or time.monotonic() > jobs[0].deadline_s:
                    raise
                await asyncio.sleep(RETRY_S)
        answers += await whole(request, served, sequences)
    of_prompt = {job.prompt: answer for job, answer in zip(each, answers)}
    return [of_prompt[job.prompt] for job in jobs]


def vector(pooled: np.ndarray, dimensions: int | None, normalize: bool) -> np.ndarray:
    """f32 [dimensions]: the first of them, normalized again, as OpenAI shortens its own. ApiError 400 for more than there are."""
    if dimensions is not None and dimensions > len(pooled):
        raise ApiError(
            400,
            f"dimensions is {dimensions}; this model's embeddings have {len(pooled)}",
            "dimensions",
            "invalid_value",
        )
    out = pooled[:dimensions]
    if not np.isfinite(out).all():
        raise ApiError(500, "the model gave hidden states that are not numbers", None, "model_error")
    length = float(np.linalg.norm(out))
    return (out / length if normalize and length else out).astype("<f4")


def encoded(values: np.ndarray, form: str | None) -> Any:
    return base64.b64encode(values.tobytes()).decode() if form == "base64" else values.tolist()

"""`/tokenize` and `/detokenize`: text or messages to token ids, and back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from hfc.serve.errors import ApiError, documented
from hfc.serve.messages import Messages, template_messages
from hfc.serve.models import borrow
from hfc.serve.parameters import TokenId
from hfc.serve.planning import planned
from hfc.serve.prompt import chat_prompt, encode
from hfc.serve.served import Served
from hfc.serve.tolerance import Tolerant

ROUTE = APIRouter(tags=["tokens"])


class TokenizeRequest(Tolerant):
    """Either a text (prompt; content is llama-server's name) or messages, which the chat template renders first."""

    model: str | None = None
    prompt: str | None = None
    content: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool = Field(True, description="Add the begin token that the vocabulary asks for; texts only.")
    parse_special: bool = Field(False, description="Read <|im_end|> in a text as that token.")


class Tokens(BaseModel):
    tokens: list[int]
    count: int
    max_model_len: int


class DetokenizeRequest(Tolerant):
    model: str | None = None
    tokens: Annotated[list[TokenId], Field(max_length=1 << 20, fail_fast=True)]
    keep_special: bool = True


class Text(BaseModel):
    """content: llama-server's name of the same."""

    prompt: str
    content: str


@ROUTE.post("/tokenize", response_model=Tokens, responses=documented())
async def tokenize(request: Request, body: TokenizeRequest):
    served = await borrow(request, body.model)
    if body.prompt is None:
        body.prompt = body.content
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "give either prompt or messages", "prompt", "invalid_value")
    ids = await planned(request, None, _ids, served, body)
    return {"tokens": ids, "count": len(ids), "max_model_len": served.engine.limits.context}


def _ids(served: Served, body: TokenizeRequest) -> list[int]:
    if body.messages is not None:
        return list(chat_prompt(served, template_messages(body.messages)).tokens)
    return encode(served, body.prompt, body.parse_special, body.add_special_tokens)


@ROUTE.post("/detokenize", response_model=Text, responses=documented())
async def detokenize(request: Request, body: DetokenizeRequest):
    served = await borrow(request, body.model)
    text = await planned(request, None, served.tokenizer.decode, body.tokens, body.keep_special)
    return {"prompt": text, "content": text}

"""`/tokenize` and `/detokenize`: text or messages to token ids, and back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from hfc.serve.body import BodyRoute
from hfc.serve.errors import ApiError, documented
from hfc.serve.logprobs import token_bytes
from hfc.serve.messages import Messages, template_messages
from hfc.serve.models import borrow
from hfc.serve.parameters import TokenId, first_given
from hfc.serve.planning import planned
from hfc.serve.prompt import chat_prompt, encode
from hfc.serve.served import Served
from hfc.serve.tolerance import Tolerant

ROUTE = APIRouter(route_class=BodyRoute, tags=["tokens"])


class TokenizeRequest(Tolerant):
    """A text as vLLM (prompt) or llama-server (content) calls it, or messages, which the chat template renders first."""

    model: str | None = None
    prompt: str | None = None
    content: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = Field(
        None,
        description="Add the begin token that the vocabulary asks for; texts only. As a rule to a prompt, not to content.",
    )
    add_special: bool | None = Field(None, description="llama-server's name of the same.")
    parse_special: bool | None = Field(
        None, description="Read <|im_end|> in a text as that token. As a rule in content, not in a prompt."
    )
    with_pieces: bool | None = Field(None, description="llama-server's: tell each token's text, or its bytes.")


class TokenPiece(BaseModel):
    """piece: bytes where they are no text alone."""

    id: int
    piece: str | list[int]


class Tokens(BaseModel):
    tokens: list[int] | list[TokenPiece]
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
    if sum(given is not None for given in (body.prompt, body.content, body.messages)) != 1:
        raise ApiError(400, "give either prompt, content or messages", "prompt", "invalid_value")
    ids = await planned(request, None, _ids, served, body)
    tokens = [_piece(served, token) for token in ids] if body.with_pieces else ids
    return {"tokens": tokens, "count": len(ids), "max_model_len": served.engine.limits.context}


def _ids(served: Served, body: TokenizeRequest) -> list[int]:
    if body.messages is not None:
        return list(chat_prompt(served, template_messages(body.messages)).tokens)
    is_native = body.content is not None
    parses = is_native if body.parse_special is None else body.parse_special
    frames = first_given(body.add_special_tokens, body.add_special, not is_native)
    return encode(served, body.content if is_native else body.prompt, parses, frames)


def _piece(served: Served, token: int) -> TokenPiece:
    data = token_bytes(served.tokenizer, token)
    try:
        return TokenPiece(id=token, piece=data.decode())
    except UnicodeDecodeError:
        return TokenPiece(id=token, piece=list(data))


@ROUTE.post("/detokenize", response_model=Text, responses=documented())
async def detokenize(request: Request, body: DetokenizeRequest):
    served = await borrow(request, body.model)
    if unknown := [token for token in body.tokens if token >= served.tokenizer.vocab]:
        text = f"token {unknown[0]} is not in the vocabulary of {served.tokenizer.vocab} tokens"
        raise ApiError(400, text, "tokens", "invalid_value")
    text = await planned(request, None, served.tokenizer.decode, body.tokens, body.keep_special)
    return {"prompt": text, "content": text}

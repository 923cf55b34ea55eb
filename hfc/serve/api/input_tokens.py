"""How many tokens a request's prompt has, without an answer: OpenAI's `/v1/responses/input_tokens`, and llama-server's for chats."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from hfc.serve.api.chat_completions import ChatRequest
from hfc.serve.body import BodyRoute
from hfc.serve.chat import plan_chat
from hfc.serve.errors import documented
from hfc.serve.models import borrow
from hfc.serve.planning import planned
from hfc.serve.response_input import ResponsesRequest
from hfc.serve.served import settings_of

ROUTE = APIRouter(route_class=BodyRoute, tags=["tokens"])


class InputTokens(BaseModel):
    object: Literal["response.input_tokens"]
    input_tokens: int


@ROUTE.post("/v1/responses/input_tokens", response_model=InputTokens, responses=documented())
async def of_response(request: Request, body: ResponsesRequest):
    return await _counted(request, body)


@ROUTE.post("/v1/chat/completions/input_tokens", response_model=InputTokens, responses=documented())
async def of_chat(request: Request, body: ChatRequest):
    return await _counted(request, body)


async def _counted(request: Request, body: ChatRequest | ResponsesRequest) -> dict[str, Any]:
    served = await borrow(request, body.model)
    plan = await planned(request, body.timeout, plan_chat, served, body.ask, settings_of(request))
    return {"object": "response.input_tokens", "input_tokens": len(plan.jobs[0].prompt)}

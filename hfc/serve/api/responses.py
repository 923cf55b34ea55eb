"""`/v1/responses`: OpenAI's newer dialect of a chat, without a memory of its own: the whole input comes with each request."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from hfc.serve.answer import KEEP_ALIVE, STREAM, sse, sse_response, whole
from hfc.serve.answer_state import note_error
from hfc.serve.body import BodyRoute
from hfc.serve.broken import failed_response
from hfc.serve.chat import feed, new_id, plan_chat, stream_deltas
from hfc.serve.errors import ApiError, documented
from hfc.serve.items import Events, Items
from hfc.serve.logprobs import chat_logprob
from hfc.serve.models import borrow
from hfc.serve.output import Delta, Output
from hfc.serve.planning import planned
from hfc.serve.response_input import ResponsesRequest
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, settings_of
from hfc.serve.usage import prompt_progress, timings

ROUTE = APIRouter(route_class=BodyRoute, tags=["responses"])


class ResponseObject(BaseModel):
    id: str
    object: Literal["response"]
    created_at: float
    status: Literal["completed", "incomplete", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None


@ROUTE.post(
    "/v1/responses", responses={**documented(408, 429, 500, 503), 200: {"model": ResponseObject, "content": STREAM}}
)
async def responses(request: Request, body: ResponsesRequest):
    served = await borrow(request, body.model)
    plan = await planned(request, body.timeout, plan_chat, served, body.ask, settings_of(request))
    (sequence,) = served.start(plan.jobs)
    head = _head(body, served.name)
    if body.stream:
        return sse_response(_events(request, served, sequence, plan.new_output(), head, body), plan.headers)
    (answer,) = await whole(request, served, [sequence])
    output, items = plan.new_output(), Items()
    for piece in answer.pieces:
        _push(items, feed(output, [piece], sequence), output, served)
    _push(items, output.close(), output, served)
    items.close(is_whole=answer.finish.reason != "length")
    done = {**_finished(head, items, answer.finish.reason, sequence), **_speed(body, sequence)}
    return JSONResponse(done, headers=plan.headers)


def _speed(body: ResponsesRequest, sequence: Sequence) -> dict[str, Any]:
    return {"timings": timings(sequence)} if body.timings_per_token else {}


def _push(items: Items, deltas: list[Delta], output: Output, served: Served) -> Events:
    """Log probabilities go with the content that their tokens are, which may have been held back."""
    events: Events = []
    for delta in deltas:
        taken = output.take_logprobs()
        told = [chat_logprob(served.tokenizer, p) for p, is_thought in taken if not is_thought]
        events += items.push(delta, told if delta.kind == "content" else ())
    return events


def _head(body: ResponsesRequest, name: str) -> dict[str, Any]:
    """A response before its output, with the request's settings as OpenAI repeats them."""
    choice = body.tool_choice or "auto"
    choice = choice if isinstance(choice, str) else choice.model_dump()
    text = body.text.model_dump(by_alias=True, exclude_none=True) if body.text else {}
    return {
        "id": new_id("resp_"), "object": "response", "created_at": time.time(), "status": "in_progress", "model": body.model or name,
        "error": None, "incomplete_details": None, "instructions": body.instructions, "metadata": body.metadata or {},
        "output": [], "parallel_tool_calls": body.parallel_tool_calls is not False, "temperature": body.temperature,
        "tool_choice": choice, "tools": [{"strict": None, "parameters": None, **t.model_dump(exclude_none=True)} for t in body.tools or ()],
        "top_p": body.top_p, "top_logprobs": body.top_logprobs or 0, "max_output_tokens": body.max_output_tokens, "previous_response_id": None,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None}, "store": False,
        "text": {"format": {"type": "text"}, **text}, "truncation": body.truncation or "disabled", "background": False, "usage": None,
    }  # fmt: skip


def _finished(head: dict[str, Any], items: Items, reason: str, sequence: Sequence) -> dict[str, Any]:
    usage = sequence.usage
    return {
        **head,
        "status": "incomplete" if reason == "length" else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if reason == "length" else None,
        "output": items.items,
        "usage": {
            "input_tokens": usage.prompt, "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.completion, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt + usage.completion,
        },
    }  # fmt: skip


async def _events(
    request: Request, served: Served, sequence: Sequence, output: Output, head: dict[str, Any], body: ResponsesRequest
) -> AsyncIterator[bytes]:
    number, items = 0, Items()

    def event(data: dict[str, Any]) -> bytes:
        nonlocal number
        number += 1
        return sse({**data, "sequence_number": number - 1}, data["type"])

    yield event({"type": "response.created", "response": head})
    yield event({"type": "response.in_progress", "response": head})
    try:
        async for deltas, finish, progress in stream_deltas(
            served, sequence, output, settings_of(request).keep_alive_s
        ):
            if progress is not None:
                told = {"type": "response.in_progress", "response": head}
                yield event({**told, "prompt_progress": prompt_progress(progress)})
            elif not deltas and finish is None:
                yield KEEP_ALIVE
            for data in _push(items, deltas, output, served):
                yield event({**data, **(_speed(body, sequence) if data["type"].endswith(".delta") else {})})
            if finish is not None:
                for data in items.close(is_whole=finish.reason != "length"):
                    yield event(data)
                response = _finished(head, items, finish.reason, sequence)
                yield event({"type": f"response.{response['status']}", "response": response, **_speed(body, sequence)})
    except ApiError as error:
        note_error(error)
        for data in failed_response(head, error):
            yield event(data)

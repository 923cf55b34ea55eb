"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's dialect of a chat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from hfc.serve.answer import PING, STREAM, sse, sse_error, sse_response, whole
from hfc.serve.anthropic import CountRequest, MessagesRequest
from hfc.serve.body import BodyRoute
from hfc.serve.chat import feed, new_id, plan_chat, stream_deltas
from hfc.serve.errors import AnthropicErrorObject, ApiError, documented
from hfc.serve.job import Finish
from hfc.serve.messages import loads_object
from hfc.serve.models import borrow
from hfc.serve.output import Delta, Output, ParsedMessage
from hfc.serve.planning import planned
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, settings_of

ROUTE = APIRouter(route_class=BodyRoute, tags=["anthropic"])


class AnthropicMessage(BaseModel):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str
    stop_sequence: str | None
    usage: dict[str, int]


class Count(BaseModel):
    input_tokens: int


ERRORS = documented(408, 429, 500, 503, model=AnthropicErrorObject)


@ROUTE.post("/v1/messages", responses={**ERRORS, 200: {"model": AnthropicMessage, "content": STREAM}})
async def messages(request: Request, body: MessagesRequest):
    served = await borrow(request, body.model)
    plan = await planned(request, body.timeout, plan_chat, served, body.ask, settings_of(request))
    (sequence,) = served.start(plan.jobs)
    head = {"id": new_id("msg_"), "type": "message", "role": "assistant", "model": body.model or served.name}
    if body.stream:
        return sse_response(_events(request, served, sequence, plan.new_output(), head), plan.headers)
    (answer,) = await whole(request, served, [sequence])
    output = plan.new_output()
    content = _blocks([*feed(output, answer.pieces, sequence), *output.close()])
    reason = stop_reason(answer.finish, output.message)
    return JSONResponse(
        {
            **head,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": answer.finish.stop,
            "usage": usage(sequence),
        },
        headers=plan.headers,
    )


@ROUTE.post("/v1/messages/count_tokens", response_model=Count, responses=ERRORS)
async def count_tokens(request: Request, body: CountRequest):
    served = await borrow(request, body.model)
    plan = await planned(request, body.timeout, plan_chat, served, body.ask, settings_of(request))
    return {"input_tokens": len(plan.jobs[0].prompt)}


def usage(sequence: Sequence) -> dict[str, int]:
    """Anthropic counts what came from the cache apart."""
    counts = sequence.usage
    return {
        "input_tokens": counts.prompt - counts.cached, "output_tokens": counts.completion,
        "cache_read_input_tokens": counts.cached, "cache_creation_input_tokens": 0,
    }  # fmt: skip


def stop_reason(finish: Finish, message: ParsedMessage) -> str:
    if finish.reason == "length":
        return "max_tokens"
    if message.calls:
        return "tool_use"
    return "stop_sequence" if finish.stop else "end_turn"


def _blocks(deltas: list[Delta]) -> list[dict[str, Any]]:
    """In the order in which they were written, as a stream tells them."""
    out: list[dict[str, Any]] = []
    for (kind, _), group in groupby(deltas, lambda d: ("call" if d.kind == "arguments" else d.kind, d.index)):
        parts = list(group)
        text = "".join(part.text for part in parts)
        if kind == "call":
            out.append({**_start(parts[0]), "input": _object(text)})
        else:
            out.append({**_start(parts[0]), FIELDS[kind][1]: text})
    if all(block["type"] == "thinking" for block in out):
        out.append({"type": "text", "text": ""})
    return out


def _object(arguments: str) -> dict[str, Any]:
    """A call that broke off has no whole object; what is left is shown as it is."""
    value = loads_object(arguments)
    return {"_incomplete": arguments} if value is None else value


STARTS = {
    "content": {"type": "text", "text": ""},
    "reasoning": {"type": "thinking", "thinking": "", "signature": ""},
}
FIELDS = {
    "content": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "arguments": ("input_json_delta", "partial_json"),
}


async def _events(
    request: Request, served: Served, sequence: Sequence, output: Output, head: dict[str, Any]
) -> AsyncIterator[bytes]:
    def event(type: str, **data: Any) -> bytes:
        return sse({"type": type, **data}, type)

    start = {
        **head,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage(sequence), "output_tokens": 0},
    }
    yield event("message_start", message=start)
    block, kind = -1, None
    try:
        async for deltas, finish, _ in stream_deltas(served, sequence, output, settings_of(request).keep_alive_s):
            if not deltas and finish is None:
                yield PING
            for delta in deltas:
                wanted = "arguments" if delta.kind == "call" else delta.kind
                if delta.kind == "call" or wanted != kind:
                    for closing in _block_ends(kind, block):
                        yield event(**closing)
                    block, kind = block + 1, wanted
                    yield event("content_block_start", index=block, content_block=_start(delta))
                if delta.kind != "call":
                    type, field = FIELDS[delta.kind]
                    yield event("content_block_delta", index=block, delta={"type": type, field: delta.text})
            if finish is not None:
                for closing in _block_ends(kind, block):
                    yield event(**closing)
                ending = {"stop_reason": stop_reason(finish, output.message), "stop_sequence": finish.stop}
                yield event("message_delta", delta=ending, usage=usage(sequence))
                yield event("message_stop")
    except ApiError as error:
        yield sse_error(error, request.url.path)


def _block_ends(kind: str | None, block: int) -> list[dict[str, Any]]:
    """A thought ends with its signature: Vercel's client sends back no other, be it empty."""
    if kind is None:
        return []
    signature = {"type": "signature_delta", "signature": ""}
    signed = [{"type": "content_block_delta", "index": block, "delta": signature}] if kind == "reasoning" else []
    return [*signed, {"type": "content_block_stop", "index": block}]


def _start(delta: Delta) -> dict[str, Any]:
    if delta.kind == "call":
        return {"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}}
    return STARTS[delta.kind]

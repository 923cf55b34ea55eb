"""`/v1/responses`: OpenAI's newer dialect of a chat, without a memory of its own: the whole input comes with each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from hfc.serve.answer import KEEP_ALIVE, STREAM, sse, sse_error, sse_response, whole
from hfc.serve.chat import Ask, feed, new_id, plan_chat, stream_deltas
from hfc.serve.errors import ApiError, documented
from hfc.serve.items import Items
from hfc.serve.messages import Name, loads_object
from hfc.serve.models import borrow
from hfc.serve.output import Output
from hfc.serve.parameters import SamplingFields, Strict, Text, Truncation
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, settings_of

ROUTE = APIRouter(tags=["responses"])


class TextPart(Strict):
    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class MediaPart(BaseModel):
    """Known, so that the refusal can say why."""

    type: Literal["input_image", "input_file", "input_audio"]


Parts = Annotated[list[Annotated[TextPart | MediaPart, Field(discriminator="type")]], Field(min_length=1)]


class MessageItem(Strict):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Parts
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class CallItem(Strict):
    type: Literal["function_call"]
    call_id: Text
    name: Name
    arguments: str
    id: str | None = None
    status: str | None = None


class ResultItem(Strict):
    type: Literal["function_call_output"]
    call_id: Text
    output: str | Parts
    id: str | None = None
    status: str | None = None


class ReasoningItem(BaseModel):
    """A thought of an earlier answer; not shown again, as templates drop it too."""

    type: Literal["reasoning"]


class FunctionTool(Strict):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Strict):
    type: Literal["function"]
    name: Name


class TextFormat(Strict):
    type: Literal["text", "json_object"]


class SchemaFormat(Strict):
    type: Literal["json_schema"]
    name: Name
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Strict):
    format: Annotated[TextFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Strict):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponsesRequest(Strict):
    """OpenAI's request; what needs stored responses is refused."""

    model: str
    input: str | Annotated[list[MessageItem | CallItem | ResultItem | ReasoningItem], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=1 << 30)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stream: bool | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = Field(None, description="Accepted; nothing is stored.")
    truncation: Truncation | None = None
    background: Literal[False] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None

    def ask(self) -> Ask:
        format = self.text.format if self.text else None
        wanted = None
        if isinstance(format, SchemaFormat):
            wanted = {"type": "json_schema", "schema": format.schema_}
        elif format is not None and format.type == "json_object":
            wanted = {"type": "json_schema", "schema": {"type": "object"}}
        tools = [
            {"type": "function", "function": t.model_dump(exclude={"type"}, exclude_none=True)}
            for t in self.tools or ()
        ]
        choice = self.tool_choice.name if isinstance(self.tool_choice, NamedFunction) else self.tool_choice or "auto"
        return Ask(
            self._messages(),
            SamplingFields(temperature=self.temperature, top_p=self.top_p),
            tools,
            choice,
            self.parallel_tool_calls is not False,
            wanted,
            self.max_output_tokens,
            effort=self.reasoning.effort if self.reasoning else None,
            truncates=self.truncation == "auto",
        )

    def _messages(self) -> list[dict[str, Any]]:
        """Items to messages: neighbouring calls belong to one. ApiError 400 for a history that cannot have happened."""
        items = [MessageItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        out: list[dict[str, Any]] = [{"role": "system", "content": self.instructions}] if self.instructions else []
        calls: dict[str, str] = {}
        for i, item in enumerate(items):
            where = f"input.{i}"
            if isinstance(item, CallItem):
                if not out or out[-1]["role"] != "assistant":
                    out.append({"role": "assistant", "content": ""})
                call = {"name": item.name, "arguments": _arguments(item, where)}
                out[-1].setdefault("tool_calls", []).append({"id": item.call_id, "type": "function", "function": call})
                calls[item.call_id] = item.name
            elif isinstance(item, ResultItem):
                if item.call_id not in calls:
                    raise ApiError(400, f"call_id {item.call_id!r} answers no call before", f"{where}.call_id")
                name = calls.pop(item.call_id)
                out.append(
                    {"role": "tool", "content": _text(item.output, where), "tool_call_id": item.call_id, "name": name}
                )
            elif isinstance(item, MessageItem):
                if calls and item.role != "assistant":
                    raise ApiError(400, f"the calls {', '.join(calls)} have no output", where, "missing_tool_result")
                role = "system" if item.role == "developer" else item.role
                out.append({"role": role, "content": _text(item.content, where)})
        if calls:
            raise ApiError(400, f"the calls {', '.join(calls)} have no output", "input", "missing_tool_result")
        if not out:
            raise ApiError(400, "the input has no messages", "input", "invalid_value")
        return out


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
    plan = await asyncio.to_thread(plan_chat, served, body.ask(), settings_of(request))
    (sequence,) = served.start(plan.jobs)
    head = _head(body)
    if body.stream:
        return sse_response(_events(request, served, sequence, plan.new_output(), head))
    (answer,) = await whole(request, served, [sequence])
    output, items = plan.new_output(), Items()
    for delta in [*feed(output, answer.pieces, sequence), *output.close()]:
        items.push(delta)
    items.close(is_whole=answer.finish.reason != "length")
    return JSONResponse(_finished(head, items, answer.finish.reason, sequence))


def _head(body: ResponsesRequest) -> dict[str, Any]:
    """A response before its output, with the request's settings as OpenAI repeats them."""
    choice = (
        body.tool_choice.model_dump() if isinstance(body.tool_choice, NamedFunction) else body.tool_choice or "auto"
    )
    text = body.text.model_dump(by_alias=True, exclude_none=True) if body.text else {}
    return {
        "id": new_id("resp_"), "object": "response", "created_at": time.time(), "status": "in_progress", "model": body.model,
        "error": None, "incomplete_details": None, "instructions": body.instructions, "metadata": body.metadata or {},
        "output": [], "parallel_tool_calls": body.parallel_tool_calls is not False, "temperature": body.temperature,
        "tool_choice": choice, "tools": [{"strict": None, "parameters": None, **t.model_dump(exclude_none=True)} for t in body.tools or ()],
        "top_p": body.top_p, "max_output_tokens": body.max_output_tokens, "previous_response_id": None,
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
    request: Request, served: Served, sequence: Sequence, output: Output, head: dict[str, Any]
) -> AsyncIterator[bytes]:
    number, items = 0, Items()

    def event(data: dict[str, Any]) -> bytes:
        nonlocal number
        number += 1
        return sse({**data, "sequence_number": number - 1}, data["type"])

    yield event({"type": "response.created", "response": head})
    yield event({"type": "response.in_progress", "response": head})
    try:
        async for deltas, finish in stream_deltas(served, sequence, output, settings_of(request).keep_alive_s):
            if not deltas and finish is None:
                yield KEEP_ALIVE
            for delta in deltas:
                for data in items.push(delta):
                    yield event(data)
            if finish is not None:
                for data in items.close(is_whole=finish.reason != "length"):
                    yield event(data)
                response = _finished(head, items, finish.reason, sequence)
                yield event({"type": f"response.{response['status']}", "response": response})
    except ApiError as error:
        yield sse_error(error, request.url.path)


def _arguments(item: CallItem, where: str) -> dict[str, Any]:
    value = loads_object(item.arguments)
    if value is None:
        raise ApiError(
            400, f"the arguments of {item.name} are not a JSON object", f"{where}.arguments", "invalid_value"
        )
    return value


def _text(content: str | list[TextPart | MediaPart], where: str) -> str:
    if isinstance(content, str):
        return content
    if any(isinstance(part, MediaPart) for part in content):
        raise ApiError(400, "this model reads text only", where, "unsupported_content")
    return "".join(part.text for part in content)

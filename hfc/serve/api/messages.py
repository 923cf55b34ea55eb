"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's dialect of a chat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from hfc.serve.answer import STREAM, sse, sse_error, sse_response, whole
from hfc.serve.chat import Ask, feed, new_id, plan_chat, stream_deltas
from hfc.serve.errors import AnthropicErrorObject, ApiError, documented
from hfc.serve.job import Finish
from hfc.serve.messages import Name, loads_object
from hfc.serve.models import borrow
from hfc.serve.output import Delta, Message, Output
from hfc.serve.parameters import SamplingFields, Strict, Text, Truncation
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, settings_of

ROUTE = APIRouter(tags=["anthropic"])


class CacheControl(Strict):
    """Accepted: hfc's prefix cache needs no marks."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(Strict):
    cache_control: CacheControl | None = None


class TextBlock(Block):
    type: Literal["text"]
    text: str
    citations: None = None


class ToolUse(Block):
    type: Literal["tool_use"]
    id: Text
    name: Name
    input: dict[str, Any]


class Media(BaseModel):
    """Known, so that the refusal can say why."""

    type: Literal["image", "document"]


class ToolResult(Block):
    type: Literal["tool_result"]
    tool_use_id: Text
    content: str | list[Annotated[TextBlock | Media, Field(discriminator="type")]] | None = None
    is_error: bool | None = None


class Thinking(Strict):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


UserBlock = Annotated[TextBlock | ToolResult | Media, Field(discriminator="type")]
AssistantBlock = Annotated[TextBlock | ToolUse | Thinking, Field(discriminator="type")]


class UserTurn(Strict):
    role: Literal["user"]
    content: str | Annotated[list[UserBlock], Field(min_length=1)]


class AssistantTurn(Strict):
    role: Literal["assistant"]
    content: str | Annotated[list[AssistantBlock], Field(min_length=1)]


class AnthropicTool(Block):
    type: Literal["custom"] | None = None
    name: Name
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None

    def function(self) -> dict[str, Any]:
        """As OpenAI's."""
        return {
            "name": self.name,
            "description": self.description or "",
            "parameters": self.input_schema,
            "strict": bool(self.strict),
        }


class Choice(Strict):
    type: Literal["auto", "any", "none", "tool"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(Strict):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=1, le=1 << 30)] | None = None


class CountRequest(Strict):
    """What of a request makes its prompt."""

    model: str
    messages: Annotated[list[Annotated[UserTurn | AssistantTurn, Field(discriminator="role")]], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[AnthropicTool], Field(max_length=128)] | None = None
    tool_choice: Choice | None = None
    thinking: ThinkingConfig | None = None

    def ask(self, fields: SamplingFields, max_tokens: int | None = None) -> Ask:
        choice = self.tool_choice or Choice(type="auto")
        if choice.type == "tool" and choice.name is None:
            raise ApiError(400, "tool_choice: a tool needs its name", "tool_choice.name")
        tools = [{"type": "function", "function": t.function()} for t in self.tools or ()]
        effort = {"disabled": "none", "enabled": "high"}.get(self.thinking.type) if self.thinking else None
        return Ask(
            self._messages(),
            fields,
            tools,
            {"any": "required", "tool": choice.name or ""}.get(choice.type, choice.type),
            not choice.disable_parallel_tool_use,
            max_tokens=max_tokens,
            effort=effort,
            thinking_budget=self.thinking.budget_tokens if self.thinking else None,
            truncates=fields.truncation == "auto",
        )

    def _messages(self) -> list[dict[str, Any]]:
        """As templates want them. ApiError 400 for results without calls and calls without results."""
        out: list[dict[str, Any]] = []
        if self.system:
            out.append({"role": "system", "content": _text(self.system)})
        calls: dict[str, str] = {}
        for i, turn in enumerate(self.messages):
            where = f"messages.{i}"
            blocks = [TextBlock(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content
            if isinstance(turn, AssistantTurn):
                calls = _unanswered(calls, where)
                out.append(_assistant(blocks))
                calls = {b.id: b.name for b in blocks if isinstance(b, ToolUse)}
                continue
            for block in (b for b in blocks if isinstance(b, ToolResult)):
                if block.tool_use_id not in calls:
                    raise ApiError(400, f"tool_result: {block.tool_use_id!r} is no call of the turn before", where)
                if any(isinstance(part, Media) for part in block.content or ()):
                    raise ApiError(400, "this model reads text only", where, "unsupported_content")
                result = _text(block.content or "")
                out.append(
                    {
                        "role": "tool",
                        "content": result,
                        "tool_call_id": block.tool_use_id,
                        "name": calls.pop(block.tool_use_id),
                    }
                )
            calls = _unanswered(calls, where)
            if any(isinstance(b, Media) for b in blocks):
                raise ApiError(400, "this model reads text only", where, "unsupported_content")
            texts = [b for b in blocks if isinstance(b, TextBlock)]
            if texts:
                out.append({"role": "user", "content": _text(texts)})
        _unanswered(calls, "messages")
        return out


class MessagesRequest(CountRequest):
    """Anthropic's request. Beyond it: truncation."""

    max_tokens: Annotated[int, Field(ge=1, le=1 << 30)]
    stop_sequences: Annotated[list[Text], Field(max_length=16)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 30)] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    truncation: Truncation | None = None

    def fields(self) -> SamplingFields:
        return SamplingFields(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=self.stop_sequences,
            truncation=self.truncation,
        )


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
    plan = await asyncio.to_thread(plan_chat, served, body.ask(body.fields(), body.max_tokens), settings_of(request))
    (sequence,) = served.start(plan.jobs)
    head = {"id": new_id("msg_"), "type": "message", "role": "assistant", "model": body.model}
    if body.stream:
        return sse_response(_events(request, served, sequence, plan.new_output(), head))
    (answer,) = await whole(request, served, [sequence])
    output = plan.new_output()
    feed(output, answer.pieces, sequence)
    output.close()
    reason = stop_reason(answer.finish, output.message)
    content = _blocks(output.message)
    return JSONResponse(
        {
            **head,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": answer.finish.stop,
            "usage": usage(sequence),
        }
    )


@ROUTE.post("/v1/messages/count_tokens", response_model=Count, responses=ERRORS)
async def count_tokens(request: Request, body: CountRequest):
    served = await borrow(request, body.model)
    plan = await asyncio.to_thread(plan_chat, served, body.ask(SamplingFields()), settings_of(request))
    return {"input_tokens": len(plan.jobs[0].prompt)}


def usage(sequence: Sequence) -> dict[str, int]:
    """Anthropic counts what came from the cache apart."""
    counts = sequence.usage
    return {
        "input_tokens": counts.prompt - counts.cached, "output_tokens": counts.completion,
        "cache_read_input_tokens": counts.cached, "cache_creation_input_tokens": 0,
    }  # fmt: skip


def stop_reason(finish: Finish, message: Message) -> str:
    if finish.reason == "length":
        return "max_tokens"
    if message.calls:
        return "tool_use"
    return "stop_sequence" if finish.stop else "end_turn"


def _blocks(message: Message) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if message.reasoning:
        out.append({"type": "thinking", "thinking": message.reasoning, "signature": ""})
    if message.content or not message.calls:
        out.append({"type": "text", "text": message.content})
    for call in message.calls:
        out.append({"type": "tool_use", "id": call.id, "name": call.name, "input": _object(call.arguments)})
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
        async for deltas, finish in stream_deltas(served, sequence, output, settings_of(request).keep_alive_s):
            if not deltas and finish is None:
                yield event("ping")
            for delta in deltas:
                wanted = "arguments" if delta.kind == "call" else delta.kind
                if delta.kind == "call" or wanted != kind:
                    if kind is not None:
                        yield event("content_block_stop", index=block)
                    block, kind = block + 1, wanted
                    yield event("content_block_start", index=block, content_block=_start(delta))
                if delta.kind != "call":
                    type, field = FIELDS[delta.kind]
                    yield event("content_block_delta", index=block, delta={"type": type, field: delta.text})
            if finish is not None:
                if kind is not None:
                    yield event("content_block_stop", index=block)
                ending = {"stop_reason": stop_reason(finish, output.message), "stop_sequence": finish.stop}
                yield event("message_delta", delta=ending, usage=usage(sequence))
                yield event("message_stop")
    except ApiError as error:
        yield sse_error(error, request.url.path)


def _start(delta: Delta) -> dict[str, Any]:
    if delta.kind == "call":
        return {"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}}
    return STARTS[delta.kind]


def _text(content: str | list[TextBlock]) -> str:
    return content if isinstance(content, str) else "\n".join(b.text for b in content)


def _assistant(blocks: list[Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"role": "assistant", "content": _text([b for b in blocks if isinstance(b, TextBlock)])}
    if thoughts := [b.thinking for b in blocks if isinstance(b, Thinking)]:
        out["reasoning_content"] = "\n".join(thoughts)
    uses = [b for b in blocks if isinstance(b, ToolUse)]
    if uses:
        out["tool_calls"] = [
            {"id": b.id, "type": "function", "function": {"name": b.name, "arguments": b.input}} for b in uses
        ]
    return out


def _unanswered(calls: dict[str, str], where: str) -> dict[str, str]:
    if calls:
        raise ApiError(400, f"the calls {', '.join(calls)} have no tool_result", where, "missing_tool_result")
    return {}

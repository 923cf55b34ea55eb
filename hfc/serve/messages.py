"""Chat messages as clients send them, checked, and as templates want them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from hfc.serve.dialects import CHAT
from hfc.serve.errors import ApiError
from hfc.serve.parameters import Text
from hfc.serve.tolerance import Tolerant, listed

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.:/-]+$")]


class TextPart(Tolerant, dialect=CHAT, noun="part"):
    type: Literal["text"] = "text"
    text: str


class RefusalPart(Tolerant, dialect=CHAT, noun="part"):
    type: Literal["refusal"]
    refusal: str


Parts = listed(CHAT, "part", {"text": TextPart, "refusal": RefusalPart}, usual="text")
Content = str | Parts


class FunctionCall(Tolerant, dialect=CHAT, noun="function"):
    """name: what a model has called, whether there is such a tool or not.  arguments: a JSON object as text, or the object itself as
    some clients send it back."""

    name: Text
    arguments: str | dict[str, Any] = ""


class ToolCall(Tolerant, dialect=CHAT, noun="call"):
    """id: some servers give their calls none, or all the same."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class SystemMessage(Tolerant, dialect=CHAT, noun="message"):
    role: Literal["system", "developer"]
    content: Content | None = None
    name: str | None = None


class UserMessage(Tolerant, dialect=CHAT, noun="message"):
    role: Literal["user"]
    content: Content | None = None
    name: str | None = None


class AssistantMessage(Tolerant, dialect=CHAT, noun="message"):
    """reasoning: vLLM's and OpenRouter's name of reasoning_content."""

    role: Literal["assistant"]
    content: Content | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None


class ToolMessage(Tolerant, dialect=CHAT, noun="message"):
    """content: null of a tool that gave nothing."""

    role: Literal["tool"]
    content: Content | None = None
    tool_call_id: str
    name: str | None = None


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]
Messages = Annotated[list[Message], Field(min_length=1, fail_fast=True)]


def template_messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Plain dicts with text contents; what stands between a call and its result follows the result. ApiError 400 for a history that
    cannot have happened."""
    out: list[dict[str, Any]] = []
    calls: list[tuple[str, str]] = []  # id and function name, of calls that wait for a result
    late: list[dict[str, Any]] = []
    for i, message in enumerate(messages):
        where = f"messages.{i}"
        if isinstance(message, ToolMessage):
            call = next((call for call in calls if call[0] == message.tool_call_id), None)
            if call is None:
                text = f"tool_call_id {message.tool_call_id!r} answers no call of the message before"
                raise ApiError(400, text, f"{where}.tool_call_id")
            calls.remove(call)
            result = text_of(message.content or "")
            out.append({"role": "tool", "content": result, "tool_call_id": message.tool_call_id, "name": call[1]})
            if not calls:
                out, late = [*out, *late], []
        elif isinstance(message, AssistantMessage):
            _check_answered(calls, where)
            out.append(_assistant(message))
            calls = [(call.id, call.function.name) for call in message.tool_calls or ()]
        else:
            role = "system" if message.role == "developer" else message.role
            (late if calls else out).append({"role": role, "content": text_of(message.content or "")})
    _check_answered(calls, "messages")
    return out


def _check_answered(calls: list[tuple[str, str]], where: str) -> None:
    if calls:
        missing = ", ".join(id or name for id, name in calls)
        text = f"the calls {missing} have no tool message that answers them"
        raise ApiError(400, text, where, "missing_tool_result")


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    """One that says nothing is what is left of an answer that ended at once."""
    reasoning = message.reasoning if message.reasoning_content is None else message.reasoning_content
    content = message.refusal or "" if message.content is None else text_of(message.content)
    out: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning is not None:
        out["reasoning_content"] = reasoning
    if message.tool_calls:
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": arguments_of(call.function.arguments)},
            }
            for call in message.tool_calls
        ]
    return out


def arguments_of(text: str | dict[str, Any]) -> dict[str, Any] | str:
    """A call's arguments; the text itself where max_tokens has cut it: no later request shall fail for that."""
    if isinstance(text, dict):
        return text
    value = loads_object(text or "{}")
    return text if value is None else value


def loads_object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(content: Content) -> str:
    """Text parts joined."""
    if isinstance(content, str):
        return content
    return "".join(part.refusal if isinstance(part, RefusalPart) else part.text for part in content)

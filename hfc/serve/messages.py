"""Chat messages as clients send them, checked, and as templates want them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hfc.serve.errors import ApiError
from hfc.serve.parameters import Strict

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]


class TextPart(Strict):
    type: Literal["text"]
    text: str


class RefusalPart(Strict):
    type: Literal["refusal"]
    refusal: str


class MediaPart(BaseModel):
    """Known, so that the refusal can say why."""

    model_config = ConfigDict(extra="allow")
    type: Literal["image_url", "input_audio", "file", "video_url"]


Part = Annotated[TextPart | RefusalPart | MediaPart, Field(discriminator="type")]
Content = str | Annotated[list[Part], Field(min_length=1)]


class FunctionCall(Strict):
    """arguments: a JSON object as text."""

    name: Name
    arguments: str


class ToolCall(Strict):
    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class UserMessage(Strict):
    role: Literal["user"]
    content: Content
    name: str | None = None


class AssistantMessage(Strict):
    role: Literal["assistant"]
    content: Content | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] | None = None


class ToolMessage(Strict):
    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(min_length=1)]
    name: str | None = None


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]
Messages = Annotated[list[Message], Field(min_length=1)]


def template_messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Plain dicts with text contents; ApiError 400 for a history that cannot have happened."""
    out: list[dict[str, Any]] = []
    open_calls: dict[str, str] = {}  # id -> function name, of calls that wait for a result
    for i, message in enumerate(messages):
        where = f"messages.{i}"
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in open_calls:
                raise ApiError(
                    400,
                    f"tool_call_id {message.tool_call_id!r} answers no call of the message before",
                    f"{where}.tool_call_id",
                )
            name = open_calls.pop(message.tool_call_id)
            out.append(
                {
                    "role": "tool",
                    "content": text_of(message.content, where),
                    "tool_call_id": message.tool_call_id,
                    "name": name,
                }
            )
            continue
        if open_calls:
            missing = ", ".join(open_calls)
            raise ApiError(
                400, f"the calls {missing} have no tool message that answers them", where, "missing_tool_result"
            )
        if isinstance(message, AssistantMessage):
            out.append(_assistant(message, where))
            open_calls = {call.id: call.function.name for call in message.tool_calls or ()}
            if len(open_calls) != len(message.tool_calls or ()):
                raise ApiError(400, "two tool calls have the same id", f"{where}.tool_calls")
        else:
            role = "system" if message.role == "developer" else message.role
            out.append({"role": role, "content": text_of(message.content, where)})
    if open_calls:
        raise ApiError(
            400,
            f"the calls {', '.join(open_calls)} have no tool message that answers them",
            "messages",
            "missing_tool_result",
        )
    return out


def _assistant(message: AssistantMessage, where: str) -> dict[str, Any]:
    if message.content is None and not message.tool_calls and message.refusal is None:
        raise ApiError(400, "an assistant message needs content or tool_calls", f"{where}.content")
    content = message.refusal or "" if message.content is None else text_of(message.content, where)
    out: dict[str, Any] = {"role": "assistant", "content": content}
    if message.reasoning_content is not None:
        out["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        out["tool_calls"] = [
            {
                "id": c.id,
                "type": "function",
                "function": {"name": c.function.name, "arguments": _arguments(c, f"{where}.tool_calls.{i}")},
            }
            for i, c in enumerate(message.tool_calls)
        ]
    return out


def _arguments(call: ToolCall, where: str) -> dict[str, Any]:
    value = loads_object(call.function.arguments or "{}")
    if value is None:
        raise ApiError(
            400,
            f"the arguments of {call.function.name} are not a JSON object",
            f"{where}.function.arguments",
            "invalid_value",
        )
    return value


def loads_object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(content: Content, where: str) -> str:
    """Text parts joined; media are refused."""
    if isinstance(content, str):
        return content
    texts = []
    for i, part in enumerate(content):
        if isinstance(part, MediaPart):
            raise ApiError(
                400, f"this model reads text only, not {part.type}", f"{where}.content.{i}", "unsupported_content"
            )
        texts.append(part.refusal if isinstance(part, RefusalPart) else part.text)
    return "".join(texts)

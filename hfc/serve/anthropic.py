"""A request of `/v1/messages` as an Ask: blocks of turns to messages as templates want them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hfc.serve.chat import Ask
from hfc.serve.dialects import MESSAGES, TEXT_ONLY
from hfc.serve.errors import ApiError
from hfc.serve.history import without_neighbours
from hfc.serve.log import log_once
from hfc.serve.messages import Name, arguments_of
from hfc.serve.parameters import Count, SamplingFields, StopText, Text
from hfc.serve.tolerance import Tolerant, listed, refusal
from hfc.serve.tools import MOST_TOOLS

ATTRIBUTIONS = ("x-anthropic-billing-header:",)


class TextBlock(Tolerant, dialect=MESSAGES, noun="block"):
    type: Literal["text"]
    text: str


class DocumentBlock(Tolerant, dialect=MESSAGES, noun="block"):
    """A document whose source is text; a PDF is none."""

    type: Literal["document"]
    source: dict[str, Any]
    title: str | None = None
    context: str | None = None

    @field_validator("source")
    @classmethod
    def _is_text(cls, source: dict[str, Any]) -> dict[str, Any]:
        """{"type": "text", "data": a text} or {"type": "content", "content": a text or blocks of text}."""
        inner = source.get("content")
        parts = inner if isinstance(inner, list) else [{"type": "text", "text": inner}]
        is_plain = source.get("type") == "text" and isinstance(source.get("data"), str)
        is_parts = source.get("type") == "content" and all(
            isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in parts
        )
        if not (is_plain or is_parts):
            raise refusal(TEXT_ONLY, "type", "unsupported_content")
        return {"data": source["data"] if is_plain else "\n".join(p["text"] for p in parts)}

    @property
    def text(self) -> str:
        return "\n".join(filter(None, (self.title, self.context, self.source["data"])))


class SearchResult(Tolerant, dialect=MESSAGES, noun="block"):
    type: Literal["search_result"]
    source: str
    title: str
    content: listed(MESSAGES, "block", {"text": TextBlock})

    @property
    def text(self) -> str:
        return "\n".join((self.title, self.source, _text(self.content)))


TEXTS = {"text": TextBlock, "document": DocumentBlock, "search_result": SearchResult}


class ToolUse(Tolerant, dialect=MESSAGES, noun="block"):
    """name: what a model has called, whether there is such a tool or not.  input: a text is what came of one that was cut."""

    type: Literal["tool_use"]
    id: Text
    name: Text
    input: dict[str, Any] | str = ""


class ToolResult(Tolerant, dialect=MESSAGES, noun="block"):
    type: Literal["tool_result"]
    tool_use_id: Text
    content: str | listed(MESSAGES, "block", TEXTS) | None = None
    is_error: bool | None = None


class ThinkingBlock(Tolerant, dialect=MESSAGES, noun="block"):
    type: Literal["thinking"]
    thinking: str


class UserTurn(Tolerant, dialect=MESSAGES, noun="turn"):
    role: Literal["user"]
    content: str | listed(MESSAGES, "block", {**TEXTS, "tool_result": ToolResult})


class AssistantTurn(Tolerant, dialect=MESSAGES, noun="turn"):
    role: Literal["assistant"]
    content: str | listed(MESSAGES, "block", {"text": TextBlock, "tool_use": ToolUse, "thinking": ThinkingBlock})


class SystemTurn(Tolerant, dialect=MESSAGES, noun="turn"):
    """Claude Code puts reminders between turns."""

    role: Literal["system"]
    content: str | listed(MESSAGES, "block", {"text": TextBlock})


Turn = Annotated[UserTurn | AssistantTurn | SystemTurn, Field(discriminator="role")]


class AnthropicTool(Tolerant, dialect=MESSAGES, noun="tool"):
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


class ToolChoice(Tolerant, dialect=MESSAGES, noun="choice"):
    type: Literal["auto", "any", "none", "tool"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(Tolerant, dialect=MESSAGES, noun="thinking"):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Count | None = None


class OutputFormat(Tolerant, dialect=MESSAGES, noun="format"):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Tolerant, dialect=MESSAGES, noun="output_config"):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountRequest(SamplingFields, dialect=MESSAGES):
    """What of a request makes its prompt. output_format: the older name of output_config.format."""

    model: str | None = None
    messages: Annotated[list[Turn], Field(min_length=1, fail_fast=True)]
    system: str | listed(MESSAGES, "block", {"text": TextBlock}) | None = None
    tools: (
        Annotated[listed(MESSAGES, "tool", {"custom": AnthropicTool}, usual="custom"), Field(max_length=MOST_TOOLS)]
        | None
    ) = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    stop_sequences: Annotated[list[StopText], Field(max_length=16)] | None = None
    max_tokens: Count | None = None

    def stop_texts(self) -> tuple[str, ...]:
        return (*super().stop_texts(), *filter(None, self.stop_sequences or ()))

    def ask(self) -> Ask:
        choice = self.tool_choice or ToolChoice(type="auto")
        if choice.type == "tool" and choice.name is None:
            raise ApiError(400, "tool_choice: a tool needs its name", "tool_choice.name")
        format = (self.output_config and self.output_config.format) or self.output_format
        return Ask(
            self._messages(),
            self,
            [{"type": "function", "function": t.function()} for t in self.tools or ()],
            {"any": "required", "tool": choice.name or ""}.get(choice.type, choice.type),
            not choice.disable_parallel_tool_use,
            {"type": "json_schema", "schema": format.schema_, "param": "output_config.format.schema"}
            if format
            else None,
            max_tokens=self.max_tokens,
            effort=self._effort(),
            thinking_budget=self.thinking.budget_tokens if self.thinking else None,
            truncates=self.truncation == "auto",
        )

    def _effort(self) -> str | None:
        """ "adaptive" leaves it to the template."""
        if self.thinking and self.thinking.type == "disabled":
            return "none"
        if self.output_config and self.output_config.effort:
            return "xhigh" if self.output_config.effort == "max" else self.output_config.effort
        return "high" if self.thinking and self.thinking.type == "enabled" else None

    def _messages(self) -> list[dict[str, Any]]:
        """As templates want them. ApiError 400 for results without calls and calls without results."""
        out: list[dict[str, Any]] = []
        if system := without_attribution(_text(self.system or "")):
            out.append({"role": "system", "content": system})
        calls: dict[str, str] = {}
        late: list[dict[str, Any]] = []  # reminders between calls and their results
        for i, turn in enumerate(self.messages):
            where = f"messages.{i}"
            blocks = [TextBlock(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content
            if isinstance(turn, SystemTurn):
                (late if calls else out).append({"role": "system", "content": _text(blocks)})
                continue
            if isinstance(turn, AssistantTurn):
                said = _assistant(blocks)
                if calls and out[-1]["role"] == "assistant":  # neighbouring turns are one
                    out[-1] = without_neighbours([out[-1], said])[0]
                else:
                    _check_answered(calls, where)
                    out.append(said)
                calls |= {b.id: b.name for b in blocks if isinstance(b, ToolUse)}
                continue
            out += _results([b for b in blocks if isinstance(b, ToolResult)], calls, where)
            if texts := [b for b in blocks if not isinstance(b, ToolResult)]:
                late.append({"role": "user", "content": _text(texts)})
            if not calls:  # neighbouring turns of the user's are one, so more results may come
                out, late = [*out, *late], []
        _check_answered(calls, "messages")
        return out


class MessagesRequest(CountRequest, dialect=MESSAGES):
    """Anthropic's request, and hfc's sampling fields."""

    max_tokens: Annotated[int, Field(ge=0, le=1 << 30, description="0: the prompt is computed, for the cache.")]
    stream: bool | None = None


def without_attribution(system: str) -> str:
    """A system prompt less what a client tells its provider's accounts: it changes with every request, so that nothing after it
    would be found in the prefix cache."""
    lines = system.split("\n")
    kept = [line for line in lines if not line.startswith(ATTRIBUTIONS)]
    if len(kept) < len(lines):
        log_once("/v1/messages: an attribution line of the system prompt has no effect here and is left out")
    return "\n".join(kept)


def _results(blocks: list[ToolResult], calls: dict[str, str], where: str) -> list[dict[str, Any]]:
    """Tool messages; takes what they answer out of `calls`."""
    out = []
    for block in blocks:
        if block.tool_use_id not in calls:
            raise ApiError(400, f"tool_use_id {block.tool_use_id!r} is no call of the turn before", where)
        name = calls.pop(block.tool_use_id)
        result = _text(block.content or "")
        out.append({"role": "tool", "content": result, "tool_call_id": block.tool_use_id, "name": name})
    return out


def _text(content: str | list[TextBlock | DocumentBlock | SearchResult]) -> str:
    return content if isinstance(content, str) else "\n".join(b.text for b in content)


def _assistant(blocks: list[Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"role": "assistant", "content": _text([b for b in blocks if isinstance(b, TextBlock)])}
    if thoughts := [b.thinking for b in blocks if isinstance(b, ThinkingBlock)]:
        out["reasoning_content"] = "\n".join(thoughts)
    uses = [b for b in blocks if isinstance(b, ToolUse)]
    if uses:
        out["tool_calls"] = [
            {"id": b.id, "type": "function", "function": {"name": b.name, "arguments": arguments_of(b.input)}}
            for b in uses
        ]
    return out


def _check_answered(calls: dict[str, str], where: str) -> None:
    if calls:
        raise ApiError(400, f"the calls {', '.join(calls)} have no tool_result", where, "missing_tool_result")

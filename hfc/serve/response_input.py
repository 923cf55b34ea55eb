"""A request of `/v1/responses` as an Ask: items to messages, in the order that templates know."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from hfc.serve.chat import Ask
from hfc.serve.dialects import RESPONSES
from hfc.serve.errors import ApiError
from hfc.serve.messages import Name, arguments_of
from hfc.serve.parameters import Count, SamplingFields, Text
from hfc.serve.tolerance import Tolerant, listed
from hfc.serve.tools import MOST_TOOLS, allowed, chosen


class ResponseTextPart(Tolerant, dialect=RESPONSES, noun="part"):
    text: str


class ResponseRefusalPart(Tolerant, dialect=RESPONSES, noun="part"):
    refusal: str


LOGPROBS = "message.output_text.logprobs"  # in `include`
PARTS = {**dict.fromkeys(("input_text", "output_text", "text"), ResponseTextPart), "refusal": ResponseRefusalPart}
Parts = listed(RESPONSES, "part", PARTS)


class MessageItem(Tolerant, dialect=RESPONSES, noun="item"):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Parts


class CallItem(Tolerant, dialect=RESPONSES, noun="item"):
    type: Literal["function_call"]
    call_id: str
    name: Text
    arguments: str | dict[str, Any] = ""


class CustomCallItem(Tolerant, dialect=RESPONSES, noun="item"):
    """A call whose argument is a text: in the history of an agent that another model has had such tools with."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: Text
    input: str = ""

    @property
    def arguments(self) -> str:
        return json.dumps({"input": self.input})


class ResultItem(Tolerant, dialect=RESPONSES, noun="item"):
    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: str | Parts | None = None


class ReasoningItem(Tolerant, dialect=RESPONSES, noun="reasoning"):
    """A thought of an earlier answer: templates show it again while the same task goes on. What is encrypted cannot be read here."""

    type: Literal["reasoning"]
    content: listed(RESPONSES, "part", {"reasoning_text": ResponseTextPart}) | None = None


ITEMS = {
    "message": MessageItem,
    "function_call": CallItem,
    "function_call_output": ResultItem,
    "custom_tool_call": CustomCallItem,
    "custom_tool_call_output": ResultItem,
    "reasoning": ReasoningItem,
}


class FunctionTool(Tolerant, dialect=RESPONSES, noun="tool"):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Tolerant, dialect=RESPONSES, noun="choice"):
    type: Literal["function"]
    name: Name


class AllowedFunctions(Tolerant, dialect=RESPONSES, noun="choice"):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1, max_length=MOST_TOOLS)]


def _chosen(choice: Any) -> Any:
    """A chat's forms too."""
    plain = chosen(choice)
    return {"type": "function", **plain["function"]} if isinstance(plain, dict) and "function" in plain else plain


def _flat(tools: Any) -> Any:
    """A chat's tools too."""
    if not isinstance(tools, list):
        return tools
    return [
        {"type": "function", **tool["function"]}
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
        else tool
        for tool in tools
    ]


class ResponseTextFormat(Tolerant, dialect=RESPONSES, noun="format"):
    type: Literal["text", "json_object"]


class SchemaFormat(Tolerant, dialect=RESPONSES, noun="format"):
    type: Literal["json_schema"]
    name: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Tolerant, dialect=RESPONSES, noun="text"):
    format: Annotated[ResponseTextFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: str | None = None


class ReasoningConfig(Tolerant, dialect=RESPONSES, noun="reasoning"):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


class ResponsesRequest(SamplingFields, dialect=RESPONSES):
    """OpenAI's request, and hfc's sampling fields; what needs stored responses is refused."""

    model: str | None = None
    input: str | Annotated[listed(RESPONSES, "item", ITEMS, usual="message"), Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    stream: bool | None = None
    tools: (
        Annotated[
            listed(RESPONSES, "tool", {"function": FunctionTool}), Field(max_length=MOST_TOOLS), BeforeValidator(_flat)
        ]
        | None
    ) = None
    tool_choice: (
        Annotated[Literal["none", "auto", "required"] | NamedFunction | AllowedFunctions, BeforeValidator(_chosen)]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    metadata: dict[str, Any] | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    timings_per_token: bool | None = Field(None, description="llama-server's: tell how fast the answer is written.")
    return_progress: bool | None = Field(None, description="llama-server's: tell in a stream how far the prompt is.")

    def ask(self) -> Ask:
        format = self.text.format if self.text else None
        wanted = None
        if isinstance(format, SchemaFormat):
            wanted = {
                "type": "json_schema",
                "schema": format.schema_,
                "strict": format.strict,
                "param": "text.format.schema",
            }
        elif format is not None and format.type == "json_object":
            wanted = {"type": "json_schema", "schema": {"type": "object"}}
        tools = [
            {"type": "function", "function": t.model_dump(exclude={"type"}, exclude_none=True)}
            for t in self.tools or ()
        ]
        choice = self.tool_choice
        if isinstance(choice, AllowedFunctions):
            tools, choice = allowed(tools, [named.name for named in choice.tools]), choice.mode
        elif isinstance(choice, NamedFunction):
            choice = choice.name
        return Ask(
            self._messages(),
            self,
            tools,
            choice or "auto",
            self.parallel_tool_calls is not False,
            wanted,
            self.max_output_tokens,
            logprobs=(self.top_logprobs or 0) if self.wants_logprobs else None,
            effort=self._effort(),
            truncates=self.truncation == "auto",
            param="input",
            continues=False,
            tells_progress=bool(self.stream and self.return_progress),
        )

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.top_logprobs) or LOGPROBS in (self.include or ())

    def _effort(self) -> str | None:
        effort = self.reasoning.effort if self.reasoning else None
        return "xhigh" if effort == "max" else effort

    def _messages(self) -> list[dict[str, Any]]:
        """Neighbouring calls belong to one message, with the thought before them, and what stands between a call and its output follows
        the output. ApiError 400 for a history that cannot have happened."""
        items = [MessageItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        out: list[dict[str, Any]] = [{"role": "system", "content": self.instructions}] if self.instructions else []
        calls: dict[str, str] = {}
        late: list[dict[str, Any]] = []
        thought = ""  # of the assistant's next message
        for i, item in enumerate(items):
            where = f"input.{i}"
            if isinstance(item, (CallItem, CustomCallItem)):
                if not out or out[-1]["role"] != "assistant":
                    out.append({"role": "assistant", "content": ""})
                thought = _give_thought(out[-1], thought)
                call = {"name": item.name, "arguments": arguments_of(item.arguments)}
                out[-1].setdefault("tool_calls", []).append({"id": item.call_id, "type": "function", "function": call})
                calls[item.call_id] = item.name
            elif isinstance(item, ResultItem):
                if item.call_id not in calls:
                    raise ApiError(400, f"call_id {item.call_id!r} answers no call before", f"{where}.call_id")
                name = calls.pop(item.call_id)
                out.append(
                    {"role": "tool", "content": _text(item.output or ""), "tool_call_id": item.call_id, "name": name}
                )
                if not calls:
                    out, late = [*out, *late], []
            elif isinstance(item, MessageItem):
                role = "system" if item.role == "developer" else item.role
                place = late if calls else out
                place.append({"role": role, "content": _text(item.content)})
                thought = _give_thought(place[-1], thought)
            else:
                thought += _text(item.content or "")
        if calls:
            raise ApiError(400, f"the calls {', '.join(calls)} have no output", "input", "missing_tool_result")
        if not out:
            raise ApiError(400, "the input has no messages", "input", "invalid_value")
        return out


def _give_thought(message: dict[str, Any], thought: str) -> str:
    """To a message of the assistant's; what is left of it is nobody's before another's message."""
    if thought and message["role"] == "assistant":
        message["reasoning_content"] = message.get("reasoning_content", "") + thought
    return ""


def _text(content: str | list[ResponseTextPart | ResponseRefusalPart]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.refusal if isinstance(part, ResponseRefusalPart) else part.text for part in content)

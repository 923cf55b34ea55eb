"""Requests of Ollama's API as Asks, and its answers: fields, lines and durations."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import Field

from hfc.serve.chat import Ask
from hfc.serve.dialects import OLLAMA
from hfc.serve.errors import ApiError
from hfc.serve.messages import Name, loads_object
from hfc.serve.output import ParsedMessage as Answered
from hfc.serve.parameters import SEED_LIMIT, SamplingFields, Stops, Temperature, Text
from hfc.serve.sequence import Sequence
from hfc.serve.tolerance import Tolerant, listed
from hfc.serve.tools import MOST_TOOLS

NS = 1_000_000_000
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


class Options(Tolerant, dialect=OLLAMA, noun="options"):
    """num_predict: -1 and -2 are no limit."""

    num_predict: Annotated[int, Field(ge=-2, le=1 << 30)] | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 30)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=1 << 30)] | None = None
    seed: Annotated[int, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT)] | None = None
    stop: Stops | None = None

    def fields(self, truncates: bool) -> SamplingFields:
        given = self.model_dump(exclude={"num_predict"}, exclude_none=True)
        return SamplingFields(**given, truncation="auto" if truncates else None)

    @property
    def max_tokens(self) -> int | None:
        return None if self.num_predict is None else max(self.num_predict, -1)


class OllamaFunction(Tolerant, dialect=OLLAMA, noun="function"):
    name: Text
    arguments: dict[str, Any] | str = Field(default_factory=dict)


class OllamaCall(Tolerant, dialect=OLLAMA, noun="call"):
    id: str | None = None
    function: OllamaFunction


class ToolFunction(Tolerant, dialect=OLLAMA, noun="function"):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None


class OllamaTool(Tolerant, dialect=OLLAMA, noun="tool"):
    type: Literal["function"] = "function"
    function: ToolFunction


class OllamaMessage(Tolerant, dialect=OLLAMA, noun="message"):
    """tool_name: whose result a tool's message is; results answer the calls before in their order, or by tool_call_id."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    tool_calls: list[OllamaCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ModelRequest(Tolerant, dialect=OLLAMA):
    """keep_alive: seconds or "5m" until the model may be unloaded; negative: never, 0: at once."""

    model: Text | None = None
    keep_alive: float | str | None = None

    def keep_s(self) -> float | None:
        """None: as the server was told. ApiError 400 for no duration."""
        return None if self.keep_alive is None else seconds_of(self.keep_alive)


class AskRequest(ModelRequest, dialect=OLLAMA):
    """What chats and texts share. format: "json" or a schema.  think: whether, or how much."""

    stream: bool | None = None
    options: Options = Field(default_factory=Options)
    format: Literal["", "json"] | dict[str, Any] | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    truncate: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def effort(self) -> str | None:
        if isinstance(self.think, str):
            return "xhigh" if self.think == "max" else self.think
        return None if self.think is None else "high" if self.think else "none"

    def alternatives(self) -> int | None:
        """Whose log probabilities are told beside each token's; None for none at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def response_format(self) -> dict[str, Any] | None:
        if not self.format:
            return None
        schema = {"type": "object"} if self.format == "json" else self.format
        return {"type": "json_schema", "schema": schema, "param": "format"}

    def ask_of(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], param: str) -> Ask:
        return Ask(
            messages,
            self.options.fields(self.truncate is not False),
            tools,
            response_format=self.response_format(),
            max_tokens=self.options.max_tokens,
            logprobs=self.alternatives(),
            effort=self.effort(),
            truncates=self.truncate is not False,
            param=param,
        )


class OllamaChatRequest(AskRequest, dialect=OLLAMA):
    messages: list[OllamaMessage] = Field(default_factory=list)
    tools: (
        Annotated[listed(OLLAMA, "tool", {"function": OllamaTool}, usual="function"), Field(max_length=MOST_TOOLS)]
        | None
    ) = None

    def ask(self) -> Ask:
        tools = [tool.model_dump(exclude_none=True) for tool in self.tools or ()]
        return self.ask_of(template_messages(self.messages), tools, "messages")


class GenerateRequest(AskRequest, dialect=OLLAMA):
    """raw: the prompt stands as it is, without the template."""

    prompt: str = ""
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None

    def ask(self) -> Ask:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self.ask_of([*system, {"role": "user", "content": self.prompt}], [], "prompt")


def template_messages(messages: list[OllamaMessage]) -> list[dict[str, Any]]:
    """As templates want them, calls and results with ids. A result may stand alone, as clients cut long histories."""
    out: list[dict[str, Any]] = []
    open_calls: dict[str, str] = {}
    for i, message in enumerate(messages):
        if message.role == "tool":
            found = _answered(message, open_calls) or f"call_{i}"
            name = open_calls.pop(found, message.tool_name or "tool")
            out.append({"role": "tool", "content": message.content, "tool_call_id": found, "name": name})
            continue
        role = "system" if message.role == "developer" else message.role
        entry: dict[str, Any] = {"role": role, "content": message.content}
        if message.thinking:
            entry["reasoning_content"] = message.thinking
        if message.tool_calls:
            calls = [(call.id or f"call_{i}_{j}", call.function) for j, call in enumerate(message.tool_calls)]
            entry["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": f.name, "arguments": f.arguments}}
                for id, f in calls
            ]
            open_calls = {id: f.name for id, f in calls}
        out.append(entry)
    return out


def _answered(message: OllamaMessage, open_calls: dict[str, str]) -> str | None:
    """The call that a result answers: by id, by name, or the first."""
    if message.tool_call_id in open_calls:
        return message.tool_call_id
    same = (id for id, name in open_calls.items() if message.tool_name in (None, name))
    return next(same, None)


def seconds_of(text: float | str) -> float:
    """A number of seconds, or a duration as Go writes it ("1h30m"). ApiError 400."""
    if not isinstance(text, str):
        return float(text)
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        return float(text)
    except ValueError as error:
        raise ApiError(400, f"keep_alive {text!r} is no duration; write seconds or 5m", "keep_alive") from error


def now() -> str:
    return at(time.time())


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def calls_of(answered: Answered) -> list[dict[str, Any]]:
    """Arguments are objects here; those of a call that was cut are what came of them."""
    return [
        {"id": c.id, "function": {"index": i, "name": c.name, "arguments": loads_object(c.arguments) or {}}}
        for i, c in enumerate(answered.calls)
    ]


def ending(sequence: Sequence, reason: str, began_s: float, loaded_s: float) -> dict[str, Any]:
    """The counts of a last line. began_s, loaded_s: on the monotonic clock, when the request came and when its model was there."""
    end_s, usage = time.monotonic(), sequence.usage
    queued_s = sequence.submitted_s + usage.timings.get("queue_s", 0.0)
    first_s = sequence.submitted_s + usage.timings.get("first_token_s", end_s - sequence.submitted_s)
    return {
        "done": True,
        "done_reason": "length" if reason == "length" else "stop",
        "total_duration": _ns(end_s - began_s),
        "load_duration": _ns(loaded_s - began_s),
        "prompt_eval_count": usage.prompt,
        "prompt_eval_duration": _ns(first_s - queued_s),
        "eval_count": usage.completion,
        "eval_duration": _ns(max(sequence.last_token_s, first_s) - first_s),
    }


def _ns(seconds: float) -> int:
    return max(0, round(seconds * NS))

"""The text of an answer as deltas: reasoning, content and tool calls, while it streams."""

from __future__ import annotations

from dataclasses import field
from typing import NamedTuple, Protocol

from hfc.base.dataclass import dataclass
from hfc.serve.job import Logprob
from hfc.serve.reasoning import ReasoningSplit


class Delta(NamedTuple):
    """kind: "content" | "reasoning" | "call" (a tool call begins: id, name) | "arguments" (a piece of its JSON).

    index: which call."""

    kind: str
    text: str = ""
    index: int = 0
    id: str = ""
    name: str = ""


class ToolParser(Protocol):
    """Content that may hold tool calls, to deltas."""

    def push(self, text: str) -> list[Delta]: ...

    def close(self) -> list[Delta]:
        """What was held back; a call that never ended is content."""
        ...


@dataclass
class ParsedCall:
    id: str
    name: str
    arguments: str = ""


@dataclass
class ParsedMessage:
    """All deltas of an answer put together."""

    content: str = ""
    reasoning: str = ""
    calls: list[ParsedCall] = field(default_factory=list)

    def add(self, delta: Delta) -> None:
        if delta.kind == "content":
            self.content += delta.text
        elif delta.kind == "reasoning":
            self.reasoning += delta.text
        elif delta.kind == "call":
            self.calls.append(ParsedCall(delta.id, delta.name))
        else:
            self.calls[delta.index].arguments += delta.text


class Output:
    """One answer. `message` is what came so far; `logprobs` those of its tokens that nobody took yet, each with whether it belongs to
    the thought."""

    def __init__(
        self,
        reasoning_is_open: bool,
        tools: ToolParser | None = None,
        may_open: bool = True,
        close_id: int | None = None,
    ):
        """may_open, close_id: as of a Thought."""
        self._split = ReasoningSplit(reasoning_is_open, may_open, close_id is not None)
        self._tools, self._close_id = tools, close_id
        self.message = ParsedMessage()
        self.logprobs: list[tuple[Logprob, bool]] = []

    def take_logprobs(self) -> list[tuple[Logprob, bool]]:
        taken, self.logprobs = self.logprobs, []
        return taken

    @property
    def is_reasoning(self) -> bool:
        return self._split.is_open

    def push(self, text: str, token: int | None = None) -> list[Delta]:
        if token is not None and token == self._close_id:
            self._split.close_token()
        return self._deltas(*self._split.push(text))

    def close(self) -> list[Delta]:
        deltas = self._deltas(*self._split.close())
        for delta in self._tools.close() if self._tools else []:
            self.message.add(delta)
            deltas.append(delta)
        return deltas

    def _deltas(self, reasoning: str, content: str) -> list[Delta]:
        deltas = [Delta("reasoning", reasoning)] if reasoning else []
        if content:
            deltas += self._tools.push(content) if self._tools else [Delta("content", content)]
        for delta in deltas:
            self.message.add(delta)
        return deltas

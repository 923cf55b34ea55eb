"""Deltas of an answer as the output items of `/v1/responses`, and the events that build them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from hfc.serve.output import Delta

Events = list[dict[str, Any]]
PREFIX = {"content": "msg_", "reasoning": "rs_", "call": "fc_"}


class Items:
    """items: what is there so far; a new one begins when the kind of delta changes, or with each call."""

    def __init__(self):
        self.items: list[dict[str, Any]] = []
        self._kind: str | None = None

    def push(self, delta: Delta, logprobs: Sequence[dict[str, Any]] = ()) -> Events:
        """logprobs: of the tokens of a delta of the content."""
        kind = "call" if delta.kind == "arguments" else delta.kind
        events: Events = []
        if delta.kind == "call" or kind != self._kind:
            events += self._end(is_whole=True)
            events += self._begin(kind, delta)
        if delta.kind != "call":
            events.append(self._more(delta.text, logprobs))
        return events

    def close(self, is_whole: bool) -> Events:
        """The end of the last item; an answer without any gets an empty message."""
        events = [] if self.items else self._begin("content", Delta("content"))
        return events + self._end(is_whole)

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}

    def _begin(self, kind: str, delta: Delta) -> Events:
        self._kind = kind
        item: dict[str, Any] = {"id": PREFIX[kind] + secrets.token_hex(12), "status": "in_progress"}
        if kind == "call":
            item |= {"type": "function_call", "call_id": delta.id, "name": delta.name, "arguments": ""}
        elif kind == "content":
            item |= {"type": "message", "role": "assistant", "content": []}
        else:
            item |= {"type": "reasoning", "summary": [], "content": []}
        self.items.append(item)
        events: Events = [
            {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": _copy(item)}
        ]
        if kind != "call":
            item["content"] = [_part(kind)]
            events.append(
                {"type": "response.content_part.added", **self._place, "content_index": 0, "part": _part(kind)}
            )
        return events

    def _more(self, text: str, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        item = self.items[-1]
        if self._kind == "call":
            item["arguments"] += text
            return {"type": "response.function_call_arguments.delta", **self._place, "delta": text}
        item["content"][0]["text"] += text
        if self._kind == "reasoning":
            return {"type": "response.reasoning_text.delta", **self._place, "content_index": 0, "delta": text}
        item["content"][0]["logprobs"] += logprobs
        event = {"type": "response.output_text.delta", **self._place, "content_index": 0, "delta": text}
        return {**event, "logprobs": list(logprobs)}

    def _end(self, is_whole: bool) -> Events:
        if self._kind is None:
            return []
        item, events = self.items[-1], []
        item["status"] = "completed" if is_whole else "incomplete"
        if self._kind == "call":
            done = {"name": item["name"], "arguments": item["arguments"]}
            events.append({"type": "response.function_call_arguments.done", **self._place, **done})
        else:
            (part,) = item["content"]
            named = "output_text" if self._kind == "content" else "reasoning_text"
            more = {"logprobs": part["logprobs"]} if self._kind == "content" else {}
            events.append(
                {"type": f"response.{named}.done", **self._place, "content_index": 0, "text": part["text"], **more}
            )
            events.append({"type": "response.content_part.done", **self._place, "content_index": 0, "part": dict(part)})
        events.append({"type": "response.output_item.done", "output_index": len(self.items) - 1, "item": _copy(item)})
        self._kind = None
        return events


def _part(kind: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": ""}
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _copy(item: dict[str, Any]) -> dict[str, Any]:
    """As it is now: the item goes on growing."""
    return {k: [dict(part) for part in v] if k == "content" else v for k, v in item.items()}

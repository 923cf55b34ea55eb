"""A chat's history put another way where a checkpoint's template refuses it as it is: some take one system message, some want roles
to alternate, some know no tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.serve.toolparse import CLOSE, OPEN

Message = Mapping[str, Any]
Messages = Sequence[Message]


def accepted(messages: Messages, render: Callable[[Messages], str]) -> tuple[Messages, str, HfcError | None]:
    """The first form of a history that `render` takes: the form, its text, what was said of it as it is (None if that went well).
    HfcError, that of the history as it is, when no form does."""
    try:
        return messages, render(messages), None
    except HfcError as error:
        refusal = error
    for form in forms(messages):
        try:
            return form, render(form), refusal
        except HfcError:
            continue
    raise refusal


def forms(messages: Messages) -> Iterator[Messages]:
    """From the least changed on; each changes something."""
    one_system = with_one_system(messages)
    merged = without_neighbours(one_system)
    whole_calls = without_cut_calls(merged)
    as_text = with_calls_as_text(one_system)
    seen = [list(messages)]
    for form in (
        one_system,
        merged,
        whole_calls,
        without_neighbours(without_system(whole_calls)),
        without_neighbours(as_text),
        without_neighbours(without_system(as_text)),
    ):
        if form not in seen:
            seen.append(form)
            yield form


def with_one_system(messages: Messages) -> list[Message]:
    """All system messages as the first."""
    systems = [m["content"] for m in messages if m["role"] == "system"]
    others = [m for m in messages if m["role"] != "system"]
    return [{"role": "system", "content": "\n\n".join(systems)}, *others] if systems else others


def without_system(messages: Messages) -> list[Message]:
    """The system message as the beginning of the first user's."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    first, rest = messages[0], list(messages[1:])
    if rest and rest[0]["role"] == "user":
        return [{**rest[0], "content": _joined(first["content"], rest[0]["content"])}, *rest[1:]]
    return [{"role": "user", "content": first["content"]}, *rest]


def without_neighbours(messages: Messages) -> list[Message]:
    """Neighbours of one role as one message; results stay apart, as each answers a call of its own."""
    runs: list[list[Message]] = []
    for message in messages:
        if not runs or runs[-1][0]["role"] != message["role"] or message["role"] == "tool":
            runs.append([])
        runs[-1].append(message)
    return [_as_one(run) for run in runs]


def _as_one(run: list[Message]) -> Message:
    if len(run) == 1:
        return run[0]
    one: dict[str, Any] = {}
    for message in run:
        one |= message
    one["content"] = _joined(*(message["content"] for message in run))
    if calls := [call for message in run for call in message.get("tool_calls", ())]:
        one["tool_calls"] = calls
    return one


def without_cut_calls(messages: Messages) -> list[Message]:
    """Calls whose arguments are no object, as text of their message."""
    out: list[Message] = []
    for message in messages:
        calls = message.get("tool_calls", ())
        cut = [c for c in calls if isinstance(c["function"]["arguments"], str)]
        if cut:
            kept = [c for c in calls if c not in cut]
            message = {k: v for k, v in message.items() if k != "tool_calls"} | ({"tool_calls": kept} if kept else {})
            message["content"] = _joined(message["content"], *map(call_text, cut))
        out.append(message)
    return out


def with_calls_as_text(messages: Messages) -> list[Message]:
    """Calls and results as text of the assistant and the user, for a template that knows neither."""
    out: list[Message] = []
    for message in messages:
        if message["role"] == "tool":
            out.append({"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"})
            continue
        calls = [call_text(call) for call in message.get("tool_calls", ())]
        out.append({"role": message["role"], "content": _joined(message["content"], *calls, between="\n")})
    return out


def call_text(call: Mapping[str, Any]) -> str:
    """As Hermes writes it; arguments that max_tokens has cut stay so."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    if isinstance(arguments, str):
        return f'{OPEN}\n{{"name": {json.dumps(name)}, "arguments": {arguments}'
    return f"{OPEN}\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n{CLOSE}"


def _joined(*texts: str, between: str = "\n\n") -> str:
    return between.join(text for text in texts if text)

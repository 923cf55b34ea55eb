"""Tool calls in the text of an answer, parsed while it streams: Qwen's XML, Hermes' tagged JSON, and bare JSON."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from hfc.serve.output import Delta

Schemas = Mapping[str, Mapping[str, Any]]  # tool name -> JSON schema of its arguments

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)', re.DOTALL)
_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>\s*")
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?")
_END = re.compile(r"\s*</function>")


def new_call_id() -> str:
    return "call_" + secrets.token_hex(12)


class JsonCall:
    """The inside of one call; text: all that came of it, rest: what came after its end, in_value: inside of an argument.

    `{"name": "f", "arguments": {...}}`; the arguments pass through as they come, up to their closing brace."""

    def __init__(self, index: int, schemas: Schemas):
        self._index, self._schemas = index, schemas
        self._text = ""
        self._at = 0  # how much of it was looked at
        self._depth, self._in_string, self._escaped = 0, False, False
        self.began = self.is_done = False

    def push(self, text: str) -> list[Delta]:
        self._text += text
        deltas = []
        if not self.began:
            head = _HEAD.match(self._text)
            name = _loads(head[1]) if head else None
            if name not in self._schemas:
                return []
            self.began, self._at = True, head.end()
            deltas.append(Delta("call", index=self._index, id=new_call_id(), name=name))
        if not self.is_done and (arguments := self._scan()):
            deltas.append(Delta("arguments", arguments, self._index))
        return deltas

    def close(self) -> list[Delta] | None:
        """Another order of keys, arguments as text, or a list of one is still a call."""
        if self.began:
            return []
        found = _loads(self._text)
        found = found[0] if isinstance(found, list) and len(found) == 1 else found
        if not isinstance(found, dict) or found.get("name") not in self._schemas:
            return None
        arguments = found.get("arguments", found.get("parameters", {}))
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        self.began = self.is_done = True
        self._at = len(self._text)
        return [
            Delta("call", index=self._index, id=new_call_id(), name=found["name"]),
            Delta("arguments", text, self._index),
        ]

    @property
    def in_value(self) -> bool:
        return not self.is_done

    @property
    def rest(self) -> str:
        return self._text[self._at :]

    @property
    def text(self) -> str:
        return self._text

    def _scan(self) -> str:
        """New characters of the arguments, braces counted outside of strings."""
        start = self._at
        while self._at < len(self._text) and not self.is_done:
            character = self._text[self._at]
            self._at += 1
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                else:
                    self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                self.is_done = self._depth == 0
        return self._text[start : self._at]


class XmlCall:
    """`<function=f><parameter=p>value</parameter>...</function>`: texts pass through as they come, other values when whole."""

    def __init__(self, index: int, schemas: Schemas):
        self._index, self._schemas = index, schemas
        self._text, self._held = "", ""
        self._properties: Mapping[str, Any] = {}
        self._parameter: str | None = None
        self._is_text = False
        self._count = 0
        self.began = self.is_done = False

    def push(self, text: str) -> list[Delta]:
        self._text += text
        self._held += text
        deltas: list[Delta] = []
        while not self.is_done and (part := self._next()) is not None:
            deltas += part
        return deltas

    def close(self) -> list[Delta] | None:
        """A call that breaks off keeps the arguments that were whole."""
        if not self.began:
            return None
        if self.is_done:
            return []
        self.is_done = True
        if self._parameter is None:
            return [self._arguments("}" if self._count else "{}")]
        return [self._arguments(_escape(self._held) + '"}' if self._is_text else self._value(self._held) + "}")]

    @property
    def in_value(self) -> bool:
        return self._parameter is not None

    @property
    def rest(self) -> str:
        return self._held

    @property
    def text(self) -> str:
        return self._text

    def _next(self) -> list[Delta] | None:
        """The deltas of the next whole part; None when more text is needed."""
        if not self.began:
            head = _FUNCTION.match(self._held)
            if head is None or head[1].strip() not in self._schemas:
                return None
            self.began, self._held = True, self._held[head.end() :]
            name = head[1].strip()
            self._properties = self._schemas[name].get("properties") or {}
            return [Delta("call", index=self._index, id=new_call_id(), name=name)]
        if self._parameter is not None:
            return self._more_of_value()
        if (head := _PARAMETER.match(self._held)) is not None and head.end() < len(self._held):
            self._parameter, self._held = head[1].strip(), self._held[head.end() :]
            self._is_text = _is_text(self._properties.get(self._parameter))
            start = ("{" if not self._count else ", ") + json.dumps(self._parameter, ensure_ascii=False) + ": "
            self._count += 1
            return [self._arguments(start + ('"' if self._is_text else ""))]
        if (end := _END.match(self._held)) is not None:
            self.is_done, self._held = True, self._held[end.end() :]
            return [self._arguments("}" if self._count else "{}")]
        return None

    def _more_of_value(self) -> list[Delta] | None:
        value, tag, after = self._held.partition("</parameter>")
        if tag:
            self._parameter, self._held = None, after
            value = value.removesuffix("\n")
            return [self._arguments(_escape(value) + '"' if self._is_text else self._value(value))]
        if not self._is_text:
            return None
        keep = _held_back(value, "\n</parameter>") or _held_back(value, "</parameter>")
        ready, self._held = value[: len(value) - keep], value[len(value) - keep :]
        return [self._arguments(_escape(ready))] if ready else None

    def _arguments(self, text: str) -> Delta:
        return Delta("arguments", text, self._index)

    @staticmethod
    def _value(text: str) -> str:
        """A number, boolean, list or object as it stands; anything else as a string."""
        value = _loads(text.strip())
        return json.dumps(text if value is _NOT_JSON else value, ensure_ascii=False)


class TaggedCalls:
    """Content with calls between tags. Text that only looks like a call comes out as content."""

    def __init__(self, make: Callable[[int], JsonCall | XmlCall], openings: tuple[str, ...]):
        self._make, self._openings = make, openings
        self._held, self._opening = "", ""
        self._call: JsonCall | XmlCall | None = None
        self._count = 0
        self._after_call = False

    def push(self, text: str) -> list[Delta]:
        deltas: list[Delta] = []
        self._held += text
        while True:
            part = self._inside() if self._call is not None else self._outside()
            if part is None:
                return deltas
            deltas += part

    def close(self) -> list[Delta]:
        deltas: list[Delta] = []
        if self._call is not None:
            ending = self._call.close()
            self._count += ending is not None
            if ending is None and not self._after_call:  # else what an answer that breaks off has of its next call
                ending = [Delta("content", self._opening + self._call.text)]
            deltas += ending or []
            self._call = None
        elif self._held and not (self._after_call and self._begins_call()):
            deltas.append(Delta("content", self._held))
        self._held = ""
        return deltas

    def _begins_call(self) -> bool:
        """What is held back is white space, or that and the beginning of a tag."""
        return any(tag.startswith(self._held.strip()) for tag in self._openings)

    def _outside(self) -> list[Delta] | None:
        found = [(i, tag) for tag in self._openings if (i := self._held.find(tag)) >= 0]
        if found:
            at, self._opening = min(found)
            before = self._held[:at].rstrip()
            self._call = self._make(self._count)
            # The tag of a wrapper is dropped; <function= is part of the call.
            self._held = self._held[at + (len(OPEN) if self._opening == OPEN else 0) :]
            if self._opening != OPEN:
                self._opening = ""
            return [Delta("content", before)] if before and not (self._after_call and before.isspace()) else []
        # Hold back a beginning of a tag, and white space, which is dropped before a call.
        keep = max(_held_back(self._held, tag) for tag in self._openings)
        ready = self._held[: len(self._held) - keep].rstrip()
        if not ready:
            return None
        self._held = self._held[len(ready) :]
        self._after_call = False
        return [Delta("content", ready)]

    def _inside(self) -> list[Delta] | None:
        """Feed the call; look for the end of its tags."""
        call = self._call
        if not call.is_done:
            text, self._held = self._held, ""
            deltas = call.push(text)
            if not call.is_done:
                # Inside of arguments the tag is text.
                is_over = CLOSE in call.text and not (call.began and call.in_value)
                return deltas + self._closed_early() if is_over else deltas or None
            self._held = call.rest
            return deltas
        rest = self._held.lstrip()
        if rest.startswith("}") and isinstance(call, JsonCall):  # of the object around name and arguments
            rest = rest[1:].lstrip()
        if rest.startswith(CLOSE):
            self._held = rest[len(CLOSE) :]
        elif CLOSE.startswith(rest):
            return None  # more may come
        else:
            self._held = rest
        self._end()
        return []

    def _closed_early(self) -> list[Delta]:
        """The closing tag came before the call was whole."""
        call = self._call
        if call.began:
            inside, after = "", call.rest.partition(CLOSE)[2]
            ending = call.close()
        else:
            inside, _, after = call.text.partition(CLOSE)
            whole = self._make(self._count)
            whole.push(inside)
            ending = whole.close()
        self._held = after
        if ending is None:
            self._call = None
            return [Delta("content", f"{self._opening}{inside}{CLOSE}")]
        self._end()
        return ending

    def _end(self) -> None:
        self._call, self._after_call = None, True
        self._count += 1


class BareJson:
    """An answer that is one JSON call as a whole, as Llama 3 writes it."""

    def __init__(self, schemas: Schemas):
        self._call: JsonCall | None = JsonCall(0, schemas)
        self._text = ""

    def push(self, text: str) -> list[Delta]:
        if self._call is None:
            return [Delta("content", text)]
        self._text += text
        start = self._text.lstrip().removeprefix("<|python_tag|>").lstrip()
        if not start or "<|python_tag|>".startswith(start):
            return []
        if start[0] not in "{[":
            self._call = None
            return [Delta("content", self._text)]
        return self._call.push(start[len(self._call.text) :])

    def close(self) -> list[Delta]:
        if self._call is None:
            return []
        ending = self._call.close()
        return [Delta("content", self._text)] if ending is None and self._text else ending or []


_NOT_JSON = object()


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _escape(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _is_text(schema: Any) -> bool:
    """Whether a parameter can only be a string; one without a type may be anything."""
    return isinstance(schema, dict) and (
        schema.get("type") == "string" or all(isinstance(v, str) for v in schema.get("enum", [0]))
    )


def _held_back(text: str, tag: str) -> int:
    """Length of the longest ending of `text` that begins `tag`."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0)

"""Chat messages to prompt tokens: content parts to text, and the places where the next turn will branch off."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.serve.errors import ApiError
from hfc.serve.served import Served

# A tokenizer library may keep how to treat special tokens as a setting of itself, so one thread encodes at a time.
_ENCODING = threading.Lock()


@dataclass(frozen=True)
class Prompt:
    """tokens, and marks: positions where another prompt is likely to branch off.  opens: text that the template has begun
    the answer with ("<think>\\n")."""

    tokens: tuple[int, ...]
    marks: tuple[int, ...]
    opens: str = ""


def encode(served: Served, text: str, parse_special: bool = False, frame: bool = False) -> list[int]:
    try:
        with _ENCODING:
            return served.tokenizer.encode(text, parse_special, frame)
    except HfcError as error:
        raise ApiError(400, error.message, None, "invalid_text") from error


def single_token(served: Served, text: str) -> int | None:
    """The one token that a tag is; None if the vocabulary spells it out."""
    ids = encode(served, text, parse_special=True)
    return ids[0] if len(ids) == 1 else None


def chat_prompt(
    served: Served,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Any] | None = None,
    begin: str = "",
    **variables: Any,
) -> Prompt:
    """Render and encode; only the template's own text becomes control tokens. begin: text that the answer must begin with.

    The history is rendered without the answer's opening too: the next turn shares it, but maybe not the opening (templates
    drop earlier reasoning), so the state there is worth keeping."""
    template = served.chat()
    (messages, tools, variables), mark = served.guard.mark((list(messages), tools, variables))
    try:
        text = template.render(messages, tools=tools or None, **variables)
        history = template.render(messages, add_generation_prompt=False, tools=tools or None, **variables)
    except HfcError as error:
        raise ApiError(400, error.message, "messages", "template_error") from error
    opening = text[len(history) :] if text.startswith(history) else ""
    tokens = _encode_rendered(served, text + begin, mark)
    branch = len(tokens) - len(_encode_rendered(served, opening + begin, mark)) if opening else 0
    return Prompt(tuple(tokens), (branch,), (opening + begin).replace(mark, "") if mark else opening + begin)


def _encode_rendered(served: Served, text: str, mark: str) -> list[int]:
    try:
        with _ENCODING:
            return served.guard.encode(text, mark)
    except HfcError as error:
        raise ApiError(400, error.message, None, "invalid_text") from error

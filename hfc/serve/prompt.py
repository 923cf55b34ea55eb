"""Chat messages to prompt tokens: content parts to text, and the places where the next turn will branch off."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.serve.errors import ApiError
from hfc.serve.history import accepted
from hfc.serve.reasoning import CLOSE, OPEN, opens_reasoning
from hfc.serve.served import Served
from hfc.serve.tolerance import log_once

# A tokenizer library may keep how to treat special tokens as a setting of itself, so one thread encodes at a time.
_ENCODING = threading.Lock()


@dataclass(frozen=True)
class Prompt:
    """tokens, and marks: positions where another prompt is likely to branch off.  opens: text that the template has begun
    the answer with ("<think>\\n").  is_begun: some of what the answer says is there already."""

    tokens: tuple[int, ...]
    marks: tuple[int, ...]
    opens: str = ""
    is_begun: bool = False


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
    begun: Mapping[str, Any] | None = None,
    **variables: Any,
) -> Prompt:
    """Render and encode; only the template's own text becomes control tokens. begun: the assistant's message that the answer goes on
    with. What the template refuses is put another way (history.py).

    The history is rendered without the answer's opening too: the next turn shares it, but maybe not the opening (templates
    drop earlier reasoning), so the state there is worth keeping."""
    template = served.chat()
    (messages, tools, variables), mark = served.guard.mark((list(messages), tools, variables))
    options = {"tools": tools or None, **variables}
    try:
        taken, text, refusal = accepted(messages, lambda form: template.render(form, **options))
        history = template.render(taken, add_generation_prompt=False, **options)
    except HfcError as error:
        raise ApiError(400, error.message, "messages", "template_error") from error
    if refusal is not None:
        log_once(
            f"{served.name}: {refusal.message.replace(mark, '')}; their order or form was changed until it took them"
        )
    opening = text[len(history) :] if text.startswith(history) else ""
    tokens = _encode_rendered(served, text, mark)
    branch = len(tokens) - len(_encode_rendered(served, opening, mark)) if opening else 0
    opens = opening.replace(mark, "") if mark else opening
    parts = begun_parts(begun, opens) if begun else []
    start = [token for part, is_tag in parts for token in encode(served, part, parse_special=is_tag)]
    begins = "".join(part for part, _ in parts)
    return Prompt((*tokens, *start), (branch,), opens + begins, is_begun=bool(begins))


def begun_parts(message: Mapping[str, Any], opens: str) -> list[tuple[str, bool]]:
    """(text, whether it is a tag) of what an answer has said already behind a template's opening: its thought too, where the
    opening or the message begins one."""
    thought, content = message.get("reasoning_content") or "", message["content"]
    if not thought and (not opens_reasoning(opens) or not content):
        return [(content, False)]
    head = [] if opens_reasoning(opens) else [(OPEN, True), ("\n", False)]
    tail = [("\n", False), (CLOSE, True), (f"\n\n{content}", False)] if content else []
    return [*head, (thought, False), *tail]


def _encode_rendered(served: Served, text: str, mark: str) -> list[int]:
    try:
        with _ENCODING:
            return served.guard.encode(text, mark)
    except HfcError as error:
        raise ApiError(400, error.message, None, "invalid_text") from error

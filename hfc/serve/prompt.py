"""Chat messages to prompt tokens: content parts to text, and the places where the next turn will branch off."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.serve.errors import CONTEXT_EXCEEDED, ApiError
from hfc.serve.history import accepted
from hfc.serve.log import log_once
from hfc.serve.reasoning import CLOSE, OPEN, opens_reasoning
from hfc.serve.served import Served
from hfc.serve.workers.pool import Failed, Killed, TooMany
from hfc.serve.workers.ticket import TICKET

# A tokenizer library may keep how to treat special tokens as a setting of itself, so one thread encodes at a time: a piece.
_ENCODING = threading.Lock()


@dataclass(frozen=True)
class Prompt:
    """tokens, and marks: positions where another prompt is likely to branch off.  opens: text that the template has begun
    the answer with ("<think>\\n").  is_begun: some of what the answer says is there already."""

    tokens: tuple[int, ...]
    marks: tuple[int, ...]
    opens: str = ""
    is_begun: bool = False


class Encoder:
    """Texts of one request to tokens, piece by piece. most: tokens that may come of them all, None for any number; ApiError 400 as soon
    as there are more, and for a text that cannot be so short."""

    def __init__(self, served: Served, most: int | None, param: str | None):
        self._served, self._most, self._param = served, most, param
        self._count = 0

    def check_length(self, text: str) -> None:
        """Before any of it is tokenized."""
        self.check_characters(len(text))

    def check_characters(self, count: int) -> None:
        longest = self._served.pieces.longest
        if self._most is not None and longest and count > self._most * longest:  # a character has a byte at least
            raise self._too_long(count // longest)

    def check_messages(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Templates leave out parts of what the assistant said, and nothing else."""
        self.check_characters(sum(len(m.get("content") or "") for m in messages if m["role"] != "assistant"))

    def __call__(self, text: str, parse_special: bool = False, frame: bool = False) -> list[int]:
        tokenizer, ticket = self._served.tokenizer, TICKET.get()
        ids: list[int] = []
        pieces = list(self._served.pieces.of(text))
        try:
            for i, piece in enumerate(pieces):
                if i:
                    ticket.pause()
                with _ENCODING:
                    ids += tokenizer.encode(piece, parse_special, frame=False)
                if self._most is not None and self._count + len(ids) > self._most:
                    # how many there will be: from how many there are so far
                    raise self._too_long((self._count + len(ids)) * len(pieces) // (i + 1))
        except HfcError as error:
            raise ApiError(400, error.message, None, "invalid_text") from error
        self._count += len(ids)
        return tokenizer.framed(ids) if frame else ids

    def _too_long(self, tokens: int) -> ApiError:
        context = self._served.engine.limits.context
        tokens = max(tokens, context + 1)
        text = f"this model's maximum context length is {context} tokens; the prompt has at least {tokens}"
        return ApiError(400, text, self._param, CONTEXT_EXCEEDED, sizes=(tokens, context))


def encode(
    served: Served,
    text: str,
    parse_special: bool = False,
    frame: bool = False,
    most: int | None = None,
    param: str = "",
) -> list[int]:
    """most: tokens that there may be, in the field `param`; ApiError 400 for more."""
    encoder = Encoder(served, most, param or None)
    encoder.check_length(text)
    return encoder(text, parse_special, frame)


def single_token(served: Served, text: str) -> int | None:
    """The one token that a tag is; None if the vocabulary spells it out."""
    ids = encode(served, text, parse_special=True)
    return ids[0] if len(ids) == 1 else None


def chat_prompt(
    served: Served,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Any] | None = None,
    begun: Mapping[str, Any] | None = None,
    most: int | None = None,
    param: str = "messages",
    variables: Mapping[str, Any] = MappingProxyType({}),
) -> Prompt:
    """Render and encode; only the template's own text becomes control tokens. begun: the assistant's message that the answer goes on
    with.  most: tokens that the prompt may have; ApiError 400 for one that is longer.  What the template refuses is put another way
    (history.py).

    The history is rendered without the answer's opening too: the next turn shares it, but maybe not the opening (templates
    drop earlier reasoning), so the state there is worth keeping. So is the one where the last message begins: who edits it sends all
    before it again."""
    encoder = Encoder(served, most, param)
    encoder.check_messages(messages)  # before they are copied and sent to a worker
    (messages, tools, variables), mark = served.guard.mark((list(messages), tools, dict(variables)))
    text, opening = _rendered(served, messages, tools, variables, mark)
    encoder.check_length(text)
    tokens = served.guard.encode(text, mark, encoder)
    branch = len(tokens) - len(served.guard.encode(opening, mark, Encoder(served, None, None))) if opening else 0
    opens = opening.replace(mark, "") if mark else opening
    parts = begun_parts(begun, opens) if begun else []
    start = [token for part, is_tag in parts for token in encoder(part, parse_special=is_tag)]
    begins = "".join(part for part, _ in parts)
    last = last_begins(served, messages[-1]["content"], text, tokens) if messages else 0
    return Prompt((*tokens, *start), (last, branch), opens + begins, is_begun=bool(begins))


def last_begins(served: Served, content: str | None, text: str, tokens: Sequence[int]) -> int:
    """How many of a rendered text's tokens stand before its last message, which says `content`; 0 where the template does not tell by a
    control token."""
    at = text.rfind(content.strip()) if content else -1
    cut = served.guard.cut_before(text, at) if at > 0 else None
    if cut is None:
        return 0
    token, later = cut
    special = served.tokenizer.special
    controls = (i for i in range(len(tokens) - 1, -1, -1) if len(special.get(tokens[i], "")) > 1)
    place = next(itertools.islice(controls, later, None), None)
    return place + 1 if place is not None and special[tokens[place]] == token else 0


def _rendered(
    served: Served, messages: Sequence[Any], tools: Sequence[Any] | None, variables: Mapping[str, Any], mark: str
) -> tuple[str, str]:
    """The prompt's text, and how much of it begins the answer."""
    renderer, ticket = served.renderer, TICKET.get()
    try:
        _, rendered, refusal = accepted(messages, lambda form: renderer(form, tools or None, variables, ticket))
    except TooMany:
        raise ApiError(429, "too many requests are being rendered", None, "queue_full", {"Retry-After": "1"}) from None
    except Killed:
        raise ApiError(
            503, "the process that renders was killed; try again", None, "unavailable", {"Retry-After": "1"}
        ) from None
    except Failed as error:
        text = f"the checkpoint's chat template cannot be rendered for these messages: {error.message}"
        raise ApiError(400, text, "messages", "template_error") from error
    except HfcError as error:
        raise ApiError(400, error.message, "messages", "template_error") from error
    if refusal is not None:
        log_once(
            f"{served.name}: {refusal.message.replace(mark, '')}; their order or form was changed until it took them"
        )
    return rendered


def begun_parts(message: Mapping[str, Any], opens: str) -> list[tuple[str, bool]]:
    """(text, whether it is a tag) of what an answer has said already after a template's opening: its thought too, where the
    opening or the message begins one."""
    thought, content = message.get("reasoning_content") or "", message["content"]
    if not thought and (not opens_reasoning(opens) or not content):
        return [(content, False)]
    head = [] if opens_reasoning(opens) else [(OPEN, True), ("\n", False)]
    tail = [("\n", False), (CLOSE, True), (f"\n\n{content}", False)] if content else []
    return [*head, (thought, False), *tail]

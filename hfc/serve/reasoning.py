"""Answers with `<think>...</think>`: the text split as it streams, and a budget that closes the thought."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfc.runtime.tokenizer import Tokenizer
from hfc.sampling import TokenLimits
from hfc.serve.logprobs import token_bytes

OPEN, CLOSE = "<think>", "</think>"
BUDGETS = {"minimal": 256, "low": 1024, "medium": 4096}  # tokens of reasoning; others have no budget
EFFORTS = ("none", *BUDGETS, "high", "xhigh")


class ReasoningSplit:
    """Text to (reasoning, content). is_open: the prompt has begun the thought already.  may_open: the text may begin with one.

    by_token: the closing tag is a token, so that only what stands after `close_token` is one; spelled out it is text."""

    def __init__(self, is_open: bool, may_open: bool = True, by_token: bool = False):
        self.is_open = is_open
        self._may_open = may_open and not is_open
        self._sees_tags = not by_token
        self._held = ""
        self._trim = is_open  # line ends after a tag belong to neither side

    def close_token(self) -> None:
        """The closing tag's token was chosen; its text comes with the next push or later."""
        self._sees_tags = True

    def push(self, text: str) -> tuple[str, str]:
        self._held += text
        if self._may_open:
            start = self._held.lstrip()
            if start.startswith(OPEN):
                self._held = start[len(OPEN) :]
                self._may_open, self.is_open, self._trim = False, True, True
            elif OPEN.startswith(start):
                return "", ""  # may still become the tag
            else:
                self._may_open = False
        if not self.is_open:
            return "", self._content()
        thought, tag, after = self._held.partition(CLOSE) if self._sees_tags else (self._held, "", "")
        if tag:
            self.is_open, self._held = False, after
            thought = self._trimmed(thought)
            self._trim = True
            return thought.rstrip("\n"), self._content()
        # Hold back what may become the tag, and line ends, which are dropped before it.
        tags = range(len(CLOSE) - 1, 0, -1) if self._sees_tags else ()
        keep = next((n for n in tags if thought.endswith(CLOSE[:n])), 0)
        whole = thought[: len(thought) - keep]
        shown = whole.rstrip("\n")
        self._held = thought[len(shown) :]
        return self._trimmed(shown), ""

    def close(self) -> tuple[str, str]:
        """What was held back."""
        rest, self._held = self._held, ""
        return (rest, "") if self.is_open else ("", rest)

    def _content(self) -> str:
        text, self._held = self._held, ""
        return self._trimmed(text)

    def _trimmed(self, text: str) -> str:
        if self._trim:
            text = text.lstrip("\n")
            self._trim = not text
        return text


def opens_reasoning(opening: str) -> bool:
    """Whether a prompt's last text leaves a thought open."""
    return opening.rfind(OPEN) > opening.rfind(CLOSE)


class Thought:
    """Whether a thought is open, token by token. may_open: the answer may still begin with the tag.

    close_id: the token that ends it; None where the vocabulary spells the tag out."""

    def __init__(self, is_open: bool, may_open: bool = False, open_id: int | None = None, close_id: int | None = None):
        self.is_open, self.may_open, self.open_id = is_open, may_open and not is_open, open_id
        self._close_id = close_id
        self._tail = b""

    def push(self, token: int, data: bytes) -> bool:
        """Take a token; True if it belongs to the thought or its tags."""
        if self.may_open:
            self.may_open = False
            if token == self.open_id:
                self.is_open = True
                return True
        if not self.is_open:
            return False
        self._tail = (self._tail + data)[-64:]
        self.is_open = CLOSE.encode() not in self._tail if self._close_id is None else token != self._close_id
        return True


class ThinkingBudget:
    """Forces the end of the thought after `budget` tokens of it. end: the tokens that close it."""

    suits_device = True

    def __init__(self, budget: int, thought: Thought, tokenizer: Tokenizer, end: Sequence[int]):
        self._left, self._thought, self._tokenizer, self._end = budget, thought, tokenizer, list(end)
        self._forced: list[int] = []

    def limit(self, logits: np.ndarray) -> np.ndarray:
        token = self._wanted()
        if token is None:
            return logits
        out = np.full_like(logits, -np.inf)
        out[token] = 0
        return out

    def restrict(self, limits: TokenLimits) -> None:
        token = self._wanted()
        if token is not None:
            limits.force(token)

    def _wanted(self) -> int | None:
        """The token that must come next."""
        if self._thought.is_open and self._left <= 0 and not self._forced:
            self._forced = list(self._end)
        return self._forced[0] if self._forced else None

    def accept(self, token: int) -> bool:
        if self._forced:
            self._forced.pop(0)
        if self._thought.push(token, token_bytes(self._tokenizer, token)):
            self._left -= 1
        return False

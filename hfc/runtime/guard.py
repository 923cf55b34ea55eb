"""Client text that spells a control token stays text: only what the template itself writes may become one.

Before rendering, a mark that no text uses is put into every spelling of a control token in the client's strings. Template
code sees ordinary strings; afterwards the marks tell which stretches of the prompt to encode without control tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from hfc.runtime.tokenizer import Tokenizer

Encode = Callable[..., list[int]]
# Noncharacters, which text does not hold, and private ones in case that it does.
MARKS = [chr(c) for c in (*range(0xFDD0, 0xFDF0), *range(0xE000, 0xF8FF))]
NEAR = 256  # characters: what a template writes at a message's beginning is shorter


class Guard:
    """The control tokens of one vocabulary."""

    def __init__(self, tokenizer: Tokenizer):
        texts = sorted({t for t in tokenizer.special.values() if len(t) > 1}, key=len, reverse=True)
        self._tokenizer = tokenizer
        self._spelled = re.compile("|".join(map(re.escape, texts)) or r"(?!)")
        # A string may end with the beginning of a control token, and what is rendered after it with the rest.
        self._beginnings = frozenset(t[:n] for t in texts for n in range(1, len(t)))
        self._longest = max(map(len, texts), default=1) - 1

    def mark(self, value: Any) -> tuple[Any, str]:
        """The same lists and dicts with marks in their strings and keys, and the mark; "" when none was needed."""
        strings = list(_strings(value))
        if not any(self._needs(s) for s in strings):
            return value, ""
        mark = next(m for m in MARKS if not any(m in s for s in strings))
        return self._marked(value, mark), mark

    def encode(self, text: str, mark: str, encode: Encode | None = None) -> list[int]:
        """Token ids of a rendered text with marks. encode: instead of the tokenizer's own."""
        encode = encode or self._tokenizer.encode
        if not mark or mark not in text:
            return encode(text, parse_special=True, frame=False)
        ids: list[int] = []
        for is_marked, part in self._stretches(text, mark):
            ids += encode(part.replace(mark, ""), parse_special=not is_marked, frame=False)
        return ids

    def cut_before(self, text: str, at: int) -> tuple[str, int] | None:
        """The last control token of a rendered text that ends at a place or shortly before it, and how many more come after it."""
        found = list(self._spelled.finditer(text, max(0, at - NEAR)))
        before = [token for token in found if token.end() <= at]
        return (before[-1][0], len(found) - len(before)) if before else None

    def _needs(self, text: str) -> bool:
        return self._spelled.search(text) is not None or self._begins(text) > 0

    def _begins(self, text: str) -> int:
        """Length of the longest ending of a text that begins a control token."""
        return next((n for n in range(min(self._longest, len(text)), 0, -1) if text[-n:] in self._beginnings), 0)

    def _marked(self, value: Any, mark: str) -> Any:
        if isinstance(value, str):
            text = self._spelled.sub(lambda found: found[0][0] + mark + found[0][1:], value)
            return text + mark if self._begins(text) else text
        if isinstance(value, dict):
            return {self._marked(k, mark): self._marked(v, mark) for k, v in value.items()}
        return [self._marked(v, mark) for v in value] if isinstance(value, (list, tuple)) else value

    def _stretches(self, text: str, mark: str) -> Iterable[tuple[bool, str]]:
        """The text cut at control tokens: what holds a mark, and all between such stretches as one."""
        plain, at = "", 0
        for found in [*self._spelled.finditer(text), None]:
            end = found.start() if found else len(text)
            if mark in text[at:end]:
                if plain:
                    yield False, plain
                yield True, text[at:end]
                plain = ""
            else:
                plain += text[at:end]
            if found:
                plain, at = plain + found[0], found.end()
        if plain:
            yield False, plain


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)

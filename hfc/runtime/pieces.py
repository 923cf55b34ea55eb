"""Long texts cut where a vocabulary certainly cuts them: encoding can pause, or stop, between pieces, and the tokens stay the same.

No token joins a letter with the separator after it, so no merge does, and a tokenizer's rules for words look no farther than the
next letter. A vocabulary that has such a token, or whose library moves text about, is encoded in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hfc.runtime.tokenizer import Tokenizer

PIECE = 1 << 14  # characters
WINDOW = 1 << 18  # characters that are searched for a cut at a time
LETTER = r"[^\W\d_]"
NFC_SHRINKS = 3  # bytes of a decomposed character to those of its composed form


class Pieces:
    """Of one vocabulary. longest: bytes of a text that one token stands for at most, None if that is not known."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        texts = list(tokenizer.table)
        is_local = getattr(tokenizer.core, "is_local", False)
        longest = max(map(len, texts), default=0)
        self.longest = longest * NFC_SHRINKS if is_local and longest else None
        safe = [s for s in (" ", "\n") if is_local and not any(_joins(text, s) for text in texts)]
        # Characters that each piece but the first loses at its start: a library that puts a space before every text puts back the one
        # that was cut away.
        self._skipped, cuts = next(((n, c) for n in (0, 1) if (c := [s for s in safe if self._can_cut(s, n)])), (0, []))
        self._cut = re.compile(f"{LETTER}[{''.join(cuts)}](?={LETTER})") if cuts else None

    def of(self, text: str) -> Iterator[str]:
        """In order; at least one."""
        start = 0
        while self._cut and len(text) - start > PIECE and (end := self._next(text, start + PIECE)):
            yield text[start:end]
            start = end + self._skipped
        yield text[start:]

    def _next(self, text: str, at: int) -> int | None:
        """The first cut after `at`."""
        for begin in range(at, len(text), WINDOW):
            if found := self._cut.search(text, max(0, begin - 2), begin + WINDOW):
                return found.start() + 1
        return None

    def _can_cut(self, separator: str, skipped: int) -> bool:
        """Whether samples, cut there, give the tokens that they give as a whole."""
        encode = self._tokenizer.core.encode
        samples = [("some words", "and others"), ("It", "is"), ("xyz", "QRS"), ("ein", "wort"), ("caf\u00e9", "\u4e00")]
        return all(
            encode(a + separator + b, False) == encode(a, False) + encode((separator + b)[skipped:], False)
            for a, b in samples
        )


def _joins(text: bytes, separator: str) -> bool:
    return re.search(rb"[A-Za-z\x80-\xff]" + separator.encode(), text) is not None

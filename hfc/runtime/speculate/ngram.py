"""Prompt lookup: what followed the latest tokens when they last occurred in the sequence is the guess for what follows now.

An index from n-grams to the place after their latest occurrence grows with the sequence, so a guess costs the same at any
length. Keys are 64-bit hashes: a collision is a bad guess, no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfc.runtime.speculate.drafter import Draft

SIZES = (5, 3, 2)  # of the n-grams that are indexed, in tokens; the longest that occurred before counts
LONGEST = 32  # tokens of agreement beyond which a match is as good as it gets
GRADES = (3, 4, 6, 9, 16, LONGEST)  # a match of at least this many tokens is one grade better
FACTOR, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


class NgramDrafter:
    """`Drafter` from the sequence's own past."""

    name = "ngram"

    def __init__(self, tokens: Sequence[int] = ()):
        self._tokens: list[int] = []
        # hash of an n-gram -> index of the token after it
        self._next: dict[int, dict[int, int]] = {n: {} for n in SIZES}
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Index every n-gram that now has a token after it: the latest itself is not found by its own look-up."""
        old = len(self._tokens)
        self._tokens.extend(map(int, tokens))
        for n, following in self._next.items():
            first = max(old - n, 0)
            keys = _hashes(self._tokens[first:-1], n)
            following.update(zip(keys, range(first + n, len(self._tokens))))

    def draft(self, most: int) -> Draft | None:
        if most < 1:
            return None
        history = self._tokens
        for n, following in self._next.items():
            at = following.get(_hash(history[-n:])) if len(history) > n else None
            if at is not None and history[at - n : at] == history[-n:]:
                return Draft(_continued(history, at, most), _grade(history, at))
        return None


def _continued(history: list[int], at: int, count: int) -> tuple[int, ...]:
    """`count` tokens from index `at` on; a repetition that reaches the end goes on as it began."""
    period = len(history) - at
    return tuple(history[at + i % period] for i in range(count))


def _grade(history: list[int], at: int) -> int:
    """By how many tokens before `at` equal the latest ones."""
    length, most = 0, min(at, LONGEST)
    while length < most and history[at - 1 - length] == history[-1 - length]:
        length += 1
    return sum(length >= border for border in GRADES)


def _hash(gram: Sequence[int]) -> int:
    key = 0
    for token in gram:
        key = (key + token + 1) * FACTOR & MASK
    return key


def _hashes(tokens: Sequence[int], n: int) -> list[int]:
    """The hash of every n-gram of `tokens`, in order; many at a time for prompts."""
    count = len(tokens) - n + 1
    if count < 64:
        return [_hash(tokens[i : i + n]) for i in range(count)]
    ids, keys = np.asarray(tokens, np.uint64), np.zeros(count, np.uint64)
    for i in range(n):
        keys = (keys + ids[i : i + count] + np.uint64(1)) * np.uint64(FACTOR)
    return keys.tolist()

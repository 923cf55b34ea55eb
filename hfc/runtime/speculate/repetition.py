"""Whether a text has run into a loop: what a benchmark of speculation must not count as a win."""

from __future__ import annotations

from collections.abc import Sequence

GRAM = 8  # tokens; equal runs of this length are rarely chance
SHARE = 0.5  # of a text's n-grams that occurred before, from which on it is a loop
TURNS, SHORTEST = 3, 24  # a tail of at least 3 equal periods and 24 tokens is a loop, whatever came before


def repeated_share(tokens: Sequence[int]) -> float:
    """The share of n-grams that occurred earlier in the text, 0 to 1."""
    seen: set[tuple[int, ...]] = set()
    repeated = count = 0
    for i in range(len(tokens) - GRAM + 1):
        gram = tuple(tokens[i : i + GRAM])
        repeated += gram in seen
        count += 1
        seen.add(gram)
    return repeated / count if count else 0.0


def ends_in_loop(tokens: Sequence[int]) -> bool:
    """Whether the last tokens are several repetitions of one period."""
    tokens = list(tokens)
    for period in range(1, len(tokens) // TURNS + 1):
        length = max(TURNS * period, SHORTEST)
        tail = tokens[-length:]
        if len(tail) == length and tail[period:] == tail[:-period]:
            return True
    return False


def is_degenerate(tokens: Sequence[int]) -> bool:
    """Whether a text repeats itself so much that its speed says nothing about other texts."""
    return ends_in_loop(tokens) or (len(tokens) >= 2 * SHORTEST and repeated_share(tokens) > SHARE)

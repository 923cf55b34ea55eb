"""Prompts in flight that begin alike: one of them computes what they share, the others wait for it without a slot."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from hfc.runtime.decoding.state import Phase
from hfc.serve.prefix import PrefixCache
from hfc.serve.prefix_tree import common_prefix
from hfc.serve.sequence import Sequence

WORTH = 16  # tokens that waiting must save: fewer are computed sooner than they are waited for
NEAR = 64  # tokens that a sequence computes itself rather than to have recurrent state copied once more for it alone


class Sharing:
    """Used by the engine's thread only. keep: puts the state of a running sequence into the cache.

    Nobody is told to go on: whether a sequence waits is asked again before every step, of those that run then. So one that is
    cancelled or fails holds nobody, and as those that run never wait for others, neither does a circle."""

    def __init__(self, cache: PrefixCache, keep: Callable[[Sequence], None]):
        self._cache, self._keep = cache, keep

    def is_held(self, waiting: Sequence, running: Iterable[Sequence]) -> bool:
        """Whether a sequence should wait for what another one is computing."""
        return any(other.phase is Phase.PREFILL and self._awaits(waiting, other) for other in running)

    def _awaits(self, waiting: Sequence, other: Sequence) -> bool:
        if other.is_cancelled or other.job.priority < waiting.job.priority:
            return False
        if same_vector(waiting, other):
            return True
        if other.number not in waiting.awaited:
            waiting.awaited[other.number] = self._needed(waiting, other)
        return other.position < waiting.awaited[other.number]

    def _needed(self, waiting: Sequence, other: Sequence) -> int:
        """How far the other one must have come for this one to go on from there; 0: no use. It will be in the cache by then."""
        if waiting.job.needs_every_row or not self._cache.is_on:
            return 0
        shared = min(common_prefix(waiting.prompt, other.prompt), len(waiting.prompt) - 1)
        if shared < WORTH or shared - self._cache.match(waiting.prompt).length < WORTH:
            return 0
        if other.position >= shared:
            if not self._cache.is_recurrent:  # what the slot holds is of use up to any position
                other.is_awaited = True
                self._keep(other)
            return 0
        other.is_awaited = True
        if not self._cache.is_recurrent and shared >= len(other.prompt) - 1:
            return len(other.prompt)
        return other.mark_at(shared, NEAR)


def same_vector(a: Sequence, b: Sequence) -> bool:
    """Whether two texts that are embedded have one answer."""
    return a.job.pool is not None and a.job.pool == b.job.pool and np.array_equal(a.prompt, b.prompt)

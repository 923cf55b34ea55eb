"""Which slot a sequence gets, and how much of its prompt that slot holds then: what it held before, or what the cache has."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.serve.prefix import PrefixCache
from hfc.serve.prefix_tree import common_prefix
from hfc.serve.sequence import Sequence


@dataclass
class SlotContents:
    """What a slot holds: the tokens of its state, and when it was last used."""

    tokens: np.ndarray
    used: int = 0


class SlotTable:
    """The slots of a model. Used by the engine's thread only."""

    def __init__(self, slots: int, cache: PrefixCache):
        self._cache = cache
        self._slots = [SlotContents(np.empty(0, np.int32)) for _ in range(slots)]
        self._uses = 0

    def place(self, sequence: Sequence, taken: Collection[int]) -> tuple[int, int]:
        """A free slot for a sequence and how many tokens of its prompt that slot holds then."""
        free = [i for i in range(len(self._slots)) if i not in taken]
        shared = {i: common_prefix(self._slots[i].tokens, sequence.prompt) for i in free}
        slot = max(
            free, key=lambda i: (self._in_place(i, shared[i], sequence), self._is_better(i), -self._slots[i].used)
        )
        in_place = self._in_place(slot, shared[slot], sequence)
        cache = self._cache
        cache.counts.lookups += 1
        if sequence.job.needs_every_row:
            in_place = 0
        elif (found := cache.match(sequence.prompt)).length > in_place and not in_place:
            slot = max(free, key=lambda i: (self._is_better(i), -self._slots[i].used))
        position = in_place
        while not sequence.job.needs_every_row and found.length > in_place:
            if cache.restore(found, slot, shared[slot]):
                position = found.length
                break
            found = cache.match(sequence.prompt)  # a file was damaged: what is left
        cache.counts.hits += position > 0
        cache.counts.hit_tokens += position
        self._uses += 1
        self._slots[slot] = SlotContents(sequence.prompt[:position], self._uses)
        return slot, position

    def leave(self, slot: int, tokens: np.ndarray) -> None:
        """A sequence has left its slot with the state after `tokens`, i32 [n]."""
        self._slots[slot] = SlotContents(tokens, self._slots[slot].used)

    def held(self, positions: dict[int, int]) -> int:
        """Tokens in all slots. positions: of those in use."""
        return sum(max(len(lane.tokens), positions.get(i, 0)) for i, lane in enumerate(self._slots))

    def _is_better(self, slot: int) -> bool:
        """Whether to take a slot before others that hold nothing of a prompt: one that was used, as its memory is real by now and what
        it holds is in the cache too; without a cache one that was not."""
        return (self._slots[slot].used > 0) == self._cache.is_on

    def _in_place(self, slot: int, shared: int, sequence: Sequence) -> int:
        """How much of a prompt can go on from what a slot holds. Recurrent state has no way back."""
        if self._cache.is_recurrent and shared < len(self._slots[slot].tokens):
            return 0
        if self._cache.is_recurrent and shared > len(sequence.prompt) - 1:
            return 0
        return min(shared, len(sequence.prompt) - 1)

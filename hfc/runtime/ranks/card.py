"""What a rank on a card has beside its plan: how its launch tape exchanges with the others, and the thread in which it follows the first."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from hfc.plan import Plan, inbox_of, pointer_table
from hfc.pointer import Pointer
from hfc.runtime.driver import Driver
from hfc.runtime.ranks.cards import (
    TURNS,
    CardWords,
    Follower,
    exchange_bytes,
    exchange_in_kernels,
    exchange_table,
    kernels_meet,
    lead,
    unreached,
)
from hfc.runtime.ranks.meeting import Meeting

RANK_FAILED = -2  # of gpu_tape_types.h


class RankOnCard(Protocol):
    """A loaded rank, as the others need it."""

    driver: Driver
    on_card: CardRank

    def address(self, pointer: Pointer) -> int: ...


class CardRank:
    """Of one rank. words: what its kernels meet the others by.  follower: what the first rank's step finds of it."""

    def __init__(
        self, plan: Plan, driver: Driver, stream: int, allocate: Callable[[int], int], pin: Callable[[int], np.ndarray],
        follower: Follower,
    ):  # fmt: skip
        """allocate: memory of the card.  pin: of the host."""
        self._plan, self._driver, self.follower = plan, driver, follower
        self._sent = [pin(exchange_bytes(plan)) for _ in range(TURNS)]
        self.words = CardWords(plan, driver, stream, allocate, pin(16))
        self._led: Sequence[CardRank] = ()

    def connect(self, meeting: Meeting, ranks: Sequence[RankOnCard]) -> dict[Pointer, int]:
        """Where the pointers lie that are of other ranks: in their cards' memory, or where it is brought to through the host's."""
        assert self._plan.rank, "the plan is a whole model's"
        number, drivers = self._plan.rank.number, [rank.driver for rank in ranks]
        is_direct = unreached(drivers) is None
        self._driver.make_current()  # behind that question, which makes each of the drivers current
        cards = [rank.on_card for rank in ranks]
        sent = [[block.ctypes.data for block in card._sent] for card in cards]
        self._exchange = exchange_table(meeting.tables[number], sent, is_direct)
        if is_direct and kernels_meet(self._plan, drivers):
            words = [card.words for card in cards]
            self.words.connect(number, words)
            meeting.watch(self.words)
            exchange_in_kernels(self._exchange, words, number)
            if number == 0:
                self._led = cards[1:]
                lead(self._exchange, [card.follower for card in self._led])
        found = dict(self.words.memory)
        for p in pointer_table(self._plan):
            if p.kind == "peer":
                there, here = Pointer.buffer(p.name), Pointer.buffer(inbox_of(int(p.plane)))
                found[p] = (ranks[int(p.plane)] if is_direct else ranks[number]).address(there if is_direct else here)
        return found

    def give(self, library: ctypes.CDLL, tape: int) -> None:
        """The launch tape knows now how to exchange."""
        self._library, self._tape = library, tape
        library.hfc_gpu_ranks.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.hfc_gpu_ranks(tape, ctypes.byref(self._exchange))

    @property
    def leads(self) -> bool:
        """A step of this rank is one of all: the others follow."""
        return bool(self._led)

    def follow(self) -> None:
        """Run the steps of the first rank in this thread, until `end`."""
        self._driver.make_current()
        self._library.hfc_gpu_follow.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._library.hfc_gpu_follow(self._tape, ctypes.byref(self.follower))

    def end(self) -> None:
        """Nothing follows any longer."""
        self._library.hfc_gpu_end.argtypes = [ctypes.c_void_p]
        self._library.hfc_gpu_end(ctypes.byref(self.follower))

    def first_failed(self) -> tuple[CardRank, int, Sequence[int]] | None:
        """Of those that follow this rank the one whose card failed in the last step: with its error, and its program and launch."""
        for card in self._led:
            if card.follower.error not in (0, RANK_FAILED):
                return card, card.follower.error, list(card.follower.failed)
        return None

    @property
    def device(self) -> str:
        return self._driver.info.name

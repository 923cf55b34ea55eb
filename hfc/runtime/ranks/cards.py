"""What the launch tapes of cards exchange by: pinned memory of the host, or the other cards' own. The C side is gpu_tape.h and meeting.h.j2."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.plan import MeetingWords, Plan, pointer_table
from hfc.pointer import Pointer
from hfc.runtime.driver import LEGACY_STREAM, Driver
from hfc.runtime.ranks.meeting import MOST_RANKS, RanksTable

TURNS = 2  # a value is read while the next one is written


class Follower(ctypes.Structure):
    """HfcFollower."""

    _fields_ = [
        ("state", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("failed", ctypes.c_int32 * 2),
        ("programs", ctypes.c_int32 * 4),
        ("left_out", ctypes.c_int32),
        ("left_to_first", ctypes.c_int32),
        ("words", ctypes.c_uint64),
        ("step", ctypes.c_void_p),
        ("to", ctypes.c_void_p),
    ]


class ExchangeTable(ctypes.Structure):
    """HfcExchange."""

    _fields_ = [
        ("ranks", RanksTable),
        ("sent", ctypes.c_void_p * TURNS * MOST_RANKS),
        ("turn", ctypes.c_uint64),
        ("is_direct", ctypes.c_int32),
        ("turn_word", ctypes.c_uint64),
        ("broken", ctypes.c_void_p),
        ("waits", ctypes.c_void_p * MOST_RANKS),
        ("follower", ctypes.c_void_p * MOST_RANKS),
        ("followers", ctypes.c_int32),
    ]


class CardWords:
    """What a rank's kernels meet the others by: in its card's memory the word of the turn, then MeetingWords of each exchanged value;
    and of the host a word that ends all waiting, with the turn behind it."""

    def __init__(self, plan: Plan, driver: Driver, stream: int, allocate: Callable[[int], int], host: np.ndarray):
        """allocate: memory of the card.  host: 16 bytes that are pinned."""
        self._driver, self._stream = driver, stream
        names = dict.fromkeys(p.name for p in pointer_table(plan) if p.kind == "meeting")
        self._words = np.zeros((1 + len(names), MeetingWords.END), np.uint64)
        self.turn_word = allocate(self._words.nbytes)
        self.memory = {
            Pointer.meeting(name): self.turn_word + 8 * MeetingWords.END * (1 + at) for at, name in enumerate(names)
        }
        self.broken = host.view(np.uint64)
        self.broken[:] = 0
        self.begin_again()

    def connect(self, number: int, ranks: Sequence[CardWords]) -> None:
        """Kernels meet from now on. number: of this rank among the ranks."""
        lines = self._words[1:]
        lines[:, MeetingWords.TURN] = self.turn_word
        lines[:, MeetingWords.BROKEN] = self.broken.ctypes.data
        for other, rank in enumerate(ranks):
            if other != number:
                there = [8 * (MeetingWords.HERE + number) + place for place in rank.memory.values()]
                lines[:, MeetingWords.THERE + other] = there
        self.begin_again()

    def leave(self) -> None:
        """The kernel shall not wait any longer."""
        self.broken[0] = 1

    def settle(self) -> None:
        """Return when no kernel of this rank runs. Of a lost device none does."""
        with suppress(HfcError):
            self._driver.make_current()
            self._driver.synchronize(self._stream)

    def begin_again(self) -> None:
        """No rank has met another one yet."""
        self.broken[:] = 0
        with suppress(HfcError):  # of a lost device: the next step says so
            self._driver.make_current()
            self._driver.copy_in(self.turn_word, self._words.view(np.uint8).reshape(-1))
            self._driver.synchronize(LEGACY_STREAM)


def exchange_bytes(plan: Plan) -> int:
    """Of the largest value that a rank exchanges."""
    names = {
        pointer.name
        for launches in plan.programs.values()
        for launch in launches
        for pointer in launch.pointers
        if pointer.kind == "peer"
    }
    return max((plan.buffer(name).nbytes for name in names), default=0)


def exchange_table(ranks: RanksTable, sent: Sequence[Sequence[int]], is_direct: bool) -> ExchangeTable:
    """sent: addresses of each rank's pinned memory, one for each turn."""
    table = ExchangeTable(ranks=ranks, turn=0, is_direct=int(is_direct))
    for rank, places in enumerate(sent):
        for turn, at in enumerate(places):
            table.sent[rank][turn] = at
    return table


def exchange_in_kernels(table: ExchangeTable, ranks: Sequence[CardWords], number: int) -> None:
    """The kernels of rank `number` meet those of the others."""
    table.turn_word, table.broken = ranks[number].turn_word, ranks[number].broken.ctypes.data
    for at, rank in enumerate(ranks):
        table.waits[at] = rank.broken.ctypes.data


def lead(table: ExchangeTable, followers: Sequence[Follower]) -> None:
    """A step of the first rank, whose table this is, is one of all."""
    for at, follower in enumerate(followers):
        table.follower[at] = ctypes.addressof(follower)
    table.followers = len(followers)


def kernels_meet(plan: Plan, drivers: Sequence[Driver]) -> bool:
    """Whether the kernels that read of other ranks wait for them. Each needs a device: a waiting kernel must not keep away the one that
    it waits for."""
    can_wait = any(pointer.kind == "meeting" for pointer in pointer_table(plan))
    return can_wait and len({driver.info.index for driver in drivers}) == len(drivers)


def unreached(drivers: Sequence[Driver]) -> str | None:
    """Why cards of a kind exchange through the host; None where each reads the others' memory."""
    for driver in drivers:
        for other in drivers:
            if other is not driver and not driver.reaches(other):
                names = [f"{one.info.name} (number {one.info.index})" for one in (driver, other)]
                return f"{names[0]} cannot read the memory of {names[1]}: ranks exchange through the host"
    return None

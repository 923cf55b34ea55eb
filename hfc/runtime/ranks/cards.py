"""What the launch tapes of cards exchange by: pinned memory of the host, or the other cards' own. The C side is gpu_tape.h and exchange.hip.j2."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.plan import MeetingWords, Plan
from hfc.runtime.driver import LEGACY_STREAM, Driver
from hfc.runtime.ranks.meeting import MOST_RANKS, RanksTable

TURNS = 2  # a value is read while the next one is written


class ExchangeTable(ctypes.Structure):
    """HfcExchange."""

    _fields_ = [
        ("ranks", RanksTable),
        ("sent", ctypes.c_void_p * TURNS * MOST_RANKS),
        ("turn", ctypes.c_uint64),
        ("is_direct", ctypes.c_int32),
        ("meet", ctypes.c_void_p),
        ("words", ctypes.c_uint64),
        ("broken", ctypes.c_void_p),
    ]


class CardWords:
    """What a rank's kernel meets the others by: its MeetingWords in its card's memory, zero bytes without ranks, and a word of the host
    that ends its waiting."""

    def __init__(self, driver: Driver, stream: int, address: int, broken: np.ndarray):
        self._driver, self._stream, self.address = driver, stream, address
        self._words = np.zeros(MeetingWords.END, np.uint64)
        self.broken = broken.view(np.uint64)

    def connect(self, number: int, ranks: Sequence[CardWords]) -> None:
        """number: of this rank among the ranks."""
        self._words[MeetingWords.BROKEN] = self.broken.ctypes.data
        for other, rank in enumerate(ranks):
            if other != number:
                place = MeetingWords.HERE + number * MeetingWords.LINE
                self._words[MeetingWords.THERE + other] = rank.address + 8 * place
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
        self.broken[0] = 0
        with suppress(HfcError):  # of a lost device: the next step says so
            self._driver.make_current()
            self._driver.copy_in(self.address, self._words.view(np.uint8))
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


def meeting_kernel(plan: Plan, drivers: Sequence[Driver]) -> str | None:
    """The kernel of the plan in which ranks meet. Each needs a device: a waiting kernel must not keep away the one that it waits for."""
    met = {launch.kernel for launches in plan.programs.values() for launch in launches if launch.exchange}
    found = next((kernel.symbol for kernel in plan.kernels if kernel.symbol in met), None)
    return found if len({driver.info.index for driver in drivers}) == len(drivers) else None


def unreached(drivers: Sequence[Driver]) -> str | None:
    """Why cards of a kind exchange through the host; None where each reads the others' memory."""
    for driver in drivers:
        for other in drivers:
            if other is not driver and not driver.reaches(other):
                names = [f"{one.info.name} (number {one.info.index})" for one in (driver, other)]
                return f"{names[0]} cannot read the memory of {names[1]}: ranks exchange through the host"
    return None

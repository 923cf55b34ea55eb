"""What the launch tapes of cards exchange by: pinned memory of the host, or the other cards' own. The C side is gpu_tape.h."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from hfc.plan import Plan
from hfc.runtime.driver import Driver
from hfc.runtime.ranks.meeting import MOST_RANKS, RanksTable

TURNS = 2  # a value is read while the next one is written


class ExchangeTable(ctypes.Structure):
    """HfcExchange."""

    _fields_ = [
        ("ranks", RanksTable),
        ("sent", ctypes.c_void_p * TURNS * MOST_RANKS),
        ("turn", ctypes.c_uint64),
        ("is_direct", ctypes.c_int32),
    ]


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


def unreached(drivers: Sequence[Driver]) -> str | None:
    """Why cards of a kind exchange through the host; None where each reads the others' memory."""
    for driver in drivers:
        for other in drivers:
            if other is not driver and not driver.reaches(other):
                names = [f"{one.info.name} (number {one.info.index})" for one in (driver, other)]
                return f"{names[0]} cannot read the memory of {names[1]}: ranks exchange through the host"
    return None

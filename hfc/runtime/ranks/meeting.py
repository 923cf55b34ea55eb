"""Where the ranks of a model meet: counters in memory that all their launch tapes see. The C side is backend/ranks.h."""

from __future__ import annotations

import ctypes
import threading
from typing import Protocol

import numpy as np

from hfc.runtime.memory import address, allocate

MOST_RANKS = 8
CACHE_LINE = 64  # bytes


class RanksTable(ctypes.Structure):
    """HfcRanks."""

    _fields_ = [
        ("number", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("arrived", ctypes.c_void_p * MOST_RANKS),
        ("broken", ctypes.c_void_p),
    ]


class Waiting(Protocol):
    """What lets the kernels of a rank wait for others, see cards.CardWords."""

    def leave(self) -> None: ...
    def settle(self) -> None: ...
    def begin_again(self) -> None: ...


class Meeting:
    """Of `count` ranks. tables: what each rank's tape is given.  turn: held by a rank that must run alone."""

    def __init__(self, count: int):
        self.count = count
        self._barrier, self.turn = threading.Barrier(count), threading.Lock()
        self._cards: list[Waiting] = []
        self._words = allocate((count + 1) * CACHE_LINE)
        self._words[:] = 0
        at = address(self._words)
        places = [at + n * CACHE_LINE for n in range(count)]
        arrived = (ctypes.c_void_p * MOST_RANKS)(*places)
        self.tables = [RanksTable(number, count, arrived, at + count * CACHE_LINE) for number in range(count)]

    def watch(self, card: Waiting) -> None:
        """Kernels of a rank wait too."""
        self._cards.append(card)

    def leave(self) -> None:
        """A rank will not come: nobody waits for it any longer."""
        for card in self._cards:
            card.leave()
        self._words[self.count * CACHE_LINE] = 1
        self._barrier.abort()

    def wait(self) -> None:
        """Meet from Python, for ranks that have no tape."""
        self._barrier.wait()

    def begin_again(self) -> None:
        """No rank runs: all have come equally often."""
        for card in self._cards:
            card.settle()
        for card in self._cards:
            card.begin_again()
        self._words[:] = 0
        self._barrier.reset()

    def memory_of(self, number: int) -> np.ndarray:
        """A rank's table as the memory behind a pointer."""
        return np.frombuffer(self.tables[number], np.uint8)

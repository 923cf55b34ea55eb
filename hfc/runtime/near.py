"""Copies of slots' state that stay in the device's memory: the near tier of the prefix cache.

Bytes lie as `SlotStates.read_kv` and `read_recurrent` give them, so a copy that leaves the device is one transfer.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.runtime.slots import GpuSlots

ALIGNMENT = 256
LEGACY_STREAM = 0  # where copies run; a model's stream does not wait for it


@dataclass(frozen=True)
class Held:
    """A copy in device memory."""

    address: int
    nbytes: int


class Pool:
    """First fit over one range of addresses; neighbours that are freed become one."""

    def __init__(self, base: int, nbytes: int):
        self._free = [(base, nbytes)]  # by address

    def take(self, nbytes: int) -> int | None:
        """An address, None where no gap is large enough."""
        nbytes = _aligned(nbytes)
        for i, (address, size) in enumerate(self._free):
            if size >= nbytes:
                self._free[i : i + 1] = [(address + nbytes, size - nbytes)] if size > nbytes else []
                return address
        return None

    def give(self, address: int, nbytes: int) -> None:
        at = bisect.bisect(self._free, (address, 0))
        start, end = address, address + _aligned(nbytes)
        if at < len(self._free) and self._free[at][0] == end:
            end += self._free.pop(at)[1]
        if at and sum(self._free[at - 1]) == start:
            start = self._free.pop(at := at - 1)[0]
        self._free.insert(at, (start, end - start))


class NearCopies:
    """Takes copies of slots and puts them back, device to device, within `budget_bytes`."""

    def __init__(self, slots: GpuSlots, budget_bytes: int):
        self._slots, self._driver, self._budget = slots, slots.driver, budget_bytes // ALIGNMENT * ALIGNMENT
        try:
            self._block = self._driver.allocate(budget_bytes + ALIGNMENT)
        except HfcError as error:
            raise HfcError(f"{budget_bytes >> 20} MB for the prefix cache: {error.message}", hint="ask for less with --device-cache-mb") from error
        self._pool = Pool(_aligned(self._block), self._budget)

    def can_hold(self, nbytes: int) -> bool:
        """Whether there would be room if all else left."""
        return 0 < nbytes <= self._budget

    def take_kv(self, slot: int, start: int, end: int) -> Held | None:
        """Keys and values of positions [start, end); None where there is no room."""
        held = self._take((end - start) * self._slots.kv_bytes)
        if held:
            for at, address, nbytes in self._slots.kv_runs(slot, start, end - start, end - start):
                self._driver.copy_device(held.address + at, address, nbytes)
            self._driver.synchronize(LEGACY_STREAM)
        return held

    def put_kv(self, slot: int, start: int, held: Held, positions: int, count: int) -> None:
        """The first `count` of the `positions` positions that were taken."""
        for at, address, nbytes in self._slots.kv_runs(slot, start, positions, count):
            self._driver.copy_device(address, held.address + at, nbytes)
        self._driver.synchronize(LEGACY_STREAM)

    def take_recurrent(self, slot: int) -> Held | None:
        held = self._take(self._slots.recurrent_bytes)
        if held:
            for at, address, nbytes in self._slots.recurrent_runs(slot):
                self._driver.copy_device(held.address + at, address, nbytes)
            self._driver.synchronize(LEGACY_STREAM)
        return held

    def put_recurrent(self, slot: int, held: Held) -> None:
        for at, address, nbytes in self._slots.recurrent_runs(slot):
            self._driver.copy_device(address, held.address + at, nbytes)
        self._driver.synchronize(LEGACY_STREAM)

    def fetch(self, held: Held) -> np.ndarray:
        """The copy in host memory, u8 [nbytes]; its room is free again."""
        data = np.empty(held.nbytes, np.uint8)
        self._driver.copy_out(data, held.address)
        self.free(held)
        return data

    def free(self, held: Held) -> None:
        self._pool.give(held.address, held.nbytes)

    def close(self) -> None:
        """Give the memory back, once."""
        block, self._block = self._block, 0
        if block:
            self._driver.make_current()
            self._driver.free(block)

    def _take(self, nbytes: int) -> Held | None:
        address = self._pool.take(nbytes)
        return None if address is None else Held(address, nbytes)


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT

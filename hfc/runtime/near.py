"""Copies of slots' state that stay in the device's memory: the near tier of the prefix cache.

Bytes lie as `SlotStates.read_kv` and `read_recurrent` give them, so a copy that leaves the device is one transfer.
"""

from __future__ import annotations

import bisect
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.runtime.driver import LEGACY_STREAM
from hfc.runtime.slots import GpuSlots

ALIGNMENT = 256
# bytes of pinned memory on the way out: pageable memory would make the driver wait, and others for it
STAGING = 8 << 20
RESERVE_SHARE = 1 / 4  # of the budget that is kept free, so that a copy is taken while older ones are on their way out


@dataclass(frozen=True)
class Held:
    """A copy in device memory."""

    address: int
    nbytes: int


@dataclass(frozen=True)
class Leaving:
    """A copy in host memory, or still on its way there."""

    nbytes: int
    arrival: Future[np.ndarray]

    def data(self) -> np.ndarray:
        """u8 [nbytes]; waits for it."""
        return self.arrival.result()


class RangeAllocator:
    """First fit over one range of addresses; neighbours that are freed become one."""

    def __init__(self, base: int, nbytes: int):
        self._free = [(base, nbytes)]  # by address

    @property
    def free_bytes(self) -> int:
        return sum(size for _, size in self._free)

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
    """Takes copies of slots and puts them back, device to device, within `budget_bytes`.

    One thread calls it; another one, of its own, waits for what leaves the device."""

    def __init__(self, slots: GpuSlots, budget_bytes: int):
        self._slots, self._driver, self._budget = slots, slots.driver, budget_bytes // ALIGNMENT * ALIGNMENT
        try:
            self._block = self._driver.allocate(budget_bytes + ALIGNMENT)
        except HfcError as error:
            raise HfcError(
                f"{budget_bytes >> 20} MB for the prefix cache: {error.message}",
                hint="ask for less with --device-cache-mb",
            ) from error
        self._pool = RangeAllocator(_aligned(self._block), self._budget)
        self._stream, self._staging = self._driver.create_stream(), self._driver.allocate_pinned(STAGING)
        self._carrier = ThreadPoolExecutor(1, "hfc-spill", self._driver.make_current)
        self._leaving: deque[tuple[Held, Future]] = deque()  # in the order in which they arrive

    @property
    def lacks_room(self) -> bool:
        """Whether something should leave, as less is free, or soon will be, than should be."""
        return self._pool.free_bytes + sum(held.nbytes for held, _ in self._leaving) < RESERVE_SHARE * self._budget

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

    def send(self, held: Held) -> Leaving:
        """Begin to bring a copy to host memory; its room is free when it has arrived."""
        arrival = self._carrier.submit(self._carry, held)
        self._leaving.append((held, arrival))
        return Leaving(held.nbytes, arrival)

    def free(self, held: Held) -> None:
        self._pool.give(held.address, held.nbytes)

    def close(self) -> None:
        """Give the memory back, once."""
        block, self._block = self._block, 0
        if block:
            self._carrier.shutdown()
            self._driver.make_current()
            self._driver.free(block)
            self._driver.free_pinned(self._staging)

    def _take(self, nbytes: int) -> Held | None:
        """Room for a copy, for which those that are leaving are waited for."""
        while (address := self._pool.take(nbytes)) is None and self._leaving:
            self._see_off()
        while self._leaving and self._leaving[0][1].done():
            self._see_off()
        return None if address is None else Held(address, nbytes)

    def _see_off(self) -> None:
        held, arrival = self._leaving.popleft()
        arrival.result()
        self.free(held)

    def _carry(self, held: Held) -> np.ndarray:
        """On a stream of its own, for which neither steps nor copies within the device wait."""
        data = np.empty(held.nbytes, np.uint8)
        for at in range(0, held.nbytes, STAGING):
            part = self._staging[: min(STAGING, held.nbytes - at)]
            self._driver.copy_out_async(part, held.address + at, self._stream)
            self._driver.synchronize(self._stream)
            data[at : at + len(part)] = part
        return data


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT

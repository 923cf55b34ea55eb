"""Memory that emulated kernels use: regions between guard zones, aligned as a driver aligns them."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Hashable, Sequence

import numpy as np

from hfc.base.dataclass import dataclass

GUARD_BYTES = 4096  # between regions, so that an address past the end of one is inside no other
ALIGNMENT = 256
POISON = 0xFB  # fills what no one wrote: as f32 and f16 a large negative number, as an index far outside


@dataclass(frozen=True, eq=False)
class Region:
    """A piece of an arena. name: whatever its user calls it by; messages print it.  view: its bytes, shared with the kernels.
    writable: may kernels store to it?"""

    name: Hashable
    address: int
    view: np.ndarray
    writable: bool = True

    @property
    def nbytes(self) -> int:
        return len(self.view)

    def part(self, offset: int, nbytes: int | None = None) -> Region:
        """A narrower region: kernels that get it may touch nothing else of this one."""
        view = self.view[offset:] if nbytes is None else self.view[offset : offset + nbytes]
        return Region(self.name, self.address + offset, view, self.writable)


class Arena:
    """Regions of given sizes, all allocated at once: (name, bytes, writable) each.  poison: else they are zero, and take no memory
    before they are written."""

    def __init__(self, wanted: Sequence[tuple[Hashable, int, bool]], poison: bool = True):
        offsets, at = [], GUARD_BYTES
        for _, nbytes, _ in wanted:
            offsets.append(at)
            at += -(-nbytes // ALIGNMENT) * ALIGNMENT + GUARD_BYTES
        self._memory = mmap.mmap(-1, at)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        whole = np.frombuffer(self._memory, np.uint8)
        if poison:
            whole[:] = POISON
        self.regions = [
            Region(name, base + offset, whole[offset : offset + nbytes], writable)
            for offset, (name, nbytes, writable) in zip(offsets, wanted)
        ]

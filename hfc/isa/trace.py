"""What waves executed, one entry after the other, for models of time.

An entry of an instruction: its index in the program (4 bytes each) | cache lines or LDS passes << 24 | wave of the thread block << 40.
Behind one that accesses memory follow as many entries as it has lines, each an address / 128.
"""

from __future__ import annotations

import numpy as np

from hfc.base.diagnostics import HfcError

ENTRIES = 1 << 22


class Trace:
    """Room for the entries of a run; what does not fit is counted, and `whole` refuses it."""

    def __init__(self, entries: int = ENTRIES):
        self.entries = np.zeros(entries, np.uint64)
        self.used = 0

    @property
    def address(self) -> int:
        return self.entries.ctypes.data

    def whole(self) -> np.ndarray:
        """u64 [used]. HfcError if there was too little room."""
        if self.used > len(self.entries):
            raise HfcError(f"a trace of {self.used} entries, room for {len(self.entries)}: sample fewer thread blocks")
        return self.entries[: self.used]

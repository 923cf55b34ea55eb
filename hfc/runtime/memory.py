"""Host memory for weights, states and scratch: zeroed, in 2 MB pages where the system has them, touched only when used."""

from __future__ import annotations

import mmap

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.base.system import private_memory


def allocate(nbytes: int, in_large_pages: bool = True) -> np.ndarray:
    """uint8 [nbytes], page-aligned and zero. Pages become resident when they are first written: small ones where few of many places are."""
    try:
        memory = private_memory(max(nbytes, 1))
    except (OSError, OverflowError, MemoryError):
        raise HfcError(
            f"this machine cannot give {nbytes / 1e9:,.1f} GB of memory",
            hint="take a smaller --ctx, --kv q8 or fewer --slots; a bundle is to be compiled again with them",
        ) from None
    if hasattr(mmap, "MADV_HUGEPAGE") and nbytes >= 1 << 21:
        memory.madvise(mmap.MADV_HUGEPAGE if in_large_pages else mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint8)[:nbytes]


def address(array: np.ndarray) -> int:
    """The address of an array's first byte."""
    return array.__array_interface__["data"][0]

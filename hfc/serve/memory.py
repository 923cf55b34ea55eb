"""Memory that large requests took, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def give_memory_back() -> None:
    """Errors and their tracebacks hold some in cycles, and the C library keeps what was freed."""
    gc.collect()
    trim()


def trim() -> None:
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)

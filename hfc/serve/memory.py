"""Memory that large requests took, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
MAPPED_BYTES = 4 << 20


def use_one_heap() -> None:
    """Before threads begin. glibc has a heap for each thread, and gives back the end of the first alone; what is mapped by itself goes
    back at once, which by default ends where something large was freed."""
    with contextlib.suppress(AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, 1)
        library.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


class _Usage(ctypes.Structure):
    """glibc's mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks mapped usmblks fsmblks allocated free keepcost".split()
    ]


def allocated_bytes() -> int | None:
    """What C code has asked for and not freed; None if the C library does not tell."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    ask.restype = _Usage
    usage = ask()
    return usage.allocated + usage.mapped


def give_memory_back() -> None:
    """Errors and their tracebacks hold some in cycles, and the C library keeps what was freed."""
    gc.collect()
    trim()


def trim() -> None:
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)

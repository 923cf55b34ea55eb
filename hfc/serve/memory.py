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


YOUNG, MIDDLE = 700, 10  # Python's own
NEVER = 1 << 30
OLD, VERY_OLD = 20, 100  # generations: what Python would collect after ten


def collect_old_when_calm() -> None:
    """A collection of all that is old looks at every object of every request and holds Python's lock meanwhile; by itself it comes while
    a large request is read, when there are most. From here on `collect_old` decides."""
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


def collect_old(is_calm: bool) -> None:
    """Asked every second or so."""
    if gc.get_threshold()[2] == NEVER and gc.get_count()[2] >= (OLD if is_calm else VERY_OLD):
        gc.collect()


def give_memory_back() -> None:
    """Errors and their tracebacks hold some in cycles, and the C library keeps what was freed."""
    gc.collect()
    trim()


def trim() -> None:
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)

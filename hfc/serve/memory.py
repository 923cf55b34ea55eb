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
OLD = 20  # generations: what Python would collect after ten


def collect_old_when_calm() -> None:
    """A collection of all that is old looks at every object of every request and holds the GIL meanwhile; by itself it comes while
    a large request is read, when there are most. From here on `is_collection_due` is asked."""
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


def is_collection_due() -> bool:
    """Asked every second or so; the collection is for a moment when no large request is held."""
    return _is_decided_here() and gc.get_count()[2] >= OLD


def keep() -> None:
    """What is there now stays, a model that has come: later collections look at requests alone, and are short. What reading it took goes."""
    if _is_decided_here():
        gc.collect()
        gc.freeze()
        trim()


def let_go() -> None:
    """Some of what was to stay does not, a model that has gone."""
    gc.unfreeze()
    gc.collect()
    keep()


def _is_decided_here() -> bool:
    return gc.get_threshold()[2] == NEVER


def give_memory_back() -> None:
    """Errors and their tracebacks hold some in cycles, and the C library keeps what was freed."""
    gc.collect()
    trim()


def trim() -> None:
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)

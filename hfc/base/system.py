"""What systems say of themselves in different ways: threads that may run, memory, file locks, and whether this one is Linux."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from typing import IO

from hfc.base.diagnostics import HfcError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everything else
    msvcrt = None

UNKNOWN_MEMORY = 8 << 30  # where a system does not say: the least that anything useful needs
LOCKED_BYTE = 1 << 30  # Windows: what is locked cannot be read, so it lies after the file's end


def core_count() -> int:
    """Threads that this machine runs at a time."""
    return os.cpu_count() or 1


def thread_count() -> int:
    """Threads that this process may run at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else core_count()


def memory_bytes() -> int:
    """Of the machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return UNKNOWN_MEMORY


def free_memory_bytes() -> int:
    """What programs may still take without making others leave; the machine's memory where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return memory_bytes()
    lines = (line.split() for line in text.splitlines())
    return next((int(line[1]) << 10 for line in lines if line[0] == "MemAvailable:"), memory_bytes())


def private_memory(nbytes: int) -> mmap.mmap:
    """Zeroed pages of this process."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, nbytes)


def try_lock(file: IO, shared: bool = False) -> bool:
    """Lock an open file for as long as it is open and its process lives; False where another one holds it."""
    try:
        if fcntl:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        elif msvcrt:
            at = file.tell()
            file.seek(LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(at)
        else:
            raise HfcError(f"Python on {sys.platform} has no file locks", hint="run this on Linux")
    except OSError:
        return False
    return True


def require_linux(what: str, reason: str) -> None:
    if not sys.platform.startswith("linux"):
        raise HfcError(f"{what} runs on Linux, this is {sys.platform}: {reason}", hint="use WSL 2, or a Linux machine")

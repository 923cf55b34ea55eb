"""What a compilation says of itself: lines on standard error by HFC_DEBUG, and the seconds that each of its parts took.

HFC_DEBUG=1  each part with its seconds
HFC_DEBUG=2  and each kernel with its registers, LDS, occupancy and seconds
HFC_DEBUG=3  and the graph after each pass that changed it
HFC_DEBUG=4  and each kernel's source and assembly
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hfc.base.knobs import knob

PARTS, KERNELS, GRAPHS, CODE = 1, 2, 3, 4

_seconds: ContextVar[dict[str, float] | None] = ContextVar("seconds", default=None)


def say(level: int, text: Callable[[], str]) -> None:
    """Print a text, made only if HFC_DEBUG asks for it."""
    if knob("HFC_DEBUG") >= level:
        print(text(), file=sys.stderr, flush=True)


def is_watched() -> bool:
    """Somebody looks on: what a cache would give as a whole is made part by part."""
    return knob("HFC_DEBUG") > 0 or _seconds.get() is not None


@contextmanager
def timed(part: str) -> Iterator[None]:
    """Add the seconds of a block to those of `part`."""
    begin = time.perf_counter()
    yield
    seconds = time.perf_counter() - begin
    found = _seconds.get()
    if found is not None:
        found[part] = found.get(part, 0.0) + seconds
    say(PARTS, lambda: f"hfc: {seconds:8.3f} s  {part}")


@contextmanager
def timings() -> Iterator[dict[str, float]]:
    """Part -> its seconds, filled while the block runs. Parts do not hold each other."""
    found: dict[str, float] = {}
    token = _seconds.set(found)
    try:
        yield found
    finally:
        _seconds.reset(token)

"""Bars and lines on stderr while it is a terminal; nothing when it is a file or a pipe."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

Update = Callable[[int, int], None]  # done, total
SOON_S = 0.3  # what is done sooner gets no bar, and does not wait for the package that draws it


@contextmanager
def progress_bar(what: str, unit: str) -> Iterator[Update]:
    """A bar, gone when the work is done: "loading ━━━━ 120/272 weights". Call what it yields with done, total."""
    started, show = time.monotonic(), _nothing if not sys.stderr.isatty() else None
    with ExitStack() as shown:

        def update(done: int, total: int) -> None:
            nonlocal show
            if show is None and time.monotonic() - started > SOON_S:
                show = shown.enter_context(_bars().count_bar(what, unit))
            if show is not None:
                show(done, total)

        yield update


@contextmanager
def byte_bar(what: str) -> Iterator[Update]:
    """A bar of bytes: "fetching org/name ━━━━ 1.2/5.3 GB 45 MB/s 0:01:31". Call what it yields with done, total."""
    if not sys.stderr.isatty():
        yield _nothing
        return
    with _bars().byte_bar(what) as update:
        yield update


@contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """A moving sign for work of unknown length. Call what it yields with a new text."""
    if not sys.stderr.isatty():
        yield _nothing
        return
    with _bars().spinner(what) as update:
        yield update


def _nothing(*_: object) -> None:
    """Where nobody looks."""


def _bars():
    """rich takes a quarter of a second to import: only who shows something waits for it."""
    return importlib.import_module("hfc.base.bars")

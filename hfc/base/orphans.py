"""Processes that end with the one that started them, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping

PR_SET_PDEATHSIG = 1  # of Linux's prctl
PARENT = "_HFC_PARENT"  # in a child's environment


def end_with_parent(number: int) -> None:
    """Linux sends this process a signal when the thread that started it has ended; elsewhere nothing does."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def as_child(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that is to call `end_where_told`."""
    return {**variables, PARENT: str(os.getpid())}


def end_where_told() -> None:
    """In a child that `as_child` made one; at once where its parent has ended already."""
    parent = os.environ.pop(PARENT, "")
    if parent.isdecimal():
        end_with_parent(signal.SIGTERM)
        if os.getppid() != int(parent):
            os.kill(os.getpid(), signal.SIGTERM)

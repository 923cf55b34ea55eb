"""How long the planning of one request may go on: until its deadline, and until its client has gone."""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
import time
from collections.abc import Callable, Iterator


class Ended(Exception):
    """The client has gone, or the deadline has passed: nobody waits for this work."""

    def __init__(self, is_late: bool):
        super().__init__("the deadline has passed" if is_late else "the client has gone")
        self.is_late = is_late


class Ticket:
    """ends_s: on time.monotonic()'s clock.  may_go_first: whether its client has the right to priority."""

    def __init__(self, ends_s: float = math.inf, may_go_first: bool = False):
        self.ends_s, self.may_go_first = ends_s, may_go_first
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._stop: Callable[[], None] | None = None

    def check(self) -> None:
        """Ended when there is nobody to work for; asked between pieces of work."""
        if self._is_cancelled or time.monotonic() > self.ends_s:
            raise Ended(not self._is_cancelled or time.monotonic() > self.ends_s)

    def cancel(self) -> None:
        """From any thread: end what is being waited for."""
        with self._lock:
            self._is_cancelled = True
            stop = self._stop
        if stop:
            stop()

    @contextlib.contextmanager
    def ends(self, stop: Callable[[], None]) -> Iterator[None]:
        """While the body waits, `cancel` calls `stop`."""
        with self._lock:
            self._stop = stop
            late = self._is_cancelled
        try:
            if late:
                raise Ended(False)
            yield
        finally:
            with self._lock:
                self._stop = None


FOREVER = Ticket()
# Of the request that is being planned; it goes with the context into the thread that plans.
TICKET: contextvars.ContextVar[Ticket] = contextvars.ContextVar("ticket", default=FOREVER)

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


POLL_S, PAUSE_S = 0.05, 0.0005


class Ticket:
    """ends_s: on time.monotonic()'s clock.  may_go_first: whether its client has the right to priority.  working: threads that may work
    at requests of this kind; None for any number."""

    def __init__(
        self, ends_s: float = math.inf, may_go_first: bool = False, working: threading.Semaphore | None = None
    ):
        self.ends_s, self.may_go_first = ends_s, may_go_first
        self._working, self._has_turn = working, False
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._stop: Callable[[], None] | None = None

    def check(self) -> None:
        """Ended when there is nobody to work for; asked between pieces of work."""
        if self._is_cancelled or time.monotonic() > self.ends_s:
            raise Ended(not self._is_cancelled or time.monotonic() > self.ends_s)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """While the body works at the request. Ended when nobody waits for it any more."""
        self._take_turn()
        try:
            yield
        finally:
            self._leave_turn()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """While the body waits for others: it is somebody else's turn."""
        had_turn = self._has_turn
        self._leave_turn()
        yield
        if had_turn:
            self._take_turn()

    def pause(self) -> None:
        """Between two pieces of work: others take their turn."""
        with self.away():
            time.sleep(PAUSE_S)
        self.check()

    def _take_turn(self) -> None:
        while self._working is not None and not self._has_turn:
            self._has_turn = self._working.acquire(timeout=POLL_S)
            self.check()

    def _leave_turn(self) -> None:
        if self._working is not None and self._has_turn:
            self._has_turn = False
            self._working.release()

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

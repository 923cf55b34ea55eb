"""From the engine's thread to a coroutine: events of one sequence, in order, with a bound for slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable

from hfc.serve.job import Event, Finish

FULL = 256  # events that wait unread; the engine then stops working for this reader until half is read


class Stream:
    """The engine puts, one coroutine reads. Nothing is lost: `is_full` asks the engine to pause."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resume: Callable[[], None] = lambda: None):
        self.loop = loop
        self._events: deque[Event] = deque()
        self._reader: asyncio.Future[None] | None = None  # done when there may be events
        self._end_s = math.inf  # of the wait, on the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._resume = resume
        self._paused = False

    @property
    def is_full(self) -> bool:
        """Asked by the engine's thread before it makes another token."""
        waiting = len(self._events)
        self._paused = waiting >= FULL or (self._paused and waiting > FULL // 2)
        return self._paused

    def put(self, event: Event) -> None:
        """From the engine's thread; the reader sees it after `wake`."""
        self._events.append(event)

    async def read(self, timeout_s: float | None = None) -> list[Event]:
        """All events that are there, at least one; [] after timeout_s without any."""
        if not self._events and not await self._wait(timeout_s):
            return []
        events = []
        while self._events:
            events.append(self._events.popleft())
            if isinstance(events[-1], Finish):
                if self._timer is not None:
                    self._timer.cancel()
                break
        if self._paused:
            self._resume()
        return events

    async def _wait(self, timeout_s: float | None) -> bool:
        """Until there are events; False after timeout_s. A wake may be late, for events that were read before it came."""
        self._end_s = math.inf if timeout_s is None else self.loop.time() + timeout_s
        if self._timer is None and timeout_s is not None:
            self._timer = self.loop.call_at(self._end_s, self._at_end)
        try:
            while not self._events:
                if self.loop.time() >= self._end_s:
                    return False
                self._reader = self.loop.create_future()
                await self._reader
        finally:
            self._reader = None
        return True

    def _at_end(self) -> None:
        """One timer serves many waits: one for each token would cost more than the wait itself."""
        self._timer = None
        if self._reader is None:  # the next wait has its own
            return
        if self.loop.time() >= self._end_s:
            self._wake()
        elif self._end_s < math.inf:
            self._timer = self.loop.call_at(self._end_s, self._at_end)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Bell:
    """Wakes readers from a thread of its own. To wake an event loop is to write to its socket, which releases the GIL
    to the loop; here that happens while the engine's thread waits for its device, so it never waits for the GIL with work to launch."""

    def __init__(self):
        self._rung: queue.SimpleQueue[list[Stream] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="hfc-bell", daemon=True).start()

    def ring(self, streams: Iterable[Stream]) -> None:
        """From any thread; in order."""
        if streams := list(streams):
            self._rung.put(streams)

    def close(self) -> None:
        """End the thread, after what was rung."""
        self._rung.put(None)

    def _run(self) -> None:
        while (streams := self._rung.get()) is not None:
            wake(streams)


def wake(streams: Iterable[Stream]) -> None:
    """Tell the readers of all streams at once: one call into each event loop a step, whatever the number of streams."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Stream]] = {}
    for stream in streams:
        by_loop.setdefault(stream.loop, []).append(stream)
    for loop, some in by_loop.items():
        with contextlib.suppress(RuntimeError):  # a loop that was closed has no readers
            loop.call_soon_threadsafe(_wake_here, some)


def _wake_here(streams: list[Stream]) -> None:
    for stream in streams:
        stream._wake()

"""Large requests take turns: threads that compute take the GIL from the event loop and from the engine, so how many do at a time is
what everybody else waits for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any, TypeVar

T = TypeVar("T")
HELD, WORKED_AT = 4, 1  # at a time
# Of all that are held together: collections of garbage look at each, and a request alone may have as many.
MOST_OBJECTS, VALUES_OF_AN_OBJECT = 1 << 15, 8
PAUSE_S = 10.0  # that a pause waits for those who are held
PLACE = "hfc.place"  # in the scope of a large request


class LargePlace:
    """That of one among those whose values are held, from before its body is parsed until it is planned, or has ended."""

    def __init__(self, turns: Turns, objects: int):
        self._turns: Turns | None = turns
        self._objects = objects

    def leave(self) -> None:
        """Once or several times."""
        if self._turns is not None:
            self._turns.leave(self._objects)
            self._turns = None


class Turns:
    """working: threads that parse, check and plan large requests. Used by the event loop but for that."""

    def __init__(self, held: int = HELD, worked_at: int = WORKED_AT, most_objects: int = MOST_OBJECTS):
        self._most_held, self._most_objects = held, most_objects
        self._held = self._objects = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._pauses = 0
        self._until_empty: list[asyncio.Event] = []
        self.working = threading.Semaphore(worked_at)

    @property
    def is_calm(self) -> bool:
        """Whether no large request is held."""
        return self._held == 0

    async def enter(self, scope: MutableMapping[str, Any], body: bytes) -> None:
        """Wait for a place, first come first served; it is in the scope then."""
        objects = min(objects_of(body), self._most_objects)
        if self._waiting or not self._has_room(objects):
            await self._called(objects)
        else:
            self._take(objects)
        scope[PLACE] = LargePlace(self, objects)

    async def _called(self, objects: int) -> None:
        mine = (objects, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            await mine[1]
        except asyncio.CancelledError:
            if mine in self._waiting:
                self._waiting.remove(mine)
                self._call()
            elif not mine[1].cancelled():  # it was called, and goes all the same
                self.leave(objects)
            raise

    def leave(self, objects: int) -> None:
        """By a LargePlace."""
        self._held -= 1
        self._objects -= objects
        while not self._held and self._until_empty:
            self._until_empty.pop().set()
        self._call()

    @contextlib.asynccontextmanager
    async def pause(self) -> AsyncIterator[None]:
        """While the body runs no large request is held, unless one takes long: those that come wait. For what looks at every object."""
        self._pauses += 1
        try:
            if self._held:
                self._until_empty.append(emptied := asyncio.Event())
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(emptied.wait(), PAUSE_S)
            yield
        finally:
            self._pauses -= 1
            self._call()

    def _call(self) -> None:
        """Those that there is room for now."""
        while self._waiting and (self._waiting[0][1].done() or self._has_room(self._waiting[0][0])):
            objects, called = self._waiting.popleft()
            if not called.done():
                self._take(objects)
                called.set_result(None)

    def _has_room(self, objects: int) -> bool:
        return not self._pauses and self._held < self._most_held and self._objects + objects <= self._most_objects

    def _take(self, objects: int) -> None:
        self._held += 1
        self._objects += objects

    def work(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """In a thread."""
        with self.working:
            return work(*arguments, **named)


def objects_of(body: bytes) -> int:
    """How many a body becomes, about: objects and lists, and small values as parts of one. Marks in its texts count too."""
    return body.count(b"{") + body.count(b"[") + body.count(b",") // VALUES_OF_AN_OBJECT


def leave(scope: MutableMapping[str, Any]) -> None:
    """What was made of a large request is not needed any more."""
    if PLACE in scope:
        scope[PLACE].leave()

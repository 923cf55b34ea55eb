"""Large requests take turns: threads that compute take Python's lock from the event loop and from the engine, so how many do at a time is
what everybody else waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

T = TypeVar("T")
HELD, WORKED_AT = 4, 1  # at a time
PLACE = "hfc.place"  # in the scope of a large request


class LargePlace:
    """That of one among those whose values are held, from before its body is parsed until it is planned, or has ended."""

    def __init__(self, turns: Turns):
        self._turns: Turns | None = turns

    def leave(self) -> None:
        """Once or several times."""
        if self._turns is not None:
            self._turns.leave()
            self._turns = None


class Turns:
    """working: threads that parse, check and plan large requests."""

    def __init__(self, held: int = HELD, worked_at: int = WORKED_AT):
        self._places, self._held = asyncio.Semaphore(held), 0
        self.working = threading.Semaphore(worked_at)

    @property
    def is_calm(self) -> bool:
        """Whether no large request is held."""
        return self._held == 0

    async def enter(self, scope: MutableMapping[str, Any]) -> None:
        """Wait for a place; it is in the scope then."""
        await self._places.acquire()
        self._held += 1
        scope[PLACE] = LargePlace(self)

    def leave(self) -> None:
        """By a LargePlace."""
        self._held -= 1
        self._places.release()

    def work(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """In a thread."""
        with self.working:
            return work(*arguments, **named)


def leave(scope: MutableMapping[str, Any]) -> None:
    """What was made of a large request is not needed any more."""
    if PLACE in scope:
        scope[PLACE].leave()

"""Work of minutes, as loading or fetching a model, in threads that a server which is told to end does not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
THREAD = "hfc-daemon"


async def in_daemon(work: Callable[..., T], *arguments: Any) -> T:
    """What `work` gives, in a thread of its own. Who is cancelled does not end it."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:  # of any type: it is the answer of whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name=THREAD, daemon=True).start()
    return await asyncio.wrap_future(future)


def is_working() -> bool:
    """Whether there is work that nobody may wait for any more."""
    return any(thread.name == THREAD for thread in threading.enumerate())

"""Requests are planned (rendered, tokenized, compiled) by threads of the server's own: as long as somebody waits for the answer."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from fastapi import Request

from hfc.serve.errors import ApiError
from hfc.serve.served import MAY_GO_FIRST, settings_of
from hfc.serve.turns import PLACE, leave
from hfc.serve.workers.ticket import TICKET, Ended, Ticket

T = TypeVar("T")
STACK_BYTES = 32 << 20  # grammars that compiled in a worker are compiled here again: with more room than there
IDLE_S = 30.0
POLL_S = 0.01


class Planners:
    """Up to `most` threads, each as long as there is work and a while longer. They are daemons: a server that is told to end does not
    wait for them."""

    def __init__(self, most: int):
        self._most = most
        self._jobs: queue.SimpleQueue[tuple[Future, Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._busy = 0

    def submit(self, work: Callable[[], T], is_new: bool = True) -> Future[T]:
        """ApiError 429 when all are busy and the request is a new one."""
        future: Future[T] = Future()
        with self._lock:
            if is_new and self._busy >= self._most:
                raise ApiError(
                    429,
                    "too many requests are being prepared; try again later",
                    None,
                    "queue_full",
                    {"Retry-After": "1"},
                )
            self._busy += 1
            wants_thread = self._threads < self._busy
            self._threads += wants_thread
            self._jobs.put((future, work))
        if wants_thread:
            self._start()
        return future

    async def run(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """In a thread, to its end: what a request that was taken still needs."""
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self.submit(lambda: context.run(work, *arguments, **named), is_new=False))

    def close(self, wait_s: float) -> None:
        """Wait for threads that still work, though nobody waits for them: one that comes back from native code while Python ends is ended
        there, which some libraries answer by ending the process."""
        end_s = time.monotonic() + wait_s
        while self._busy and time.monotonic() < end_s:
            time.sleep(POLL_S)

    def _start(self) -> None:
        before = threading.stack_size(STACK_BYTES)
        try:
            threading.Thread(target=self._run, name="hfc-planner", daemon=True).start()
        finally:
            threading.stack_size(before)

    def _run(self) -> None:
        while True:
            try:
                future, work = self._jobs.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._threads -= 1
                        return
                continue
            _do(future, work, self._done)
            del future, work  # a thread that waits must not hold a request's megabytes

    def _done(self) -> None:
        with self._lock:
            self._busy -= 1


def _do(future: Future, work: Callable[[], Any], done: Callable[[], None]) -> None:
    """done: called before anybody sees the result."""
    if not future.set_running_or_notify_cancel():
        done()
        return
    try:
        result = work()
    except BaseException as error:  # of any type: it is the answer of whoever waits
        done()
        future.set_exception(error)
        # The traceback holds this frame: without a way from here to the error, both go when the request does.
        del future, work, done
        return
    done()
    future.set_result(result)


async def planned(request: Request, timeout_s: float | None, work: Callable[..., T], *arguments: Any) -> T:
    """What `work` gives, in a thread. The time of the whole request begins here; ApiError 408 when it is over, 499 when the client has
    gone: either ends the work."""
    settings = settings_of(request)
    ends_s = time.monotonic() + min(timeout_s or settings.timeout_s, settings.timeout_s)
    state, scope = request.app.state, request.scope
    ticket = Ticket(ends_s, scope.get(MAY_GO_FIRST, False), state.turns.working if PLACE in scope else None)
    context = contextvars.copy_context()
    context.run(TICKET.set, ticket)

    def in_turn() -> T:
        with ticket.turn():
            return work(*arguments)

    future = asyncio.wrap_future(state.planners.submit(lambda: context.run(in_turn)))
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait(
            (future, gone), timeout=ticket.ends_s - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
        )
        if future.done():
            return future.result()
        raise Ended(not gone.done())
    except Ended as ended:
        if ended.is_late:
            raise ApiError(408, "the request took longer than the server allows", None, "timeout") from ended
        raise ApiError(499, "the client has gone") from ended
    finally:
        gone.cancel()
        leave(scope)
        if not future.done():
            ticket.cancel()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody asks for it any more
        del future, gone  # a traceback holds this frame, and they would hold the error


async def disconnected(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

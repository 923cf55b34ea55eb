"""An ASGI app called in place of listened for: a request in, the parts of its answer out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from hfc.serve.answer import KEEP_ALIVE, PING
from hfc.serve.answer_state import STATE, AnswerState
from hfc.serve.ray.parts import UNAVAILABLE, AnswerPart, Asked, Kind, joined
from hfc.serve.served import MAY_GO_FIRST

MOST_WAITING = 1 << 20  # bytes that wait for the way to the door, then the answer does


async def parts_of(app: Callable[..., Any], asked: Asked) -> AsyncGenerator[list[AnswerPart], None]:
    """What an ASGI app answers. To close it is what a client that goes is to a server."""
    outgoing = _Parts(asked)
    state = AnswerState()
    token = STATE.set(state)
    try:
        task = asyncio.ensure_future(app(asked_scope(app, asked), outgoing.receive, outgoing.sender(state)))
    finally:
        STATE.reset(token)
    task.add_done_callback(outgoing.wake)
    try:
        while True:
            if not task.done():
                await outgoing.wait()
            some = outgoing.taken()
            if some:
                yield joined(some)
            elif task.done():
                break
        task.result()
    finally:
        outgoing.leave()
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


def asked_scope(app: Callable[..., Any], asked: Asked) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": asked.method,
        "scheme": "http", "path": asked.path, "raw_path": asked.path.encode(), "query_string": asked.query, "root_path": "",
        "headers": asked.headers, "client": None, "server": None, "state": {}, MAY_GO_FIRST: asked.may_go_first,
    }  # fmt: skip


class _Parts:
    """Between an app that sends and one who takes what there is."""

    def __init__(self, asked: Asked):
        self._messages = [{"type": "http.request", "body": asked.body, "more_body": False}]
        self._parts: list[AnswerPart] = []
        self._size = 0
        self._there, self._room, self._gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def sender(self, state: AnswerState) -> Callable[[dict[str, Any]], Any]:
        async def send(message: dict[str, Any]) -> None:
            await self._room.wait()
            self._put(message, state)

        return send

    def _put(self, message: dict[str, Any], state: AnswerState) -> None:
        if message["type"] == "http.response.start":
            self._parts.append(AnswerPart(Kind.HEAD, (message["status"], list(message.get("headers", ())))))
        elif body := message.get("body", b""):
            self._size += len(body)
            if not state.has_begun and state.error is not None and state.error.status == UNAVAILABLE:
                self._parts.append(AnswerPart(Kind.AGAIN, state.error.message))
            elif not state.has_begun and body in (KEEP_ALIVE, PING):
                self._parts.append(AnswerPart(Kind.KEEP_ALIVE, KEEP_ALIVE))
            else:
                self._parts.append(AnswerPart(Kind.BODY if state.has_begun else Kind.HELD, bytes(body)))
        if self._size > MOST_WAITING:
            self._room.clear()
        self._there.set()

    async def wait(self) -> None:
        await self._there.wait()

    def taken(self) -> list[AnswerPart]:
        some, self._parts, self._size = self._parts, [], 0
        self._room.set()
        self._there.clear()
        return some

    def wake(self, _task: Any) -> None:
        self._there.set()

    def leave(self) -> None:
        self._gone.set()
        self._room.set()

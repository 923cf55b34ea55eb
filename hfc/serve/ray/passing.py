"""Passes one replica's answer on to a client, and begins anew with another replica while nothing of it was seen."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers

from hfc.serve.broken import RESPONSES, broken_off
from hfc.serve.errors import ApiError, error_response, words_of
from hfc.serve.ray.parts import UNAVAILABLE, AnswerPart, Asked, Kind, ReplicaLost, Replicas

LOG = logging.getLogger("hfc.serve")
MOST_TRIES = 3  # a request that kills whoever reads it must not kill all

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Counts:
    """Of a door: requests that were asked anew, and those that a lost replica ended."""

    def __init__(self):
        self.retried = self.broken_off = self.given_up = 0


class Outgoing:
    """An answer on its way to one client. has_begun: it has seen some of it, so nobody will be asked anew; on_begun is told so."""

    def __init__(self, asked: Asked, send: Send, on_begun: Callable[[], None] = lambda: None):
        self._send, self._asked, self._on_begun = send, asked, on_begun
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._is_head_sent = self.has_begun = False
        self._held: list[bytes] = []
        self._kind = ""  # of media
        self._opening, self._events = b"", 0  # of a stream whose end needs to know

    def begin(self) -> None:
        """With a replica's answer, in place of what another one gave so far."""
        self._head, self._held = None, []

    async def take(self, part: AnswerPart) -> None:
        """ReplicaLost where another should be asked."""
        if part.kind == Kind.AGAIN:
            raise ReplicaLost(part.data)
        if part.kind == Kind.HEAD:
            status, headers = part.data
            if self._is_head_sent and status != 200:  # the client has seen that all is well
                raise ApiError(status, "another replica was asked, and refused the request", None, "unavailable")
            self._head = status, [(name, value) for name, value in headers]
        elif part.kind == Kind.HELD:
            self._held.append(part.data)
        elif part.kind == Kind.KEEP_ALIVE:
            await self._send_head()
            await self._body(part.data)
        else:
            if not self.has_begun:
                self.has_begun = True
                self._on_begun()
            await self._flush()
            await self._tell(part.data)

    async def end(self) -> None:
        if self._head is None:
            raise ReplicaLost("no answer")
        if self._head[0] == UNAVAILABLE and not self.has_begun and not self._is_head_sent:
            raise ReplicaLost("503")
        await self._end()

    async def give_up(self, error: ApiError) -> None:
        """The answer ends with an error, as its dialect says it where it has begun."""
        path = self._asked.path
        if self._is_head_sent:
            await self._body(broken_off(error, path, self._kind, self._opening, self._events))
            await self._body(b"", False)
        elif self._head is not None and self._head[0] == UNAVAILABLE:
            await self._end()  # the replica's own words
        else:
            words = words_of(path, Headers(raw=self._asked.headers))
            await error_response(error, words)({"type": "http", "method": self._asked.method}, _nothing, self._send)

    async def _end(self) -> None:
        await self._flush()
        await self._body(b"", False)

    async def _flush(self) -> None:
        await self._send_head()
        held, self._held = b"".join(self._held), []
        if held:
            await self._tell(held)

    async def _send_head(self) -> None:
        if self._is_head_sent:
            return
        assert self._head is not None, "a replica sends the head of its answer first"
        status, headers = self._head
        self._kind = dict(headers).get(b"content-type", b"").decode("latin-1")
        self._is_head_sent = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _tell(self, data: bytes) -> None:
        if self._asked.path == RESPONSES:
            self._opening = self._opening or data
            self._events += data.count(b"\n\n")
        await self._body(data)

    async def _body(self, data: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


async def pass_on(asked: Asked, replicas: Replicas, outgoing: Outgoing, counts: Counts, timeout_s: float) -> None:
    """Ask replicas until one has answered; as many as MOST_TRIES, all within timeout_s."""
    end_s = time.monotonic() + timeout_s
    while True:
        try:
            await asyncio.wait_for(_from_one(asked, replicas, outgoing), max(0.0, end_s - time.monotonic()))
            return
        except asyncio.TimeoutError:
            await outgoing.give_up(ApiError(408, "the request took longer than the server allows", None, "timeout"))
            return
        except ReplicaLost as lost:
            asked.tried += (asked.replica or "",)
            LOG.warning("a replica gave no answer to %s (%s)", asked.path, lost)
            if outgoing.has_begun or len(asked.tried) == MOST_TRIES:
                counts.broken_off += outgoing.has_begun
                counts.given_up += not outgoing.has_begun
                text = "the replica that wrote this answer has failed; ask again"
                if not outgoing.has_begun:
                    text = "no replica could answer; try again later"
                await outgoing.give_up(ApiError(UNAVAILABLE, text, None, "unavailable", {"Retry-After": "5"}))
                return
            counts.retried += 1
        except ApiError as error:
            await outgoing.give_up(error)
            return


async def _from_one(asked: Asked, replicas: Replicas, outgoing: Outgoing) -> None:
    outgoing.begin()
    asked.replica = None
    async with contextlib.aclosing(replicas.ask(asked)) as answer:
        async for parts in answer:
            for part in parts:
                await outgoing.take(part)
    await outgoing.end()


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}

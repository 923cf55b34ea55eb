"""Connections with a bound: how many there are, and how long one may take to ask, or leave an answer unread."""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hfc.serve.errors import ApiError, error_object
from hfc.serve.limits import ServerLimits

READ_BYTES = 1 << 16  # at a time
PARSED_BYTES = 1 << 14  # in one go: each chunk and each header in them takes microseconds
# A body in chunks of one byte takes a hundred times as long as it would in one.
FREE_CHUNKS, CHUNK_BYTES = 1024, 64
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    b'{"error": {"message": "too many connections", "type": "overloaded_error", "param": null, "code": "unavailable"}}'
)


class Connection(h11.Connection):
    """h11's, which takes chunks of any size. complaint: why the client was refused."""

    complaint = "this is not an HTTP/1.1 request that can be read"
    _chunks = _bytes = 0

    def next_event(self):
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks, self._bytes = self._chunks + 1, self._bytes + len(event.data)
            if self._chunks > FREE_CHUNKS and self._bytes < CHUNK_BYTES * self._chunks:
                self.complaint = f"the body comes in chunks of less than {CHUNK_BYTES} bytes"
                raise h11.RemoteProtocolError(self.complaint)
        return event


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, which waits for ever, with limits."""

    limits: ServerLimits
    _asking: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.conn = Connection(h11.SERVER, self.limits.header_bytes)

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # asyncio's own is four times as much
        if len(self.connections) > self.limits.connections:
            transport.write(FULL)
            transport.close()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), PARSED_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[at : at + PARSED_BYTES])
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """As a client of any dialect may read it; where an answer has begun, its end is all that can be told."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            path = self.scope["path"] if self.conn.our_state is h11.SEND_RESPONSE and self.scope else ""
            error = ApiError(400, self.conn.complaint, None, "invalid_http")
            body = json.dumps(error_object(error, path)).encode()
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def connection_lost(self, exc) -> None:
        self._asking, self._unread = _cancelled(self._asking), _cancelled(self._unread)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(self.limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread = _cancelled(self._unread)

    def _watch(self) -> None:
        """While no request runs, one is on its way, head by head; its body has a time of its own."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._asking = _cancelled(self._asking)
        elif self._asking is None:
            self._asking = self.loop.call_later(self.limits.header_s, self._late)

    def _late(self) -> None:
        self._asking = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def bounded(limits: ServerLimits) -> type[H11Protocol]:
    """The protocol with these limits: uvicorn is given a class."""
    return type("LimitedProtocol", (BoundedProtocol,), {"limits": limits})


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
